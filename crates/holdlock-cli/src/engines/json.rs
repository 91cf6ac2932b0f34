//! Locks of engines in JSON: with the fields of lock files, and some of their own.

use holdlock_engines::{Member, Members};
use serde_json::{Value, json};

use crate::show::time::utc;

/// As a file of the documents, with the members that are wanted.
pub(crate) fn file(
    url: &str,
    engine: &str,
    members: &Members,
    wanted: impl Fn(&Member) -> bool,
) -> Value {
    let holders = members.holders.iter().filter(|holder| wanted(holder));
    let locks = holders.map(|holder| {
        json!({
            "kind": engine,
            "mode": holder.mode.to_string(),
            "range": {"start": 0, "end": null},
            "slot": null,
            "taker": holder.pid,
            "inherited": false,
            "holders": [with(holder, json!({"inherited": false}))],
        })
    });
    let waiters = members.waiters.iter().zip(1..);
    let waiters = waiters.filter(|(waiter, _)| wanted(waiter));
    let waiters = waiters.map(|(waiter, turn)| {
        let more = json!({
            "kind": engine,
            "mode": waiter.mode.to_string(),
            "range": {"start": 0, "end": null},
            "turn": turn,
            "for_slot": false,
        });
        with(waiter, more)
    });
    json!({
        "path": url,
        "removed": false,
        "elsewhere": false,
        "mount_point": null,
        "place": null,
        "mixes_families": false,
        "slots": null,
        "locks": locks.collect::<Value>(),
        "waiters": waiters.collect::<Value>(),
        "record": record(members),
    })
}

fn with(member: &Member, more: Value) -> Value {
    let mut value = json!({
        "process": process(member),
        "descriptor": null,
        "since": member.since.map(utc),
        "note": member.note,
        "token": member.token,
        "lease_s": member.rest.map(|rest| rest.as_secs_f64()),
        "session": member.session,
        "login": member.login,
    });
    if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
        value.extend(more);
    }
    value
}

pub(crate) fn process(member: &Member) -> Value {
    json!({
        "pid": member.pid,
        "command": member.command,
        "user": member.user,
        "host": member.host,
        "uid": null,
        "started": null,
        "state": null,
        "parent": null,
        "cgroup": null,
        "container": null,
    })
}

/// The record of the first holder, as that of a lock file.
fn record(members: &Members) -> Value {
    members.holders.first().map_or(Value::Null, |holder| {
        json!({
            "token": holder.token,
            "pid": holder.pid,
            "since": holder.since.map(utc),
            "note": holder.note,
        })
    })
}
