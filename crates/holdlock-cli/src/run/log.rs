//! The log: one line of JSON for each run.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, SystemTime};

use holdlock::Mode;
use holdlock::inspect::Process;
use serde_json::{Value, json};

use super::{Course, Settings};
use crate::exit::{self, CANNOT_CREATE, Failure, reason};
use crate::say;
use crate::show::json;
use crate::show::text::path as show;
use crate::show::time::utc;
use crate::sys::signals;

/// The destination of the lines.
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
        // A FIFO without a reader, or with a slow one, must not hold up the command.
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(name);
        file.map(Log::File).map_err(|error| {
            let why = match error.raw_os_error() {
                Some(libc::ENXIO) => "it is a FIFO that no process reads".to_owned(),
                _ => reason(&error),
            };
            let message = format!("cannot open the log {}: {why}", show(name));
            Failure::new(CANNOT_CREATE, message)
        })
    }

    /// Appends the line by one write(2), so that lines of many runs do not mix.
    /// The command has run by now: a full disk or a limit does not change its exit code.
    pub(super) fn append(mut self, record: &Record<'_>) {
        let line = record.line();
        signals::let_writes_fail_at_size_limit();
        let written = match &mut self {
            Log::File(file) => file.write(line.as_bytes()),
            Log::StandardError => return say::write(&line),
        };
        match written {
            Ok(length) if length == line.len() => {}
            Ok(_) => exit::warn("only a part of the line was written to the log"),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                exit::warn("cannot write to the log: the reader of the FIFO is too slow");
            }
            Err(error) => exit::warn(&format!("cannot write to the log: {}", reason(&error))),
        }
    }
}

impl Record<'_> {
    /// By hand, because the order of the fields is for people.
    fn line(&self) -> String {
        let (settings, course) = (self.settings, self.course);
        let locks = course.locks.iter().map(|path| text(path.as_os_str()));
        let words = std::iter::once(&settings.program).chain(&settings.arguments);
        let slot = match course.slot {
            Some(slot) => format!("\"slot\":{slot},"),
            None => String::new(),
        };
        let mode = match settings.mode {
            Mode::Exclusive => "exclusive",
            Mode::Shared => "shared",
        };
        format!(
            "{{\"version\":1,\"time\":\"{}\",\"locks\":{},\"mode\":\"{mode}\",\"waited_s\":{},\
             \"held_s\":{},{}\"command\":{},\"pid\":{},\"exit\":{},\"outcome\":\"{}\",\
             \"holders\":{}}}\n",
            utc(self.began),
            json::line(&Value::from_iter(locks)),
            seconds(course.waited),
            course.held.map_or("null".into(), seconds),
            slot,
            json::line(&words.map(|word| text(OsString::as_os_str(word))).collect()),
            std::process::id(),
            self.exit,
            course.outcome,
            json::line(&course.holders.iter().map(holder).collect()),
        )
    }
}

fn holder(process: &Process) -> Value {
    json!({"pid": process.pid, "command": process.command, "user": process.user})
}

/// JSON is Unicode: other bytes become U+FFFD.
fn text(words: &OsStr) -> String {
    words.to_string_lossy().into_owned()
}

fn seconds(duration: Duration) -> String {
    format!("{:.6}", duration.as_secs_f64())
}
