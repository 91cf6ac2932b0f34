//! A record as lines.
//!
//! ```text
//! holdlock record 1
//! pid: 4711
//! started: 881100
//! host: build-7
//! user: ann
//! command: holdlock run backup -- rsync -a /srv /mnt
//! note: before the upgrade
//! run began: 2026-11-26T03:47:33.123456Z 8812.123456 3f2504e04f8941d3
//! run ended: ...
//! run exit: 0
//! success began: ...
//! token: 1764128853123456
//! since: 2026-11-26T03:47:33.123456Z 8812.123456 3f2504e04f8941d3
//! state: held
//! checksum: 1a2b3c4d
//! ```
//!
//! What changes each time is at the end, so that the checksum of the other lines is kept.
//!
//! Readers of version 1 skip lines that they do not know, and accept any order.

use super::sealed::{Text, Values, cut};
use super::{Moment, Record, RecordState, Run};
use crate::inspect;
use crate::sys::process::host_name;

pub(super) const KIND: &str = "holdlock record ";
pub(super) const FIRST_LINE: &[u8] = b"holdlock record 1\n";

/// Tokens end here: they fit into the signed integers of databases, and the next one never
/// overflows.
pub(super) const TOKEN_END: u64 = 1 << 62;

const LONGEST_NOTE: usize = 200;
const LONGEST_COMMAND: usize = 150;
const LONGEST_NAME: usize = 64;
const LONGEST_USER: usize = 32;

/// The lines about this process, which are the same in each of its records.
pub(super) fn lines_of_this_process() -> Vec<u8> {
    let pid = std::process::id();
    let (command, user) = inspect::this_process();
    lines(
        pid,
        inspect::start_time(pid),
        host_name().as_deref(),
        Some(&user),
        command.as_deref(),
    )
}

/// The lines about the process of this record.
pub(super) fn lines_of(record: &Record) -> Vec<u8> {
    lines(
        record.pid,
        record.start_time,
        record.host.as_deref(),
        record.user.as_deref(),
        record.command.as_deref(),
    )
}

fn lines(
    pid: u32,
    start_time: Option<u64>,
    host: Option<&str>,
    user: Option<&str>,
    command: Option<&str>,
) -> Vec<u8> {
    let mut lines = format!("pid: {pid}\n");
    if let Some(ticks) = start_time {
        lines.push_str(&format!("started: {ticks}\n"));
    }
    for (key, value, longest) in [
        ("host", host, LONGEST_NAME),
        ("user", user, LONGEST_USER),
        ("command", command, LONGEST_COMMAND),
    ] {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            lines.push_str(&format!("{key}: {}\n", cut(value, longest)));
        }
    }
    lines.into_bytes()
}

/// Writes the lines that seldom change from one record of a process to the next.
pub(super) fn begin(
    text: &mut Text,
    process: &[u8],
    note: Option<&str>,
    last_run: Option<Run>,
    last_success: Option<Moment>,
) {
    text.truncate(0);
    text.push(FIRST_LINE);
    text.push(process);
    if let Some(note) = note.filter(|note| !note.is_empty()) {
        text.push(b"note: ");
        text.push(cut(note, LONGEST_NOTE).as_bytes());
        text.push(b"\n");
    }
    if let Some(run) = last_run {
        push_moment(text, b"run began: ", Some(run.began));
        push_moment(text, b"run ended: ", run.ended);
        if let Some(exit) = run.exit {
            text.push(b"run exit: ");
            text.push_number(exit.into(), 1);
            text.push(b"\n");
        }
    }
    push_moment(text, b"success began: ", last_success);
}

/// Writes the lines that change each time.
pub(super) fn acquired(text: &mut Text, token: u64, since: Moment) {
    text.push(b"token: ");
    text.push_number(token, 1);
    text.push(b"\n");
    push_moment(text, b"since: ", Some(since));
}

fn push_moment(text: &mut Text, key: &[u8], moment: Option<Moment>) {
    if let Some(moment) = moment {
        text.push(key);
        moment.push(text);
        text.push(b"\n");
    }
}

pub(super) fn state_line(state: RecordState) -> &'static [u8] {
    match state {
        RecordState::Held => b"state: held\n",
        RecordState::Released => b"state: released\n",
        RecordState::HandedOver => b"state: handed over\n",
    }
}

/// Reads the lines. None if one that is needed is missing or wrong.
pub(super) fn parse(lines: &str) -> Option<Record> {
    let values = Values::of(lines);
    let value = |key| values.get(key);
    let text = |key| {
        let text = value(key).filter(|text| !text.is_empty());
        text.map(|text| inspect::printable(text).to_string())
    };
    let moment = |key| value(key).and_then(Moment::parse);
    let token: u64 = value("token")?.parse().ok()?;
    let began = moment("run began");
    Some(Record {
        token: Some(token).filter(|token| *token < TOKEN_END)?,
        state: match value("state")? {
            "held" => RecordState::Held,
            "released" => RecordState::Released,
            "handed over" => RecordState::HandedOver,
            _ => return None,
        },
        since: moment("since")?,
        pid: value("pid")?.parse().ok()?,
        start_time: value("started").and_then(|ticks| ticks.parse().ok()),
        host: text("host"),
        user: text("user"),
        command: text("command"),
        note: text("note"),
        last_run: began.map(|began| Run {
            began,
            ended: moment("run ended"),
            exit: value("run exit").and_then(|exit| exit.parse().ok()),
        }),
        last_success: moment("success began"),
    })
}
