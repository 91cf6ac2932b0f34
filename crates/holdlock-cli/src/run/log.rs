//! The log: one line of JSON for each run.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use holdlock::Mode;
use serde_json::Value;

use super::{Course, Settings};
use crate::exit::{self, CANNOT_CREATE, Failure};
use crate::show::json;
use crate::show::time::utc;

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
            json::line(&Value::from_iter(locks)),
            seconds(course.waited),
            course.held.map_or("null".into(), seconds),
            json::line(&words.map(|word| text(OsString::as_os_str(word))).collect()),
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
