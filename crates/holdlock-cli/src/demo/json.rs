//! The demo's result as one JSON document; `holdlock demo --help` lists the fields.
//!
//! Times count from the beginning of their half: nanoseconds since the host's boot soon exceed the
//! numbers of many JSON readers.

use std::path::Path;

use serde_json::{Value, json};

use super::Settings;
use super::journal::Event;
use super::verdict::{Half, Section};
use crate::show;

/// The whole document, with a newline at its end.
pub(super) fn document(settings: &Settings, lock: &Path, halves: &[Half]) -> String {
    let document = json!({
        "version": 1,
        "lock": lock.to_string_lossy(),
        "run": std::process::id(),
        "workers": settings.workers,
        "rounds": settings.rounds,
        // A minute at most, so that it fits.
        "max_sleep_ns": settings.max_sleep.as_nanos() as u64,
        "ok": halves.iter().all(Half::is_ok),
        "halves": list(halves.iter().map(half)),
    });
    show::json::document(&document)
}

fn half(half: &Half) -> Value {
    let begin = half.time.start;
    json!({
        "lock": if half.locked { "on" } else { "off" },
        "begin_monotonic_ns": begin,
        "end_ns": half.time.end - begin,
        "ok": half.is_ok(),
        "count": half.sections.len(),
        "overlapped": half.overlapped(),
        "sections": list(half.sections.iter().map(|found| section(found, begin))),
        "events": list(half.events.iter().map(|found| event(found, begin))),
    })
}

fn section(section: &Section, begin: u64) -> Value {
    json!({
        "run": section.run,
        "worker": section.worker,
        "enter_ns": since(begin, section.time.start),
        "leave_ns": since(begin, section.time.end),
        "finished": section.finished,
        "overlapped": section.overlapped,
    })
}

fn event(event: &Event, begin: u64) -> Value {
    json!({
        "at_ns": since(begin, event.at),
        "run": event.run,
        "worker": event.worker,
        "pid": event.pid,
        "event": event.step.word(),
    })
}

fn list(items: impl Iterator<Item = Value>) -> Value {
    items.collect()
}

/// Negative if another demo began before ours.
fn since(begin: u64, time: u64) -> i64 {
    time as i64 - begin as i64
}
