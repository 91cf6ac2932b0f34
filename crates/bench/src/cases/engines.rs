//! Locks between hosts, with the servers on this machine: the library and `holdlock run URL` beside
//! what people use on the same servers.

mod command;
mod peer;
mod servers;

use std::time::Duration;

use crate::report::{Bound, Column, Report};
use crate::stats::Samples;
use crate::worker::Worker;
use crate::{Bench, Outcome};
use command::Command;
use peer::Peer;
use servers::Servers;

pub(crate) use peer::{JOB, job};

/// The longest of the intervals at which peers poll.
const LONGEST_INTERVAL: u64 = 250;

pub(crate) fn run(bench: &Bench) -> Outcome<Report> {
    let mut report = Report::new(
        "engines",
        "Locks between hosts, servers on loopback: medians of processes that take turns",
        &[
            Column::new("cycle_us", "acquire+release µs", 0),
            Column::new("handoff_us", "hand-off µs", 0),
            Column::new("command_ms", "command ms", 2),
            Column::new("command_handoff_ms", "its hand-off ms", 2),
        ],
    );
    let servers = Servers::start(&mut report);
    in_programs(bench, &servers, &mut report)?;
    as_commands(bench, &servers, &mut report)?;
    report.note("command: the whole process around /bin/true");
    report.note("hand-off: from the beginning of the release until another process has the lock");
    Ok(report)
}

/// Locks of programs that go on running.
fn in_programs(bench: &Bench, servers: &Servers, report: &mut Report) -> Outcome<()> {
    const COUNT: u32 = 20;
    let mut peers = Vec::new();
    for peer in peer::all(bench, servers) {
        match [peer.start(), peer.start()] {
            [Ok(holder), Ok(waiter)] => peers.push((peer, [holder, waiter])),
            [Err(why), _] | [_, Err(why)] => {
                report.note(format!("skipped: {}: {why}", peer.name()));
            }
        }
    }
    let mut cycles = vec![Samples::default(); peers.len()];
    let mut handoffs = vec![Samples::default(); peers.len()];
    for round in 0..=bench.pick(40, 8) {
        for ((_, [side, _]), cycles) in peers.iter_mut().zip(&mut cycles) {
            let nanos: f64 = ask(side, &format!("cycle {COUNT}"))?.parse()?;
            // The first round warms up.
            if round > 0 {
                cycles.push(nanos / 1e3 / f64::from(COUNT));
            }
        }
    }
    for round in 0..bench.pick(20, 4) {
        for ((_, sides), handoffs) in peers.iter_mut().zip(&mut handoffs) {
            handoffs.push(handoff(sides, round)?);
        }
    }
    for (at, (peer, _)) in peers.iter().enumerate() {
        let row = vec![
            cycles[at].median(),
            handoffs[at].median(),
            f64::NAN,
            f64::NAN,
        ];
        report.row(peer.name(), row);
    }
    let median = |which: fn(&Peer) -> bool, samples: &[Samples]| {
        let found = peers.iter().position(|(peer, _)| which(peer));
        found.map_or(f64::NAN, |at| samples[at].median())
    };
    let best = peers.iter().zip(&handoffs);
    let best = best.filter(|((peer, _), _)| peer.polls());
    let best = best
        .map(|(_, samples)| samples.median())
        .fold(f64::INFINITY, f64::min);
    if best.is_finite() {
        report.goal(
            "hand-off of holdlock on Redis over the best other lock on Redis",
            Bound::AtMost(1.0),
            median(|peer| matches!(peer, Peer::Ours("Redis", _)), &handoffs) / best,
            "x",
        );
    }
    Ok(())
}

/// The time from the release in one process until the other one has the lock, in microseconds.
fn handoff(sides: &mut [Worker; 2], round: u64) -> Outcome<f64> {
    let [holder, waiter] = sides;
    ask(holder, "take")?;
    waiter.tell("wait")?;
    // It waits at the server, which this process does not see. Every moment between two polls
    // should be as likely.
    let phase = round * 97 % LONGEST_INTERVAL;
    std::thread::sleep(Duration::from_millis(300 + phase));
    let released: u64 = ask(holder, "give")?.parse()?;
    let acquired: u64 = waiter.hear()?.parse()?;
    Ok(acquired.saturating_sub(released) as f64 / 1e3)
}

fn ask(worker: &mut Worker, line: &str) -> Outcome<String> {
    worker.tell(line)?;
    worker.hear()
}

/// Commands that run a command under the lock.
fn as_commands(bench: &Bench, servers: &Servers, report: &mut Report) -> Outcome<()> {
    let commands = command::all(bench, servers, report);
    let mut whole = vec![Samples::default(); commands.len()];
    let mut handoffs = vec![Samples::default(); commands.len()];
    for round in 0..=bench.pick(60, 10) {
        for (command, whole) in commands.iter().zip(&mut whole) {
            let millis = command.once()?;
            if round > 0 {
                whole.push(millis);
            }
        }
    }
    for _ in 0..bench.pick(15, 3) {
        for (command, handoffs) in commands.iter().zip(&mut handoffs) {
            handoffs.push(command.handoff(&bench.dir)?);
        }
    }
    for (at, command) in commands.iter().enumerate() {
        let row = vec![
            f64::NAN,
            f64::NAN,
            whole[at].median(),
            handoffs[at].median(),
        ];
        report.row(command.name, row);
    }
    let median = |name| {
        let found = commands.iter().position(|command| command.name == name);
        found.map(|at| whole[at].median())
    };
    if let (Some(ours), Some(theirs)) = (median(Command::OURS_ON_ETCD), median(Command::ETCDCTL)) {
        report.goal(
            "`holdlock run etcd://… -- /bin/true` over `etcdctl lock`",
            Bound::AtMost(1.0),
            ours / theirs,
            "x",
        );
    }
    Ok(())
}
