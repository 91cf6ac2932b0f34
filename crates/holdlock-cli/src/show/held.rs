//! Since when and why a lock is held, from its record, where that agrees with the kernel.

use holdlock::Record;
use serde_json::{Value, json};

use super::text::printable;
use super::time::{span, utc};

/// `for 12 min: migrating accounts`
pub(crate) fn words(record: &Record) -> String {
    let mut words = match record.since.age() {
        Some(age) => format!("for {}", span(age)),
        None => format!("since {}", record.since),
    };
    if let Some(note) = &record.note {
        words.push_str(": ");
        words.push_str(&printable(note));
    }
    words
}

/// What the fields of a `record` are, for the help.
pub(crate) const FIELDS: &str = "\
token, pid, since (RFC 3339), note; null if the file has no record, or if
    the record does not agree with the kernel";

pub(crate) fn json(record: &Record) -> Value {
    json!({
        "token": record.token,
        "pid": record.pid,
        "since": utc(record.since.time()),
        "note": record.note,
    })
}
