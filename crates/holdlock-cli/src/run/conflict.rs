//! The message about a lock that another process holds.

use holdlock::inspect;
use holdlock::{Conflict, Error};

use super::Patience;
use super::progress::is_hidden;
use crate::show::time::rounded;
use crate::show::{held, text};

/// A holder whose lock the kernel does not show.
pub(super) const OUTSIDE: &str = "a process outside this PID namespace";

/// The number of holders that a message names.
const NAMED: usize = 3;

/// `/srv/x.lock: already locked; held by pid 12 (make) of root`
pub(super) fn message(error: &Error, conflict: &Conflict, patience: &Patience) -> String {
    let path = text::path(conflict.path());
    let mut remedy = "";
    let what = match error {
        Error::WouldBlock(_) => match conflict.slots() {
            None => "already locked".to_owned(),
            Some(1) => "the only slot is taken".to_owned(),
            Some(slots) => format!("all {slots} slots are taken"),
        },
        Error::TimedOut(_) => {
            let limit = match patience {
                Patience::For(limit) => *limit,
                _ => conflict.waited(),
            };
            let limit = rounded(limit);
            match conflict.slots() {
                None => format!("timed out after {limit}"),
                Some(1) => format!("timed out after {limit} waiting for the only slot"),
                Some(slots) => format!("timed out after {limit} waiting for one of {slots} slots"),
            }
        }
        Error::DifferentSlots { slots, in_use, .. } => {
            remedy = "; use the same number everywhere, or wait until nobody holds a slot";
            let s = if *slots == 1 { "" } else { "s" };
            format!("cannot use {slots} slot{s}: the file is in use with {in_use}")
        }
        _ => return error.to_string(),
    };
    format!("{path}: {what}{}{remedy}", by(conflict))
}

fn by(conflict: &Conflict) -> String {
    let holders = conflict.holders();
    if holders.is_empty() {
        return match is_outside(conflict) {
            true => format!("; held by {OUTSIDE}"),
            // The lock may have been released meanwhile.
            false => String::new(),
        };
    }
    let names = holders.iter().take(NAMED);
    let record = conflict.record();
    let names = names.map(|one| {
        let name = text::process_cut(one, None);
        match record.filter(|record| record.pid == one.pid) {
            Some(record) => format!("{name} {}", held::words(record)),
            None => name,
        }
    });
    let names: Vec<String> = names.collect();
    let more = match holders.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("; held by {}{more}", names.join(", "))
}

/// Whether the kernel hides the lock from us.
fn is_outside(conflict: &Conflict) -> bool {
    let snapshot = inspect::file(conflict.path()).unwrap_or_default();
    snapshot.files.is_empty() && is_hidden(&snapshot)
}
