//! The demo's result as one JSON document; `holdlock demo --help` lists the fields.
//!
//! Times count from the begin of their half: nanoseconds since the host's boot
//! would soon be more than the numbers of many JSON readers can hold.

use std::fmt::Write;
use std::path::Path;

use super::Settings;
use super::journal::Event;
use super::verdict::{Half, Section};

/// The whole document, with a newline at its end.
pub(super) fn document(settings: &Settings, lock: &Path, halves: &[Half]) -> String {
    format!(
        "{{\n\"version\": \"{}\",\n\"lock\": {},\n\"run\": {},\n\"workers\": {},\n\"rounds\": {},\n\
         \"max_sleep_ns\": {},\n\"ok\": {},\n\"halves\": {}\n}}\n",
        env!("CARGO_PKG_VERSION"),
        string(&lock.to_string_lossy()),
        std::process::id(),
        settings.workers,
        settings.rounds,
        settings.max_sleep.as_nanos(),
        halves.iter().all(Half::is_ok),
        list(halves.iter().map(half)),
    )
}

fn half(half: &Half) -> String {
    let begin = half.time.start;
    format!(
        "{{\n\"lock\": \"{}\", \"begin_monotonic_ns\": {begin}, \"end_ns\": {}, \"ok\": {}, \
         \"count\": {}, \"overlapped\": {},\n\"sections\": {},\n\"events\": {}\n}}",
        if half.locked { "on" } else { "off" },
        half.time.end - begin,
        half.is_ok(),
        half.sections.len(),
        half.overlapped(),
        list(half.sections.iter().map(|found| section(found, begin))),
        list(half.events.iter().map(|found| event(found, begin))),
    )
}

fn section(section: &Section, begin: u64) -> String {
    let Section {
        run,
        worker,
        time,
        finished,
        overlapped,
    } = section;
    format!(
        "{{\"run\": {run}, \"worker\": {worker}, \"enter_ns\": {}, \"leave_ns\": {}, \
         \"finished\": {finished}, \"overlapped\": {overlapped}}}",
        since(begin, time.start),
        since(begin, time.end),
    )
}

fn event(event: &Event, begin: u64) -> String {
    format!(
        "{{\"at_ns\": {}, \"run\": {}, \"worker\": {}, \"pid\": {}, \"event\": \"{}\"}}",
        since(begin, event.at),
        event.run,
        event.worker,
        event.pid,
        event.step.word(),
    )
}

/// Negative where another demo began before ours.
fn since(begin: u64, time: u64) -> i64 {
    time as i64 - begin as i64
}

fn list(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    if items.is_empty() {
        "[]".into()
    } else {
        format!("[\n{}\n]", items.join(",\n"))
    }
}

fn string(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control < ' ' => {
                let _ = write!(quoted, "\\u{:04x}", control as u32);
            }
            other => quoted.push(other),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::string;

    #[test]
    fn strings_are_quoted() {
        for text in ["plain", "a \"b\" \\ c", "line\nline\u{1}", "ü ∞"] {
            let parsed: serde_json::Value = serde_json::from_str(&string(text)).unwrap();
            assert_eq!(parsed, text);
        }
    }
}
