//! The Python module beside the packages that Python programs use. Each has processes of its own,
//! which take turns.

pub(super) mod many;
mod peer;

use std::fs::read_to_string;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::report::{Bound, Column, Report};
use crate::stats::Samples;
use crate::worker::Worker;
use crate::{Bench, Outcome, asleep, peers, sys};
use peer::{Kind, PACKAGES, Package};

const WAITERS: u32 = 100;
/// The time after which all of them have begun to wait.
const GATHERED: Duration = Duration::from_millis(1500);
/// The longest of the intervals at which peers poll.
const LONGEST_INTERVAL: u64 = 250;

/// A package, its two processes, and its measurements.
struct Peer<'a> {
    package: &'a Package,
    name: String,
    /// Each on a processor of its own, if there are two.
    sides: [Worker; 2],
    cycle: Samples,
    new: Samples,
    handoff: Samples,
    hammer: Samples,
    waiting: Samples,
    import: Samples,
}

pub(crate) fn run(bench: &Bench) -> Outcome<Report> {
    let mut report = Report::new(
        "python",
        "The Python module: medians of processes that take turns",
        &[
            Column::new("cycle_us", "one object µs", 2),
            Column::new("new_us", "new object µs", 2),
            Column::new("handoff_us", "hand-off µs", 0),
            Column::new("hammer_per_second", "by two per s", 0),
            Column::new("waiting_percent", "100 wait % CPU", 2),
            Column::new("import_ms", "import ms", 2),
        ],
    );
    let Some(packages) = &bench.python else {
        report.note("skipped: the packages are not there; `cargo xtask bench` installs them");
        return Ok(report);
    };
    let mut peers = PACKAGES
        .iter()
        .map(|package| start(bench, packages, package))
        .collect::<Outcome<Vec<_>>>()?;
    let calls = in_one_process(bench, &mut peers)?;
    handoffs(bench, &mut peers)?;
    hammering(bench, &mut peers)?;
    waiting(bench, &mut peers)?;
    imports(bench, packages, &mut peers)?;
    fill(&mut report, &peers, calls.median());
    Ok(report)
}

fn start<'a>(bench: &Bench, packages: &Path, package: &'a Package) -> Outcome<Peer<'a>> {
    let lock = bench.dir.join(format!("python-{}.lock", package.directory));
    let cpus = sys::cpus()?;
    let side = |cpu: Option<&usize>| -> Outcome<Worker> {
        let mut worker = package.start(packages, &lock)?;
        ask(&mut worker, &format!("pin {}", cpu.ok_or("no processor")?))?;
        Ok(worker)
    };
    let mut sides = [side(cpus.first())?, side(cpus.get(1).or(cpus.first()))?];
    let version = ask(&mut sides[0], "version")?;
    let name = match package.kind {
        Kind::Raw => format!("fcntl.flock ({version})"),
        _ => format!("{} {version}", package.module),
    };
    Ok(Peer {
        package,
        name,
        sides,
        cycle: Samples::default(),
        new: Samples::default(),
        handoff: Samples::default(),
        hammer: Samples::default(),
        waiting: Samples::default(),
        import: Samples::default(),
    })
}

fn ask(worker: &mut Worker, line: &str) -> Outcome<String> {
    worker.tell(line)?;
    worker.hear()
}

/// Acquire and release without contention. Returns the microseconds of the system calls of
/// holdlock's cycle alone, measured in the same turns.
fn in_one_process(bench: &Bench, peers: &mut [Peer<'_>]) -> Outcome<Samples> {
    const COUNT: u32 = 200;
    let mut calls = Samples::default();
    let mut by_hand = peers::Peer::RawSure.open(&bench.dir.join("python-calls.lock"))?;
    let cpu = sys::cpus()?.first().copied().ok_or("no processor")?;
    let pinned = sys::pin(cpu)?;
    for round in 0..=bench.pick(100, 25) {
        for peer in &mut *peers {
            let micros = |worker: &mut Worker, what| -> Outcome<f64> {
                let nanos: f64 = ask(worker, &format!("{what} {COUNT}"))?.parse()?;
                Ok(nanos / 1e3 / f64::from(COUNT))
            };
            let cycle = micros(&mut peer.sides[0], "cycle")?;
            let new = micros(&mut peer.sides[0], "new")?;
            // The first round warms up.
            if round > 0 {
                peer.cycle.push(cycle);
                peer.new.push(new);
            }
        }
        let start = Instant::now();
        for _ in 0..COUNT {
            by_hand.exclusive(&mut || {})?;
        }
        if round > 0 {
            calls.push(start.elapsed().as_nanos() as f64 / 1e3 / f64::from(COUNT));
        }
    }
    drop(pinned);
    Ok(calls)
}

/// The time from the release in one process until the other process has the lock.
fn handoffs(bench: &Bench, peers: &mut [Peer<'_>]) -> Outcome<()> {
    for round in 0..bench.pick(60, 12) {
        for peer in &mut *peers {
            let [holder, waiter] = &mut peer.sides;
            ask(holder, "take")?;
            waiter.tell("wait")?;
            if peer.package.queues() {
                asleep::wait_for_one(waiter.pid());
            } else {
                // Every moment between two polls should be as likely.
                let phase = round * 97 % LONGEST_INTERVAL;
                std::thread::sleep(Duration::from_millis(50 + phase));
            }
            let released: u64 = ask(holder, "give")?.parse()?;
            let acquired: u64 = waiter.hear()?.parse()?;
            peer.handoff
                .push(acquired.saturating_sub(released) as f64 / 1e3);
        }
    }
    Ok(())
}

/// Two processes that do nothing else.
fn hammering(bench: &Bench, peers: &mut [Peer<'_>]) -> Outcome<()> {
    let time = Duration::from_millis(bench.pick(1000, 500));
    for round in 0..bench.pick(3, 1) {
        for peer in &mut *peers {
            let file = format!("python-{}-{round}.board", peer.package.directory);
            let board: PathBuf = bench.dir.join(file);
            std::fs::write(&board, [0; 8])?;
            for side in &mut peer.sides {
                side.tell(&format!("hammer {} {}", time.as_millis(), board.display()))?;
            }
            let mut sum = 0;
            for side in &mut peer.sides {
                sum += side.hear()?.parse::<u64>()?;
            }
            let counted = std::fs::read(&board)?.try_into().map(u64::from_ne_bytes);
            if counted.ok() != Some(sum) {
                return Err(format!("{}: two were inside at once", peer.name).into());
            }
            peer.hammer.push(sum as f64 / time.as_secs_f64());
        }
    }
    Ok(())
}

/// The processor time of many waiting processes, in hundredths of one processor.
fn waiting(bench: &Bench, peers: &mut [Peer<'_>]) -> Outcome<()> {
    let time = Duration::from_millis(bench.pick(2000, 1000));
    for _ in 0..bench.pick(2, 1) {
        for peer in &mut *peers {
            let [holder, parent] = &mut peer.sides;
            ask(holder, "take")?;
            let pids = ask(parent, &format!("gather {WAITERS}"))?;
            std::thread::sleep(GATHERED);
            let start = Instant::now();
            let before = cpu_time(&pids)?;
            std::thread::sleep(time);
            let used = cpu_time(&pids)?.saturating_sub(before);
            let share = used as f64 / start.elapsed().as_nanos() as f64;
            ask(parent, "dismiss")?;
            ask(holder, "give")?;
            peer.waiting.push(share * 100.0);
        }
    }
    Ok(())
}

/// Nanoseconds of processor time of all these processes, which are still alive.
fn cpu_time(pids: &str) -> Outcome<u64> {
    let mut sum = 0;
    for pid in pids.split(' ') {
        let text = read_to_string(format!("/proc/{pid}/schedstat"))?;
        let nanos = text.split(' ').next().unwrap_or_default();
        sum += nanos.parse::<u64>()?;
    }
    Ok(sum)
}

fn imports(bench: &Bench, packages: &Path, peers: &mut [Peer<'_>]) -> Outcome<()> {
    for round in 0..=bench.pick(30, 8) {
        for peer in &mut *peers {
            let nanos = peer.package.import(packages)?;
            if round > 0 {
                peer.import.push(nanos as f64 / 1e6);
            }
        }
    }
    Ok(())
}

fn fill(report: &mut Report, peers: &[Peer<'_>], calls: f64) {
    for peer in peers {
        let samples = [
            &peer.cycle,
            &peer.new,
            &peer.handoff,
            &peer.hammer,
            &peer.waiting,
            &peer.import,
        ];
        let values = samples.map(Samples::median).to_vec();
        report.row(peer.name.as_str(), values);
    }
    report.note("hand-off: with a time limit, except fcntl.flock, which has none");
    report.note(format!(
        "the system calls of holdlock's cycle alone, in Rust: {calls:.2} µs"
    ));
    let of = |kind: Kind| peers.iter().find(|peer| peer.package.kind == kind);
    let (Some(ours), Some(theirs)) = (of(Kind::Holdlock), of(Kind::Filelock)) else {
        return;
    };
    let mut goal = |what, bound, measured, unit| report.goal(what, bound, measured, unit);
    let ratio = |samples: fn(&Peer<'_>) -> f64| samples(theirs) / samples(ours);
    let cycle = ratio(|peer| peer.cycle.median());
    let new = ratio(|peer| peer.new.median());
    let handoff = ratio(|peer| peer.handoff.median());
    let hammer = 1.0 / ratio(|peer| peer.hammer.median());
    let import = 1.0 / ratio(|peer| peer.import.median());
    let at_most = |limit| Bound::AtMost(limit);
    let at_least = |limit| Bound::AtLeast(limit);
    goal(
        "acquire and release one object",
        at_most(3.0),
        ours.cycle.median(),
        "µs",
    );
    goal(
        "the same, holdlock over its system calls alone",
        at_most(1.4),
        ours.cycle.median() / calls,
        "x",
    );
    goal(
        "the same, filelock over holdlock",
        at_least(25.0),
        cycle,
        "x",
    );
    goal(
        "a new object each time, filelock over holdlock",
        at_least(10.0),
        new,
        "x",
    );
    goal(
        "hand-off with a time limit",
        at_most(200.0),
        ours.handoff.median(),
        "µs",
    );
    goal(
        "the same, filelock over holdlock",
        at_least(100.0),
        handoff,
        "x",
    );
    goal(
        "two processes hammering, holdlock over filelock",
        at_least(30.0),
        hammer,
        "x",
    );
    goal(
        "100 waiting processes, all together",
        at_most(1.0),
        ours.waiting.median(),
        "% of a processor",
    );
    goal("import, holdlock over filelock", at_most(1.0), import, "x");
}
