//! Processes and locks in JSON, the same in every subcommand.

use std::collections::HashMap;
use std::fmt::Write;
use std::path::Path;

use holdlock::Record;
use holdlock::inspect::{
    FileId, Holder, Lock, LockedFile, Process, Range, Unseen, Waiter, printable,
};
use serde_json::{Value, json};

use super::held;
use super::time::utc;

/// The fields of a `process` in the documents, for the help.
pub(crate) const PROCESS_FIELDS: &str = "\
pid, command, user, uid, started (RFC 3339; the process, not the lock),
    state (running, sleeping, uninterruptible, stopped, traced, zombie, other),
    parent, cgroup, container; null is what could not be read";

/// What a document has besides for a lock of an engine, for the help.
pub(crate) const ENGINE_FIELDS: &str = "\
of a lock of an engine: path is the URL without user and password; engine (postgres,
    etcd, redis), which is also the kind; process has a host; holders and waiters have
    since, note, token, lease_s (how long the engine keeps the lock of a silent host),
    session, login";

/// A process.
pub(crate) fn process(process: &Process) -> Value {
    json!({
        "pid": process.pid,
        "command": process.command,
        "user": process.user,
        "uid": process.uid,
        "started": process.started.map(utc),
        "state": process.state.map(|state| state.to_string()),
        "parent": process.parent,
        "cgroup": process.cgroup(),
        "container": process.container(),
    })
}

/// The processes shown so far: a process may have thousands of locks, but its control group is read
/// only once for each document.
#[derive(Default)]
struct Processes(HashMap<u32, Value>);

impl Processes {
    fn get(&mut self, one: &Process) -> Value {
        let known = self.0.entry(one.pid);
        known.or_insert_with(|| process(one)).clone()
    }
}

fn holder(lock: &Lock, holder: &Holder, processes: &mut Processes) -> Value {
    json!({
        "process": processes.get(&holder.process),
        "descriptor": holder.descriptor,
        "inherited": lock.was_passed_to(holder),
    })
}

fn waiter(waiter: &Waiter, processes: &mut Processes) -> Value {
    json!({
        "kind": waiter.kind.to_string(),
        "mode": waiter.mode.to_string(),
        "range": range(waiter.range),
        "turn": waiter.turn,
        "for_slot": waiter.is_for_a_slot(),
        "process": waiter.process.as_ref().map(|process| processes.get(process)),
        "descriptor": waiter.descriptor,
    })
}

/// Files with their locks and the requests that wait.
pub(crate) fn files<'f>(files: impl IntoIterator<Item = &'f LockedFile>) -> Value {
    let mut processes = Processes::default();
    let files = files.into_iter().map(|one| file(one, &mut processes));
    files.collect()
}

fn file(file: &LockedFile, processes: &mut Processes) -> Value {
    let mut locks = Vec::with_capacity(file.locks.len());
    for lock in &file.locks {
        let holders = lock.holders.iter();
        let holders = holders.map(|one| holder(lock, one, processes));
        locks.push(json!({
            "kind": lock.kind.to_string(),
            "mode": lock.mode.to_string(),
            "range": range(lock.range),
            "slot": lock.slot,
            "taker": lock.taker,
            "inherited": lock.is_inherited(),
            "holders": holders.collect::<Value>(),
        }));
    }
    let waiters = file.waiters.iter().map(|one| waiter(one, processes));
    json!({
        "path": file.path.as_deref().map(path),
        "removed": file.removed,
        "elsewhere": file.elsewhere,
        "mount_point": file.mount_point.as_deref().map(path),
        "place": file_id(file.file_id),
        "mixes_families": file.mixes_families(),
        "slots": file.slots,
        "waiters": waiters.collect::<Value>(),
        "locks": locks,
        "record": Record::of(file).as_ref().map(held::json),
    })
}

/// What could not be seen, one sentence each.
pub(crate) fn unseen(unseen: &[Unseen]) -> Value {
    unseen.iter().map(ToString::to_string).collect()
}

/// `{"device": "fe:00", "inode": 12}`
pub(crate) fn file_id(file_id: FileId) -> Value {
    json!({
        "device": format!("{:02x}:{:02x}", file_id.major, file_id.minor),
        "inode": file_id.inode,
    })
}

/// First and last byte; null is the end of the file, however long it is.
pub(crate) fn range(range: Range) -> Value {
    json!({"start": range.start, "end": range.end})
}

/// JSON is Unicode: other bytes become U+FFFD.
pub(crate) fn path(path: &Path) -> Value {
    path.to_string_lossy().into()
}

/// A document for machines and for people, with a newline at its end.
pub(crate) fn document(document: &Value) -> String {
    format!("{}\n", safe(&format!("{document:#}")))
}

/// The same on one line.
pub(crate) fn line(value: &Value) -> String {
    safe(&value.to_string())
}

/// Writes unprintable characters by their numbers, because JSON may be shown on a terminal; the
/// numbers mean the same text. Only strings contain them: the rest is ASCII.
fn safe(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    let (mut utf8, mut utf16) = ([0; 4], [0; 2]);
    for c in json.chars() {
        if c == '\n' || printable(c.encode_utf8(&mut utf8)).is_plain() {
            safe.push(c);
        } else {
            for unit in c.encode_utf16(&mut utf16) {
                // Writing to a String cannot fail.
                let _ = write!(safe, "\\u{unit:04x}");
            }
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_printable_is_escaped_and_stays_the_same() {
        let value = json!({"ä\u{9b}": ["\x1b\x7f\u{202e}\u{e0041}\n\\\"锁"]});
        let text = document(&value);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
        assert!(text.contains(r"\u001b\u007f\u202e\udb40\udc41\n"), "{text}");
        assert!(line(&value).contains("ä") && line(&value).contains("锁"));
    }
}
