//! Runs that take place once in an interval.

use std::fs;

use crate::runs::print;
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

#[test]
fn a_time_in_the_future_blocks_nothing() {
    let place = Place::new();
    assert_eq!(print(&place, "./x").code(), 0);
    let content = fs::read_to_string(place.join("x")).unwrap();
    let line = |key: &str| {
        let lines = content.lines().find_map(|line| line.strip_prefix(key));
        lines.expect(key).to_owned()
    };
    let began = line("success began: ");
    let words: Vec<&str> = began.split(' ').collect();
    let (wall, since_boot, boot) = (words[0], words[1], words[2]);
    let seconds: f64 = since_boot.parse().unwrap();
    let later = format!("{:.6}", seconds + 9e6);
    let other = "00000000000000ff";
    for (success, skips) in [
        // In this boot only its own clock counts.
        (
            format!("2199-01-01T00:00:00.000000Z {since_boot} {boot}"),
            true,
        ),
        (format!("{wall} {later} {boot}"), false),
        // In another boot only the wall clock.
        (format!("{wall} {later} {other}"), true),
        (
            format!("2199-01-01T00:00:00.000000Z {since_boot} {other}"),
            false,
        ),
    ] {
        let (before, _) = content.split_once("checksum: ").unwrap();
        let lines = before.replace(
            &format!("success began: {began}"),
            &format!("success began: {success}"),
        );
        let text = format!("{lines}checksum: {:08x}\n", crc32(&lines));
        fs::write(place.join("x"), format!("{text:<1023}\n")).unwrap();
        let done = place.run(["run", "--at-most-every=1h", "./x", "--", "echo", "ran"]);
        let expected = if skips { "" } else { "ran\n" };
        assert_eq!((done.code(), done.text()), (0, expected), "{success}");
    }
}

fn crc32(text: &str) -> u32 {
    !text.bytes().fold(!0, |crc: u32, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 }
        })
    })
}
