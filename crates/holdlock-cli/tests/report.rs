//! `holdlock report`: logs of every kind.

mod support;

use holdlock_test_support::watchdog;
use serde_json::{Value, json};

use support::{Place, Running};

/// A line as `holdlock run --log` writes it.
fn line(time: &str, lock: &str, waited: f64, held: Option<f64>, outcome: &str) -> String {
    let exit = if held.is_some() { 0 } else { 75 };
    let line = json!({
        "version": 1, "time": format!("2026-11-23T{time}Z"), "locks": [lock],
        "mode": "exclusive", "waited_s": waited, "held_s": held,
        "command": ["make", lock], "pid": 4711, "exit": exit, "outcome": outcome,
    });
    format!("{line}\n")
}

fn log() -> String {
    [
        line("08:00:00", "/run/backup", 0.0, Some(60.0), "ran"),
        line("08:00:10.5", "/run/backup", 49.5, Some(5.0), "ran"),
        line("08:00:20", "/run/backup", 30.0, None, "timeout"),
        line("08:00:00", "/srv/x", 0.001, Some(0.25), "signal"),
    ]
    .concat()
}

#[test]
fn the_table_tells_waits_and_holds_of_each_lock() {
    let place = Place::new();
    std::fs::write(place.join("log"), log()).unwrap();
    let finished = place.run(["report", "log"]);
    assert_eq!((finished.code(), finished.stderr.as_str()), (0, ""));
    let words = |start: &str| {
        let line = finished.text().lines().find(|line| line.starts_with(start));
        let line = line.unwrap_or_else(|| panic!("{start}: {}", finished.text()));
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(
        words("4 lines"),
        "4 lines in the log, 2 locks, 2026-11-23 08:00:00 to 2026-11-23 08:01:05 UTC"
    );
    assert_eq!(
        words("/run/backup"),
        "/run/backup 2 1 30.00s 49.50s 49.50s 5.00s 1m00s 1m00s make /run/backup"
    );
    assert_eq!(
        words("/srv/x"),
        "/srv/x 1 0 1.0ms 1.0ms 1.0ms 250ms 250ms 250ms make /srv/x"
    );
}

#[test]
fn the_document_has_the_same_numbers() {
    let place = Place::new();
    std::fs::write(place.join("log"), log()).unwrap();
    let finished = place.run(["report", "--json", "log"]);
    assert_eq!(finished.code(), 0);
    assert_eq!(place.run(["report", "-J", "log"]).stdout, finished.stdout);
    let document: Value = serde_json::from_slice(&finished.stdout).unwrap();
    assert_eq!(document["lines"], 4);
    let lock = &document["locks"][0];
    assert_eq!(lock["lock"], "/run/backup");
    assert_eq!((&lock["runs"], &lock["conflicts"]), (&json!(2), &json!(1)));
    assert_eq!(lock["waited_s"]["median"], 30.0);
    assert_eq!(lock["held_s"]["longest"], 60.0);
    assert_eq!(lock["outcomes"]["timeout"], 1);
    assert_eq!(lock["longest"]["command"], json!(["make", "/run/backup"]));
}

/// Sums of such times do not fit into 64 bits.
#[test]
fn times_far_in_the_future_are_left_out_and_do_no_harm() {
    let _dog = watchdog::watch(60);
    let place = Place::new();
    let entry = |year: u32, held: f64| {
        let line = json!({
            "version": 1, "time": format!("{year}-12-31T23:59:59Z"), "locks": ["/l"],
            "mode": "exclusive", "waited_s": 1e9, "held_s": held,
            "command": ["make"], "pid": 4711, "exit": 0, "outcome": "ran",
        });
        format!("{line}\n")
    };
    let lines = entry(2100, 1e9) + &entry(2200, 933_717_636.5) + &entry(2200, 1e9);
    std::fs::write(place.join("log"), lines).unwrap();
    let report = |words: &[&str]| {
        // A report that needs this much memory never ends.
        let mut command = place.shell(r#"ulimit -v 2000000; exec "$HOLDLOCK" report "$@" log"#);
        command.arg("sh").args(words);
        Running::start(command).finish()
    };
    let finished = report(&[]);
    assert_eq!(finished.code(), 0, "{finished:?}");
    assert!(
        finished.text().starts_with("1 line in the log"),
        "{finished:?}"
    );
    assert!(finished.text().contains("to 2164-05-18"), "{finished:?}");
    for number in [2, 3] {
        let why = format!("line {number} left out: its `time` is missing or invalid");
        assert!(finished.stderr.contains(&why), "{}", finished.stderr);
    }
    assert_eq!(report(&["--svg", "-"]).code(), 0);
}

/// A run under a lock of an engine may lose it.
#[test]
fn a_run_that_lost_its_lock_counts() {
    let place = Place::new();
    let lock = "postgres://db/jobs#x";
    std::fs::write(
        place.join("log"),
        line("08:00:00", lock, 0.0, Some(9.0), "lost"),
    )
    .unwrap();
    let finished = place.run(["report", "--json", "log"]);
    assert_eq!((finished.code(), finished.stderr.as_str()), (0, ""));
    let document: Value = serde_json::from_slice(&finished.stdout).unwrap();
    let lock = &document["locks"][0];
    assert_eq!(
        (&lock["runs"], &lock["outcomes"]["lost"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(place.run(["report", "--svg", "-", "log"]).code(), 0);
}

#[test]
fn foreign_and_torn_lines_are_reported_and_the_rest_counts() {
    let place = Place::new();
    let mut bytes = log().into_bytes();
    bytes.extend(b"\nnot json\n{\"level\":\"info\"}\n\xff\xfe\n[]\n{\"version\":1}\n");
    bytes.extend(&log().into_bytes()[..80]);
    std::fs::write(place.join("log"), bytes).unwrap();
    let finished = place.run(["report", "log"]);
    assert_eq!(finished.code(), 0);
    assert!(finished.text().starts_with("4 lines in the log"));
    for number in 6..=11 {
        let name = format!("holdlock: log: line {number} left out: ");
        assert!(finished.stderr.contains(&name), "{}", finished.stderr);
    }
    std::fs::write(place.join("log"), "x\n".repeat(1000)).unwrap();
    let finished = place.run(["report", "log"]);
    assert_eq!((finished.code(), finished.text()), (0, "log: no runs\n"));
    assert_eq!(finished.stderr.lines().count(), 11);
    assert!(
        finished
            .stderr
            .ends_with("and 990 more, 1000 lines left out in all\n")
    );
}

#[test]
fn an_empty_log_is_reported_and_a_missing_one_is_66() {
    let place = Place::new();
    std::fs::write(place.join("empty"), "").unwrap();
    let finished = place.run(["report", "empty"]);
    assert_eq!((finished.code(), finished.text()), (0, "empty: no runs\n"));
    assert_eq!(place.run(["report", "missing"]).code(), 66);
    assert_eq!(place.run(["report", "."]).code(), 66);
    assert_eq!(place.run(["report"]).code(), 64);
    assert_eq!(
        place.run(["report", "--svg", "no/x.svg", "empty"]).code(),
        73
    );
}

#[test]
fn since_leaves_out_earlier_runs() {
    let place = Place::new();
    std::fs::write(place.join("log"), log()).unwrap();
    let lines = |since: &str| {
        let finished = place.run(["report", "-J", "--since", since, "log"]);
        assert_eq!(
            (finished.code(), finished.stderr.as_str()),
            (0, ""),
            "{since}"
        );
        let document: Value = serde_json::from_slice(&finished.stdout).unwrap();
        document["lines"].as_u64().unwrap()
    };
    assert_eq!(lines("2026-11-23"), 4);
    assert_eq!(lines("2026-11-23T08:00:10.5Z"), 2);
    assert_eq!(lines("2026-11-23T09:00:20+01:00"), 1);
    let nothing = place.run(["report", "--since", "2026-11-24", "log"]);
    let expected = "log: no runs since 2026-11-24 00:00:00 UTC\n";
    assert_eq!((nothing.code(), nothing.text()), (0, expected));
    // A duration counts back from now, when this run begins.
    std::fs::write(
        place.join("log"),
        line("08:00:00", "/l", 0.0, None, "ran").replace("2026", "2020"),
    )
    .unwrap();
    assert_eq!(place.run(["run", "--log", "log", "L", "true"]).code(), 0);
    assert_eq!((lines("1h"), lines("2020-01-01")), (1, 2));
    for wrong in ["yesterday", "-1h", ""] {
        let refused = place.run(["report", "--since", wrong, "log"]);
        assert_eq!(refused.code(), 64, "{wrong}");
        assert!(refused.stderr.contains("give a time"), "{}", refused.stderr);
    }
}

#[test]
fn standard_input_is_a_log_too() {
    let place = Place::new();
    std::fs::write(place.join("log"), log()).unwrap();
    let command = place.shell("\"$HOLDLOCK\" report - < log");
    let finished = Running::start(command).finish();
    assert_eq!(finished.code(), 0);
    assert!(finished.text().contains("/run/backup"));
}

#[test]
fn the_picture_shows_holds_waits_and_conflicts() {
    let place = Place::new();
    let evil = line("09:00:00", "/<x>&\u{1}", 0.0, Some(1.0), "ran");
    std::fs::write(place.join("log"), log() + &evil).unwrap();
    let finished = place.run(["report", "--svg", "x.svg", "log"]);
    assert_eq!((finished.code(), finished.text()), (0, ""));
    let picture = std::fs::read_to_string(place.join("x.svg")).unwrap();
    assert_eq!(place.run(["report", "--svg", "-", "log"]).text(), picture);
    assert_eq!(place.run(["report", "--svg", "-", "-J", "log"]).code(), 64);
    for part in [
        "<svg ",
        "class=\"exclusive\"",
        "<path class=\"waiting\"",
        "class=\"conflict\"",
        "</svg>",
        "/&lt;x&gt;&amp;\\u{1}",
    ] {
        assert!(picture.contains(part), "{part}: {picture}");
    }
}

#[test]
fn a_long_log_is_still_a_small_picture() {
    let place = Place::new();
    let lines: String = (0..20_000)
        .map(|number| {
            let (minute, second) = (number / 60 % 60, number % 60);
            let time = format!("{:02}:{minute:02}:{second:02}", number / 3600);
            line(&time, "/l", 3.0, Some(0.9), "ran")
        })
        .collect();
    std::fs::write(place.join("log"), lines).unwrap();
    assert_eq!(place.run(["report", "--svg", "x.svg", "log"]).code(), 0);
    let size = std::fs::metadata(place.join("x.svg")).unwrap().len();
    assert!(size < 400_000, "{size}");
}
