//! All locks of a database, as its sessions show them.

use std::collections::BTreeMap;

use super::key::Key;
use super::link::Row;
use super::members;
use super::service::field;
use crate::{Listed, Member};

/// What begins the names of our sessions.
const SESSION: &str = "holdlock:";
/// How many bytes of it the server shows.
const SHOWN: usize = 63;

/// The rows of [`members::statement`] for all locks of our sessions, each with the numbers of its
/// advisory lock and the name of the session.
pub(super) fn statement() -> String {
    members::rows_where(
        ", l.classid::int8, l.objid::int8, l.objsubid, a.application_name",
        "(l.objid::int8 & 16777215)",
        &format!(
            "l.locktype = 'advisory' AND a.application_name LIKE '{SESSION}%' AND l.database = \
             (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())"
        ),
    )
}

/// One for each lock, by name.
pub(super) fn read(rows: &[Row]) -> Vec<Listed> {
    let mut locks: BTreeMap<Key, (Option<String>, Vec<Row>)> = BTreeMap::new();
    for row in rows {
        let Some((key, name)) = lock_of(row) else {
            continue;
        };
        let (known, rows) = locks.entry(key).or_default();
        rows.push(row.clone());
        *known = known.take().or(name);
    }
    let listed = |(key, (name, rows)): (Key, (Option<String>, Vec<Row>))| Listed {
        name,
        members: members::read(&rows, key),
    };
    let mut listed: Vec<Listed> = locks.into_iter().map(listed).collect();
    listed.sort_by(|a, b| a.name.cmp(&b.name));
    listed
}

/// To which lock a row belongs.
fn lock_of(row: &Row) -> Option<(Key, Option<String>)> {
    let number = |index: usize| field(row, index)?.parse::<i64>().ok();
    let (class, object) = (number(7)?, number(8)?);
    let record = field(row, 6).and_then(members::record);
    let recorded = record.and_then(Member::name_in);
    let session = field(row, 10)?.strip_prefix(SESSION)?;
    let is_whole = session.len() + SESSION.len() < SHOWN && !session.contains('?');
    let name = recorded.or_else(|| Some(session.to_owned()));
    if field(row, 9) != Some("1") {
        return Some((Key::Pair(class as i32, object as i32), name));
    }
    let number = class << 32 | object;
    let hashed = Key::Hashed(number & !0xff_ffff);
    // `key=N` may be any number; others are those of the name.
    let of_name = name.as_deref().map(Key::of_name);
    let is_certain = is_whole || name.as_ref().is_some_and(|name| name.len() < SHOWN);
    let key = match of_name == Some(hashed) || !is_certain {
        true => hashed,
        false => Key::Number(number),
    };
    Some((key, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(number: i64, pid: &str, granted: bool, session: &str) -> Row {
        let low = number & 0xff_ffff;
        let granted = if granted { "t" } else { "f" };
        let numbers = [(number >> 32) & 0xffff_ffff, number & 0xffff_ffff];
        let [class, object] = numbers.map(|number| number.to_string());
        let low = low.to_string();
        let fields = [&low, "ExclusiveLock", granted, pid, "ann", "", ""];
        let more = [&class, &object, "1", session];
        let fields = fields.into_iter().chain(more);
        fields.map(|field| Some(field.to_owned())).collect()
    }

    #[test]
    fn rows_of_one_lock_are_together_and_a_key_is_a_lock_of_its_own() {
        let Key::Hashed(number) = Key::of_name("nightly") else {
            panic!("no number")
        };
        let listed = read(&[
            row(number, "1", true, "holdlock:nightly"),
            row(number | 1, "2", true, "holdlock:nightly"),
            row(4711, "3", true, "holdlock:keyed"),
            row(4712, "4", true, "holdlock:other"),
        ]);
        let names: Vec<_> = listed
            .iter()
            .map(|one| one.name.as_deref().unwrap_or(""))
            .collect();
        assert_eq!(names, ["keyed", "nightly", "other"]);
        let nightly = &listed[1].members;
        assert_eq!((nightly.holders.len(), nightly.waiters.len()), (1, 1));
        assert_eq!(nightly.waiters[0].session.as_deref(), Some("2"));
    }
}
