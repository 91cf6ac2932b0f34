//! `--at-most-every`: the time of the last run, from the record.

use std::fs;
use std::path::Path;

use holdlock_test_support::{has, skipped};

use crate::runs::{print, told};
use crate::support::{Place, Running};

#[test]
fn a_run_that_succeeded_within_the_interval_is_not_repeated() {
    let place = Place::new();
    let every = |interval: &str, script: &str| {
        place.run([
            "run",
            "--at-most-every",
            interval,
            "x",
            "--",
            "sh",
            "-c",
            script,
        ])
    };
    assert_eq!(every("1h", "echo ran; exit 3").text(), "ran\n");
    // A failed run counts only where it is asked for.
    let done = every("1h,always", "echo ran");
    assert_eq!((done.code(), done.text()), (0, ""));
    assert_eq!(every("1h", "echo ran").text(), "ran\n");
    let done = every("1h", "echo ran");
    assert_eq!((done.code(), done.text()), (0, ""));
    assert!(
        done.stderr
            .starts_with("x: skipped: the last run that succeeded began ")
            || done
                .stderr
                .contains(": x: skipped: the last run that succeeded began "),
        "{}",
        done.stderr
    );
    assert_eq!(done.stderr.lines().count(), 1);
    let quiet = place.run(["run", "-q", "--at-most-every=1h", "x", "--", "echo", "ran"]);
    let heard = (quiet.code(), quiet.text(), quiet.stderr.as_str());
    assert_eq!(heard, (0, "", ""));
    // A failure after it changes nothing, and an interval that is over neither.
    assert_eq!(print(&place, "x").code(), 0);
    place.run(["run", "x", "--", "false"]);
    assert_eq!(every("1h", "echo ran").text(), "");
    assert_eq!(every("1ms", "echo ran").text(), "ran\n");
    // Another user of the lock is not in the way of a skip.
    let holder = place.hold(&["x"]);
    assert_eq!(every("1h", "echo ran").text(), "");
    drop(holder);
    for wrong in ["0", "-1", "1h,", "1h,never", "soon"] {
        assert_eq!(every(wrong, "echo ran").code(), 64, "{wrong}");
    }
    for option in ["--shared", "--exec", "--reentrant"] {
        let words = ["run", "--at-most-every=1h", option, "x", "--", "true"];
        assert_eq!(place.run(words).code(), 64, "{option}");
    }
}

#[test]
fn a_run_that_waited_for_a_success_is_skipped() {
    let place = Place::new();
    let mut first = place.hold(&["x"]);
    let words = ["run", "--at-most-every", "1h", "x", "--", "echo", "ran"];
    let waiter = Running::start(place.holdlock(words));
    waiter.expect_waiting();
    first.let_go();
    assert_eq!(first.finish().code(), 0);
    let done = waiter.finish();
    assert_eq!((done.code(), done.text()), (0, ""), "{done:?}");
}

/// The interval does not depend on the moment at which a run looks at it.
#[test]
fn a_run_that_waited_for_a_run_that_died_is_skipped_and_leaves_the_news() {
    let place = Place::new();
    // While it shares the lock, no run of the record has begun.
    let mut reader = place.hold(&["-s", "x"]);
    let words = ["run", "x", "--", "sh", "-c", "kill -9 $$"];
    let dies = Running::start(place.holdlock(words));
    dies.expect_waiting();
    let words = ["run", "--at-most-every", "1h,always", "x", "--"];
    let waiter = Running::start(place.holdlock(words.iter().chain(&["echo", "ran"])));
    waiter.expect_waiting();
    reader.let_go();
    assert_eq!(dies.finish().code(), 137);
    let done = waiter.finish();
    assert_eq!((done.code(), done.text()), (0, ""), "{done:?}");
    assert!(done.stderr.contains("x: skipped: the last run began "));
    assert_eq!(reader.finish().code(), 0);
    assert_eq!(told(&print(&place, "x")).1, "1");
}

/// The record of a run that succeeded. The time of its beginning can be replaced.
struct Success {
    content: String,
    /// The three words of the time.
    began: [String; 3],
}

impl Success {
    fn of(place: &Place, lock: &str) -> Success {
        assert_eq!(print(place, lock).code(), 0);
        Success::read(place, lock)
    }

    fn read(place: &Place, lock: &str) -> Success {
        let content = fs::read_to_string(place.join(lock)).unwrap();
        let lines = content.lines();
        let began = lines.filter_map(|line| line.strip_prefix("success began: "));
        let words: Vec<String> = began
            .flat_map(str::split_whitespace)
            .map(str::to_owned)
            .collect();
        Success {
            content,
            began: words.try_into().expect("three words"),
        }
    }

    /// What the clock of the boot showed.
    fn since_boot(&self) -> f64 {
        self.began[1].parse().unwrap()
    }

    /// The same record with another time.
    fn at(&self, wall: &str, since_boot: f64, boot: &str) -> String {
        let (before, _) = self.content.split_once("checksum: ").unwrap();
        let lines = before.replace(
            &format!("success began: {}", self.began.join(" ")),
            &format!("success began: {wall} {since_boot:.6} {boot}"),
        );
        sealed(&lines)
    }
}

/// A record with these lines.
pub(super) fn sealed(lines: &str) -> String {
    let text = format!("{lines}checksum: {:08x}\n", crc32(lines));
    format!("{text:<1023}\n")
}

fn crc32(text: &str) -> u32 {
    !text.bytes().fold(!0, |crc: u32, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 }
        })
    })
}

#[test]
fn a_time_in_the_future_blocks_nothing() {
    let place = Place::new();
    let success = Success::of(&place, "./x");
    let [now, _, boot] = &success.began;
    let since_boot = success.since_boot();
    let (future, later) = ("2199-01-01T00:00:00.000000Z", since_boot + 9e6);
    let other = "00000000000000ff";
    for (wall, since_boot, boot, skips) in [
        // In this boot its own clock counts, unless it would show a time in the future.
        (future, since_boot, &**boot, true),
        (now, later, boot, true),
        (future, later, boot, false),
        // In another boot only the wall clock.
        (now, later, other, true),
        (future, since_boot, other, false),
    ] {
        let content = success.at(wall, since_boot, boot);
        fs::write(place.join("x"), &content).unwrap();
        let done = place.run(["run", "--at-most-every=1h", "./x", "--", "echo", "ran"]);
        let expected = if skips { "" } else { "ran\n" };
        assert_eq!((done.code(), done.text()), (0, expected), "{content}");
    }
}

/// In a time namespace the clock of the boot is shifted.
#[test]
fn the_time_of_the_last_run_is_the_same_in_every_time_namespace() {
    if !has("unshare") {
        return;
    }
    let place = Place::new();
    let shifted = |seconds: &str, script: &str| {
        let mut command = place.command("unshare");
        command.args(["--time", "--boottime", seconds, "sh", "-c", script]);
        Running::start(command).finish()
    };
    if shifted("-1", "true").code() != 0 {
        return skipped("this user may not make a time namespace");
    }
    // A run of half a minute ago is no reason to skip, although the shifted clock shows less.
    let before = Success::of(&place, "./x");
    let [wall, _, boot] = &before.began;
    let content = before.at(wall, before.since_boot() - 30.0, boot);
    fs::write(place.join("x"), content).unwrap();
    let script = "exec $HOLDLOCK run --at-most-every 25s ./x -- echo ran";
    let done = shifted("-20", script);
    assert_eq!((done.code(), done.text()), (0, "ran\n"), "{done:?}");
    // And its own time is in the order of the times outside.
    let inside = Success::read(&place, "./x");
    let after = Success::of(&place, "./x");
    let times = [&before, &inside, &after].map(Success::since_boot);
    assert!(times.is_sorted(), "{times:?}");
}

#[test]
fn a_run_reads_no_shift_of_the_clock_where_there_is_none() {
    let first = "time:[4026531834]";
    if fs::read_link("/proc/self/ns/time").is_ok_and(|name| name != Path::new(first)) {
        return skipped("this test runs in a time namespace");
    }
    let place = Place::new();
    let traced = |file: &str| {
        let script = format!("strace -qq -f -o {file} \"$HOLDLOCK\" run ./x -- true");
        Running::start(place.shell(&script)).finish().code() == 0
    };
    if !has("strace") || !traced("trace") {
        return skipped("needs strace and the right to trace");
    }
    let trace = fs::read_to_string(place.join("trace")).unwrap();
    assert!(trace.contains("/proc/sys/kernel/random/boot_id"), "{trace}");
    assert!(!trace.contains("timens_offsets"), "{trace}");
}
