//! `holdlock run --log`: one line for each run.

mod support;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use serde_json::{Value, json};
use support::{Place, Running};

fn lines(place: &Place) -> Vec<Value> {
    let log = std::fs::read_to_string(place.join("log")).unwrap_or_default();
    log.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn last(place: &Place) -> Value {
    lines(place).pop().unwrap()
}

#[test]
fn a_run_is_one_line() {
    let place = Place::new();
    place.run(["run", "--log", "log", "-s", "L", "sh", "-c", "exit 3"]);
    let line = last(&place);
    let keys = [
        "version", "time", "locks", "mode", "waited_s", "held_s", "command", "pid", "exit",
        "outcome", "holders",
    ];
    assert_eq!(line.as_object().unwrap().len(), keys.len());
    assert!(keys.iter().all(|key| line.get(key).is_some()), "{line}");
    assert_eq!(line["version"], 1);
    assert_eq!(line["locks"], json!([place.locks().join("L.lock")]));
    assert_eq!(line["mode"], "shared");
    assert_eq!(line["command"], json!(["sh", "-c", "exit 3"]));
    assert_eq!(
        (&line["exit"], &line["outcome"]),
        (&json!(3), &json!("ran"))
    );
    assert!(line["waited_s"].is_f64() && line["held_s"].is_f64());
    let time = line["time"].as_str().unwrap();
    assert!(time.len() == 24 && time.ends_with('Z'), "{time}");
}

#[test]
fn each_outcome_has_its_word() {
    let place = Place::new();
    let holder = place.hold(&["held"]);
    for (words, exit, outcome) in [
        (&["L", "true"][..], 0, "ran"),
        (&["L", "sh", "-c", "kill -9 $$"], 137, "signal"),
        (&["L", "/missing"], 127, "error"),
        (&["./no/such/L", "true"], 73, "error"),
        (&["-n", "held", "true"], 75, "conflict"),
        (&["--skip", "held", "true"], 0, "conflict"),
        (&["-w", "10ms", "-E", "5", "held", "true"], 5, "timeout"),
        (
            &["--max-hold", "10ms", "L", "sleep", "1000"],
            124,
            "held-too-long",
        ),
        (&["--lock", "L", "--lock", "M", "true"], 0, "ran"),
    ] {
        let words = ["run", "--log=log"].iter().chain(words);
        let finished = place.run(words.clone());
        let line = last(&place);
        assert_eq!(line["exit"], finished.code(), "{line}");
        assert_eq!(
            (&line["exit"], &line["outcome"]),
            (&json!(exit), &json!(outcome)),
            "{line}"
        );
        let holders = line["holders"].as_array().unwrap();
        let is_in_the_way = ["conflict", "timeout"].contains(&outcome);
        assert_eq!(holders.len(), usize::from(is_in_the_way), "{line}");
        if is_in_the_way {
            assert_eq!(holders[0]["pid"], holder.pid(), "{line}");
            assert!(holders[0]["user"].is_string() && holders[0]["command"].is_string());
        }
        assert_eq!(
            line["held_s"].is_null(),
            matches!(outcome, "conflict" | "timeout" | "error")
        );
    }
    assert_eq!(last(&place)["locks"].as_array().unwrap().len(), 2);
    holder.finish();
    let nested = [
        "run",
        "L",
        env!("CARGO_BIN_EXE_holdlock"),
        "run",
        "--log=log",
        "L",
        "true",
    ];
    place.run(nested);
    assert_eq!(last(&place)["outcome"], "deadlock");
}

#[test]
fn a_fifo_does_not_hold_up_the_command() {
    let place = Place::new();
    let script = r#"
        mkfifo log
        "$HOLDLOCK" run --log log L echo ran; echo $?
        # With a reader it is a log as any other.
        cat log & exec 3>log
        "$HOLDLOCK" run --log log L true; echo $?
        exec 3>&-; wait
    "#;
    let finished = Running::start(place.shell(script)).finish();
    assert!(
        finished
            .stderr
            .contains("it is a FIFO that no process reads"),
        "{finished:?}"
    );
    assert!(finished.text().starts_with("73\n"), "{finished:?}");
    assert!(
        finished.text().contains("\"outcome\":\"ran\""),
        "{finished:?}"
    );
    assert!(!finished.text().contains("ran\n"), "{finished:?}");
}

#[test]
fn lines_of_many_runs_do_not_mix() {
    let place = Place::new();
    let long = "x".repeat(3000);
    let runs: Vec<Running> = (0..20)
        .map(|_| Running::start(place.holdlock(["run", "--log", "log", "L", "true", &long])))
        .collect();
    for run in runs {
        assert_eq!(run.finish().code(), 0);
    }
    assert_eq!(lines(&place).len(), 20);
}

#[test]
fn a_dash_is_standard_error_and_odd_bytes_are_replaced() {
    let place = Place::new();
    let odd = OsStr::from_bytes(b"a\xffb\n");
    let words = ["run", "--log", "-", "L", "true"].map(OsStr::new);
    let finished = place.run(words.iter().chain([&odd]));
    let line: Value = serde_json::from_str(&finished.stderr).unwrap();
    assert_eq!(line["command"], json!(["true", "a\u{fffd}b\n"]));
}

#[test]
fn a_log_that_cannot_be_written_is_known_before_the_command_runs() {
    let place = Place::new();
    let finished = place.run(["run", "--log", "no/such/log", "L", "echo", "ran"]);
    assert_eq!((finished.code(), finished.text()), (73, ""));
    let finished = place.run(["run", "--log", "/dev/full", "L", "sh", "-c", "exit 6"]);
    assert_eq!(finished.code(), 6, "the command has run");
    assert!(finished.stderr.contains("log"), "{finished:?}");
}

/// The kernel sends SIGXFSZ to a process that writes beyond its limit.
#[test]
fn a_log_that_may_not_grow_does_not_change_the_exit_code() {
    let place = Place::new();
    let script = "ulimit -f 0; exec $HOLDLOCK run --log log L -- sh -c 'exit 6'";
    let finished = Running::start(place.shell(script)).finish();
    assert_eq!(finished.code(), 6, "{finished:?}");
    assert!(finished.stderr.contains("cannot write to the log"));
    // The command finds the signal as the caller left it.
    let script = "ulimit -f 0; exec $HOLDLOCK run --log log L -- sh -c 'echo data >file'";
    let finished = Running::start(place.shell(script)).finish();
    assert_eq!(finished.code(), 128 + libc::SIGXFSZ, "{finished:?}");
}
