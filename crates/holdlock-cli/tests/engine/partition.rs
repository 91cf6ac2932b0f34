//! A command whose host is cut off from the server.

use std::path::Path;
use std::process::Child;

use holdlock_test_support::network::{Cut, Network};
use holdlock_test_support::servers::Server as _;
use holdlock_test_support::{eventually, watchdog};

use crate::{Running, holdlock, server};

/// Writes the time into the file every few milliseconds, and does not obey TERM.
const BEATS: &str = "trap 'echo TERM' TERM; echo runs; \
                     while :; do date +%s%N > \"$0.new\" && mv \"$0.new\" \"$0\"; sleep 0.01; done";

#[test]
fn a_command_that_is_cut_off_has_ended_before_the_next_one_begins() {
    let _dog = watchdog::watch(120);
    if server::shared().is_none() {
        return;
    }
    let Some(network) = Network::new(4) else {
        return;
    };
    let Some(server) = network.on(0, || server::own("listen_addresses = '*'\n")) else {
        return;
    };
    let place = tempfile::tempdir().expect("a directory");
    let cuts = [Cut::Both, Cut::Sent, Cut::Received];
    std::thread::scope(|scope| {
        for (cut, host) in cuts.into_iter().zip(1..) {
            let (network, server, place) = (&network, &server, place.path());
            scope.spawn(move || {
                // A machine that is too slow for the one ttl is not for the next.
                let in_time = [3, 6, 12]
                    .iter()
                    .any(|ttl| ends_in_time(network, server, place, (host, cut), *ttl));
                assert!(in_time, "{cut:?}");
            });
        }
    });
}

/// Whether the command has heard TERM, and has ended before the next one began.
fn ends_in_time(
    network: &Network,
    server: &server::Server,
    place: &Path,
    (host, cut): (usize, Cut),
    ttl: u64,
) -> bool {
    let name = format!("cut-{host}-{ttl}");
    let near = server.with(&format!("ttl={ttl}"), &name);
    let far = near.replace("127.0.0.1", &network.address(0));
    let (beat, began) = (place.join(&name), place.join(name + "-next"));
    let mut holder = holdlock(&["run", &far, "--", "sh", "-c", BEATS]);
    holder.arg(&beat);
    let mut holder = network.on(host, || Running::start(&mut holder));
    let mut next = holdlock(&["run", "-q", &near, "--", "sh", "-c"]);
    next.arg("date +%s%N > \"$0\"").arg(&began);
    let mut next = network.on(0, || next.spawn().expect("starts"));
    let waits = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%\"pid\":{},%' \
         AND wait_event_type = 'Lock'",
        next.id()
    );
    let mut lost = false;
    eventually("the next one waits", || {
        let has_ended = |child: &mut Child| child.try_wait().expect("asked").is_some();
        lost = has_ended(&mut next) || has_ended(&mut holder.child);
        lost || server.sql(&waits) == "1"
    });
    if lost {
        println!("ttl={ttl}: lost before the cut");
        next.kill().expect("sent");
        next.wait().expect("ended");
        return false;
    }
    network.cut(host, cut);
    let (code, out, said) = holder.ended();
    assert_eq!(code, Some(74), "{cut:?}: {said}");
    assert!(said.contains("does not answer"), "{cut:?}: {said}");
    assert!(next.wait().expect("ends").success(), "{cut:?}");
    network.cut(host, Cut::Nothing);
    let time = |file| -> u64 {
        let text = std::fs::read_to_string(file).expect("written");
        text.trim().parse().expect("a number")
    };
    let (last, first) = (time(&beat), time(&began));
    println!("{cut:?}, ttl={ttl}: {out:?}, {last} {first}");
    out == "TERM\n" && last < first
}
