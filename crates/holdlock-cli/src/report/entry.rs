//! One line of the log: one run.

use serde_json::Value;

use super::clock::{self, Time};

/// Longer than any real run, and short enough for sums not to overflow: see [`clock::parse`].
const LONGEST_S: f64 = 1e9;

/// The ends of a run, as in the log.
pub(super) const OUTCOMES: [&str; 10] = [
    "ran",
    "conflict",
    "timeout",
    "deadlock",
    "held-too-long",
    "signal",
    "skipped",
    "abandoned",
    "lost",
    "error",
];

/// One run. Times are in nanoseconds.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) start: Time,
    pub(super) locks: Vec<String>,
    pub(super) shared: bool,
    pub(super) waited: i64,
    /// None if the run did not acquire the lock.
    pub(super) held: Option<i64>,
    pub(super) command: Vec<String>,
    pub(super) pid: u64,
    /// One of [`OUTCOMES`].
    pub(super) outcome: &'static str,
}

impl Entry {
    /// When the wait ended, with the lock or without it.
    pub(super) fn acquired(&self) -> Time {
        self.start + self.waited
    }

    pub(super) fn end(&self) -> Time {
        self.acquired() + self.held.unwrap_or(0)
    }

    /// Another process held the lock, and this run did not acquire it.
    pub(super) fn gave_up(&self) -> bool {
        ["conflict", "timeout", "deadlock"].contains(&self.outcome)
    }
}

/// Reads a line, or says why it is not from `holdlock run --log`.
pub(super) fn parse(line: &[u8]) -> Result<Entry, String> {
    let value: Value = serde_json::from_slice(line).map_err(|_| "it is not JSON".to_owned())?;
    match value.get("version").and_then(Value::as_u64) {
        Some(1) => {}
        Some(other) => return Err(format!("its version is {other}; holdlock knows version 1")),
        None => return Err("it is not from `holdlock run --log`".to_owned()),
    }
    let wrong = |field: &str| format!("its `{field}` is missing or invalid");
    let text = |field: &str| value.get(field).and_then(Value::as_str);
    let list = |field: &str| {
        let items = value.get(field)?.as_array()?;
        let strings = items.iter().map(|item| item.as_str().map(str::to_owned));
        strings.collect::<Option<Vec<String>>>()
    };
    let held = match value.get("held_s") {
        None | Some(Value::Null) => None,
        Some(number) => Some(nanoseconds(Some(number)).ok_or_else(|| wrong("held_s"))?),
    };
    let outcome = OUTCOMES.iter().find(|known| text("outcome") == Some(known));
    Ok(Entry {
        start: text("time")
            .and_then(clock::parse)
            .ok_or_else(|| wrong("time"))?,
        locks: list("locks")
            .filter(|locks| !locks.is_empty())
            .ok_or_else(|| wrong("locks"))?,
        shared: match text("mode") {
            Some("shared") => true,
            Some("exclusive") => false,
            _ => return Err(wrong("mode")),
        },
        waited: nanoseconds(value.get("waited_s")).ok_or_else(|| wrong("waited_s"))?,
        held,
        command: list("command").ok_or_else(|| wrong("command"))?,
        // Shown only.
        pid: value.get("pid").and_then(Value::as_u64).unwrap_or(0),
        outcome: outcome.ok_or_else(|| wrong("outcome"))?,
    })
}

fn nanoseconds(value: Option<&Value>) -> Option<i64> {
    let seconds = value?.as_f64()?;
    (0.0..=LONGEST_S)
        .contains(&seconds)
        .then(|| (seconds * 1e9).round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"version":1,"time":"2026-11-23T08:00:00Z","locks":["/l"],"mode":"exclusive","waited_s":0.5,"held_s":2,"command":["make","all"],"pid":4711,"exit":0,"outcome":"ran"}"#;

    #[test]
    fn a_line_is_a_run() {
        let entry = parse(LINE.as_bytes()).unwrap();
        assert_eq!(
            (entry.waited, entry.held),
            (500_000_000, Some(2_000_000_000))
        );
        assert_eq!(entry.end() - entry.start, 2_500_000_000);
        assert_eq!(
            (entry.shared, entry.pid, entry.outcome),
            (false, 4711, "ran")
        );
        assert_eq!(entry.command, ["make", "all"]);
        let never = LINE
            .replace("\"held_s\":2", "\"held_s\":null")
            .replace("ran", "timeout");
        let entry = parse(never.as_bytes()).unwrap();
        assert_eq!((entry.held, entry.gave_up()), (None, true));
    }

    #[test]
    fn other_lines_are_refused_with_a_reason() {
        for (from, to, reason) in [
            ("{", "", "not JSON"),
            ("\"version\":1,", "", "not from"),
            ("\"version\":1", "\"version\":2", "version is 2"),
            ("2026-11-23T08:00:00Z", "today", "`time`"),
            ("[\"/l\"]", "[]", "`locks`"),
            ("[\"/l\"]", "[1]", "`locks`"),
            ("exclusive", "both", "`mode`"),
            ("0.5", "-0.5", "`waited_s`"),
            ("0.5", "1e300", "`waited_s`"),
            ("\"held_s\":2", "\"held_s\":\"2\"", "`held_s`"),
            ("[\"make\",\"all\"]", "\"make all\"", "`command`"),
            ("\"ran\"", "\"walked\"", "`outcome`"),
        ] {
            let line = LINE.replacen(from, to, 1);
            let error = parse(line.as_bytes()).expect_err(&line);
            assert!(error.contains(reason), "{line}: {error}");
        }
        assert!(parse(b"[1,2]").is_err());
        assert!(parse(b"\xff\xfe").is_err());
    }
}
