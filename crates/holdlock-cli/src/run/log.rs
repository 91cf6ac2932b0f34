//! The log: one line of JSON for each run.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use holdlock::Mode;
use serde_json::Value;

use super::{Course, Settings};
use crate::exit::{self, CANNOT_CREATE, Failure};

/// Where the lines go.
pub(super) enum Log {
    File(File),
    StandardError,
}

/// One run, at its end.
pub(super) struct Record<'a> {
    pub(super) began: SystemTime,
    pub(super) settings: &'a Settings,
    pub(super) course: &'a Course,
    pub(super) exit: u8,
}

impl Log {
    /// `-` is standard error. Another file is created when it is missing.
    pub(super) fn open(name: &OsStr) -> Result<Log, Failure> {
        if name == "-" {
            return Ok(Log::StandardError);
        }
        let file = OpenOptions::new().append(true).create(true).open(name);
        file.map(Log::File).map_err(|error| {
            let message = format!("cannot open the log {}: {error}", name.display());
            Failure::new(CANNOT_CREATE, message)
        })
    }

    /// Appends the line by one write(2), so that lines of many runs do not mix.
    /// The command has run by now: a full disk does not change its exit code.
    pub(super) fn append(mut self, record: &Record<'_>) {
        let line = record.line();
        let written = match &mut self {
            Log::File(file) => file.write(line.as_bytes()),
            Log::StandardError => io::stderr().write(line.as_bytes()),
        };
        match written {
            Ok(length) if length == line.len() => {}
            Ok(_) => exit::warn("the log took only a part of the line"),
            Err(error) => exit::warn(&format!("cannot write to the log: {error}")),
        }
    }
}

impl Record<'_> {
    /// By hand, because the order of the fields is for people.
    fn line(&self) -> String {
        let (settings, course) = (self.settings, self.course);
        let locks = course.locks.iter().map(|path| text(path.as_os_str()));
        let words = std::iter::once(&settings.program).chain(&settings.arguments);
        let mode = match settings.mode {
            Mode::Exclusive => "exclusive",
            Mode::Shared => "shared",
        };
        format!(
            "{{\"version\":1,\"time\":\"{}\",\"locks\":{},\"mode\":\"{mode}\",\"waited_s\":{},\
             \"held_s\":{},\"command\":{},\"pid\":{},\"exit\":{},\"outcome\":\"{}\"}}\n",
            utc(self.began),
            Value::from_iter(locks),
            seconds(course.waited),
            course.held.map_or("null".into(), seconds),
            Value::from_iter(words.map(|word| text(OsString::as_os_str(word)))),
            std::process::id(),
            self.exit,
            course.outcome,
        )
    }
}

/// JSON is Unicode: other bytes become U+FFFD.
fn text(words: &OsStr) -> String {
    words.to_string_lossy().into_owned()
}

fn seconds(duration: Duration) -> String {
    format!("{:.6}", duration.as_secs_f64())
}

/// `2026-01-31T12:00:00.123Z`
fn utc(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = date(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        second / 3600,
        second / 60 % 60,
        second % 60,
        since.subsec_millis()
    )
}

/// The date so many days after 1970-01-01. Counted from a first of March, so that
/// the leap day is a year's last; the pattern of years repeats every 400.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (951_868_800, "2000-03-01T00:00:00.000Z"),
            (1_767_225_599, "2025-12-31T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(utc(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        }
    }
}
