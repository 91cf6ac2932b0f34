//! A record as lines.
//!
//! ```text
//! holdlock record 1
//! token: 1764128853123456
//! since: 2026-11-26T03:47:33.123456Z 8812.123456 3f2504e04f8941d3
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
//! state: held
//! checksum: 1a2b3c4d
//! ```
//!
//! Readers of version 1 skip lines that they do not know, and accept any order.

use super::sealed::{Text, cut, value};
use super::{Moment, Record, RecordState, Run};
use crate::inspect::{self, Process};

pub(super) const KIND: &str = "holdlock record ";
pub(super) const FIRST_LINE: &[u8] = b"holdlock record 1\n";

/// Tokens end here: they fit into the signed integers of databases, and the next one never
/// overflows.
const TOKEN_END: u64 = 1 << 62;

const LONGEST_NOTE: usize = 200;
const LONGEST_COMMAND: usize = 150;
const LONGEST_NAME: usize = 64;
const LONGEST_USER: usize = 32;

/// The lines about this process, which are the same in each of its records.
pub(super) fn lines_of_this_process() -> Vec<u8> {
    let pid = std::process::id();
    let mut lines = format!("pid: {pid}\n");
    let mut line = |key: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            lines.push_str(&format!("{key}: {value}\n"));
        }
    };
    line(
        "started",
        inspect::start_time(pid).map(|ticks| ticks.to_string()),
    );
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname");
    line(
        "host",
        host.ok().map(|host| cut(host.trim_end(), LONGEST_NAME)),
    );
    let process = Process::of(pid);
    let (user, command) = process.map_or((None, None), |us| (us.user, us.command));
    line("user", user.map(|user| cut(&user, LONGEST_USER)));
    line(
        "command",
        command.map(|command| cut(&command, LONGEST_COMMAND)),
    );
    lines.into_bytes()
}

/// What changes from one record of a process to the next.
pub(super) struct Acquisition<'n> {
    pub(super) token: u64,
    pub(super) since: Moment,
    pub(super) note: Option<&'n str>,
    pub(super) last_run: Option<Run>,
    pub(super) last_success: Option<Moment>,
}

/// Writes all lines but the last two, which [`end`] writes.
pub(super) fn begin(text: &mut Text, acquisition: &Acquisition<'_>, process: &[u8]) {
    text.truncate(0);
    text.push(FIRST_LINE);
    text.push(b"token: ");
    text.push_number(acquisition.token, 1);
    text.push(b"\n");
    push_moment(text, b"since: ", Some(acquisition.since));
    text.push(process);
    if let Some(note) = acquisition.note {
        text.push(b"note: ");
        text.push(cut(note, LONGEST_NOTE).as_bytes());
        text.push(b"\n");
    }
    if let Some(run) = acquisition.last_run {
        push_moment(text, b"run began: ", Some(run.began));
        push_moment(text, b"run ended: ", run.ended);
        if let Some(exit) = run.exit {
            text.push(b"run exit: ");
            text.push_number(exit.into(), 1);
            text.push(b"\n");
        }
    }
    push_moment(text, b"success began: ", acquisition.last_success);
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
    let text = |key| value(lines, key).map(|text| inspect::printable(text).to_string());
    let moment = |key| value(lines, key).and_then(Moment::parse);
    let token: u64 = value(lines, "token")?.parse().ok()?;
    let began = moment("run began");
    Some(Record {
        token: Some(token).filter(|token| *token < TOKEN_END)?,
        state: match value(lines, "state")? {
            "held" => RecordState::Held,
            "released" => RecordState::Released,
            "handed over" => RecordState::HandedOver,
            _ => return None,
        },
        since: moment("since")?,
        pid: value(lines, "pid")?.parse().ok()?,
        start_time: value(lines, "started").and_then(|ticks| ticks.parse().ok()),
        host: text("host"),
        user: text("user"),
        command: text("command"),
        note: text("note"),
        last_run: began.map(|began| Run {
            began,
            ended: moment("run ended"),
            exit: value(lines, "run exit").and_then(|exit| exit.parse().ok()),
        }),
        last_success: moment("success began"),
    })
}
