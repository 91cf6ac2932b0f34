//! `holdlock demo`: sections overlap without the lock, not with it, and the verdict notices a
//! failure.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::PathBuf;

use rustix::process::Signal;
use serde_json::Value;
use support::{Finished, Place, Running, is_gone, wait_for};

fn json(finished: &Finished) -> Value {
    serde_json::from_slice(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"))
}

/// The sections of a half as (enter, leave), counted anew.
fn overlapped(half: &Value) -> usize {
    let sections: Vec<(i64, i64)> = half["sections"]
        .as_array()
        .unwrap()
        .iter()
        .map(|section| {
            (
                section["enter_ns"].as_i64().unwrap(),
                section["leave_ns"].as_i64().unwrap(),
            )
        })
        .collect();
    let meets = |(i, a): (usize, &(i64, i64))| {
        sections
            .iter()
            .enumerate()
            .any(|(j, b)| i != j && a.0 < b.1 && b.0 < a.1)
    };
    sections
        .iter()
        .enumerate()
        .filter(|section| meets(*section))
        .count()
}

fn runs(items: &Value) -> BTreeSet<u64> {
    items
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["run"].as_u64().unwrap())
        .collect()
}

/// The journal of the only demo lock of this place, once it is there.
fn journal(place: &Place) -> PathBuf {
    wait_for("the journal", || find_journal(place))
}

fn find_journal(place: &Place) -> Option<PathBuf> {
    let files = fs::read_dir(place.locks()).ok()?;
    files
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|end| end == "journal"))
}

/// Waits until the journal has the wanted events.
fn expect_events(
    place: &Place,
    what: &str,
    enough: impl Fn(&[Vec<String>]) -> bool,
) -> Vec<Vec<String>> {
    let journal = journal(place);
    wait_for(what, || {
        let text = fs::read_to_string(&journal).ok()?;
        let events: Vec<Vec<String>> = text
            .lines()
            .map(|line| line.split(' ').map(str::to_owned).collect())
            .collect();
        enough(&events).then_some(events)
    })
}

#[test]
fn sections_overlap_without_the_lock_and_not_with_it() {
    let place = Place::new();
    let finished = place.run([
        "demo",
        "--max-sleep",
        "20ms",
        "--workers",
        "4",
        "--rounds",
        "4",
        "--json",
    ]);
    assert_eq!(finished.code(), 0, "{finished:?}");
    let document = json(&finished);
    assert_eq!(
        (&document["version"], &document["ok"], &document["workers"]),
        (&1.into(), &true.into(), &4.into())
    );
    let [off, on] = document["halves"].as_array().unwrap().as_slice() else {
        panic!("two halves")
    };
    assert_eq!((&off["lock"], &on["lock"]), (&"off".into(), &"on".into()));
    for half in [off, on] {
        assert_eq!((&half["count"], &half["ok"]), (&16.into(), &true.into()));
        assert_eq!(half["overlapped"], overlapped(half));
        assert_eq!(runs(&half["sections"]).len(), 1);
    }
    assert!(overlapped(off) > 0);
    assert_eq!(overlapped(on), 0);
    assert_eq!(off["events"].as_array().unwrap().len(), 2 * 16);
    assert_eq!(on["events"].as_array().unwrap().len(), 4 * 16);
    assert_eq!(find_journal(&place), None, "left behind");
}

#[test]
fn lines_alternate_with_the_lock() {
    let place = Place::new();
    let finished = place.run(["demo", "--max-sleep", "20ms", "--lock", "on", "./L"]);
    let lines: Vec<&str> = finished
        .text()
        .lines()
        .filter(|line| line.starts_with(['+', '-']))
        .collect();
    assert_eq!(lines.len(), 18);
    for pair in lines.chunks(2) {
        assert_eq!(
            pair[0].strip_prefix('+'),
            pair[1].strip_prefix('-'),
            "{lines:?}"
        );
    }
    assert!(
        finished
            .text()
            .contains("none of 9 critical sections overlapped")
    );
    assert!(
        finished.text().is_ascii(),
        "ASCII in the C locale, no colours in a pipe"
    );
    assert!(!finished.text().contains('\x1b'));
}

#[test]
fn the_picture_is_well_formed_and_has_both_halves() {
    let place = Place::new();
    let finished = place.run(["demo", "--max-sleep", "5ms", "--svg", "demo.svg", "a<&b"]);
    assert_eq!(finished.code(), 0);
    assert!(finished.text().contains("With the lock: "), "{finished:?}");
    let picture = fs::read_to_string(place.join("demo.svg")).unwrap();
    assert!(picture.contains("Without the lock") && picture.contains("With the lock"));
    let mut open = Vec::new();
    for tag in picture
        .split('<')
        .skip(1)
        .map(|rest| rest.split_once('>').expect("an end of each tag").0)
    {
        let name = |tag: &str| tag.split_whitespace().next().unwrap().to_owned();
        if let Some(closed) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(closed.to_owned()));
        } else if !tag.ends_with('/') {
            open.push(name(tag));
        }
        assert!(tag.matches('"').count() % 2 == 0, "{tag}");
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn a_picture_on_standard_output_is_alone_there() {
    let place = Place::new();
    let words = ["demo", "--max-sleep", "1ms", "--lock", "on", "--svg", "-"];
    let finished = place.run(words);
    assert_eq!((finished.code(), finished.stderr.as_str()), (0, ""));
    let text = finished.text();
    assert!(
        text.starts_with("<svg ") && text.ends_with("</svg>\n"),
        "{text}"
    );
    assert_eq!(place.run(["demo", "-J", "--svg", "-"]).code(), 64);
    assert_eq!(place.run(["demo", "--svg", "no/x.svg"]).code(), 73);
}

#[test]
fn two_demos_on_one_lock_share_one_order_and_one_verdict() {
    let place = Place::new();
    // No demo starts before both are there.
    let holder = place.hold(&["demo"]);
    let words = [
        "demo",
        "--lock",
        "on",
        "--max-sleep",
        "10ms",
        "--rounds",
        "4",
        "--json",
    ];
    let demos = [
        Running::start(place.holdlock(words)),
        Running::start(place.holdlock(words)),
    ];
    let pids: BTreeSet<u64> = demos.iter().map(|demo| demo.pid().into()).collect();
    expect_events(&place, "workers of both", |events| {
        events
            .iter()
            .map(|event| event[1].parse().unwrap())
            .collect::<BTreeSet<u64>>()
            == pids
    });
    holder.finish();
    let halves = demos.map(|demo| json(&demo.finish())["halves"][0].take());
    for half in &halves {
        assert_eq!(half["ok"], true);
        assert_eq!(overlapped(half), 0);
        assert_eq!(runs(&half["events"]), pids);
    }
    assert!(
        halves
            .iter()
            .any(|half| runs(&half["sections"]) == pids && half["count"].as_u64() > Some(12))
    );
    assert_eq!(find_journal(&place), None, "the last one removes it");
}

#[test]
fn an_overlap_in_spite_of_the_lock_is_exit_status_1() {
    let place = Place::new();
    let holder = place.hold(&["demo"]);
    let demo = Running::start(place.holdlock(["demo", "--lock", "on", "--max-sleep", "2ms"]));
    expect_events(&place, "a worker", |events| !events.is_empty());
    // An intruder that lives (this test), entered long ago, and has not left.
    let intruder = std::process::id();
    let mut file = fs::OpenOptions::new()
        .append(true)
        .open(journal(&place))
        .unwrap();
    writeln!(file, "1 {intruder} 1 {intruder} on enter").unwrap();
    holder.finish();
    let finished = demo.finish();
    assert_eq!(finished.code(), 1, "{finished:?}");
    assert!(
        finished.text().contains("THE LOCK FAILED: 10 of 10"),
        "{}",
        finished.text()
    );
    assert!(
        finished.text().contains(&format!("{intruder} worker 1  #")),
        "{}",
        finished.text()
    );
}

#[test]
fn a_killed_demo_takes_its_workers_along_and_is_forgotten() {
    let place = Place::new();
    let demo =
        Running::start(place.holdlock(["demo", "--lock", "off", "--max-sleep", "1m", "--json"]));
    let events = expect_events(&place, "three workers", |events| events.len() >= 3);
    let workers: BTreeSet<u64> = events
        .iter()
        .map(|event| event[3].parse().unwrap())
        .collect();
    demo.signal(Signal::KILL);
    for worker in workers {
        wait_for("a worker to end", || is_gone(worker).then_some(()));
    }
    drop(demo);
    let next = json(&place.run(["demo", "--lock", "off", "--max-sleep", "1ms", "--json"]));
    assert_eq!(runs(&next["halves"][0]["events"]).len(), 1);
    assert_eq!(find_journal(&place), None);
}

#[test]
fn absurd_values_are_wrong_usage() {
    let place = Place::new();
    for words in [
        ["--workers", "0"],
        ["--rounds", "0"],
        ["--max-sleep", "9d"],
        ["--lock", "maybe"],
    ] {
        let finished = place.run(["demo"].iter().chain(&words));
        assert_eq!((finished.code(), finished.text()), (64, ""), "{words:?}");
    }
    assert_eq!(place.run(["__demo-worker", "nonsense"]).code(), 64);
}
