//! Finds the ancestors of a process, and which of them wait for its end, from /proc/PID/stat.

use std::collections::HashSet;
use std::fs;

use super::file_id::field;
use super::proc_file;
use crate::sys::directory;

/// The ancestors of a process, the nearest first.
pub fn ancestors(pid: u32) -> Vec<u32> {
    let mut line = Vec::new();
    let mut seen = HashSet::from([pid]);
    let mut next = pid;
    while let Some(stat) = Stat::of(next) {
        if stat.parent == 0 || !seen.insert(stat.parent) {
            break;
        }
        line.push(stat.parent);
        next = stat.parent;
    }
    line
}

/// The ancestors of a process that seem to wait for its end, the nearest first. Use them only to
/// show them: [`bound_ancestors`](crate::inspect::bound_ancestors) returns those that certainly
/// wait.
///
/// * A program that holds a lock while its command runs (holdlock, flock), recognised by its name.
///   A `holdlock run` that has only adopted the process, and waits for another one, does not count.
/// * Another ancestor, if this ancestor and all processes below it are asleep in a wait for a child
///   or for a signal, whichever child or signal that is.
pub fn waiting_ancestors(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    let mut seen = HashSet::from([pid]);
    let mut all_asleep = true;
    let mut child = pid;
    let mut next = Stat::of(pid).map(|stat| stat.parent);
    while let Some(ancestor) = next.filter(|pid| *pid != 0 && seen.insert(*pid)) {
        let Some(stat) = Stat::of(ancestor) else {
            break;
        };
        let is_supervisor = ["holdlock", "flock"].contains(&stat.name.as_str());
        if is_supervisor && waits_for_others_only(ancestor, child) {
            break;
        }
        all_asleep = all_asleep && (is_supervisor || is_in_wait(ancestor));
        if is_supervisor || all_asleep {
            found.push(ancestor);
        }
        child = ancestor;
        next = Some(stat.parent);
    }
    found
}

/// Whether `holdlock run` waits for other processes and not for this child. It becomes the parent
/// of the orphans of its job, and waits only for the processes of which it has a pidfd, if it has
/// any.
fn waits_for_others_only(supervisor: u32, child: u32) -> bool {
    let Ok(descriptors) = directory::numbers(format!("/proc/{supervisor}/fd")) else {
        return false;
    };
    let is_pidfd = |number: &u32| {
        let link = format!("/proc/{supervisor}/fd/{number}");
        let link = fs::read_link(link).unwrap_or_default();
        link.to_string_lossy().contains("pidfd")
    };
    let awaited = |number: u32| {
        let info = format!("/proc/{supervisor}/fdinfo/{number}");
        // -1 if the process has ended.
        field::<i64>(&proc_file::read_text(info).ok()?, "Pid:")
    };
    let descriptors = descriptors.filter(is_pidfd);
    let awaited: Vec<i64> = descriptors.filter_map(awaited).collect();
    !awaited.is_empty() && !awaited.contains(&child.into())
}

fn is_in_wait(pid: u32) -> bool {
    let function = proc_file::read_text(format!("/proc/{pid}/wchan")).unwrap_or_default();
    // `sigsuspend.isra.0`, if the compiler has changed its arguments.
    let name = function.trim().split('.').next();
    name.is_some_and(|name| ["do_wait", "sigsuspend"].contains(&name))
}

/// Whether the process has ended, and only its number remains.
pub(crate) fn is_zombie(pid: u32) -> bool {
    Stat::of(pid).is_some_and(|stat| ["Z", "X"].contains(&stat.state.as_str()))
}

/// Whether a thread of the process runs, waits for a processor, or waits for a disk.
pub(crate) fn is_at_work(pid: u32) -> bool {
    let is_at_work = |task: &u32| {
        let stat = proc_file::read(format!("/proc/{pid}/task/{task}/stat")).unwrap_or_default();
        parse(&stat).is_some_and(|stat| ["R", "D"].contains(&stat.state.as_str()))
    };
    // The kernel may skip a thread if another one ends while it lists them; the next list lacks
    // that one.
    let mut last = None;
    for _ in 0..3 {
        let Ok(tasks) = directory::numbers(format!("/proc/{pid}/task")) else {
            return false;
        };
        let tasks: Vec<u32> = tasks.into_iter().collect();
        if tasks.iter().any(is_at_work) {
            return true;
        }
        if last.as_ref() == Some(&tasks) {
            return false;
        }
        last = Some(tasks);
    }
    // Its threads end.
    true
}

/// When the process was started, in clock ticks since the host was started.
pub fn start_time(pid: u32) -> Option<u64> {
    Stat::of(pid).map(|stat| stat.start)
}

/// The fields of /proc/PID/stat.
pub(crate) struct Stat {
    pub(crate) name: String,
    state: String,
    pub(crate) parent: u32,
    pub(crate) start: u64,
}

impl Stat {
    pub(crate) fn of(pid: u32) -> Option<Stat> {
        parse(&proc_file::read(format!("/proc/{pid}/stat")).ok()?)
    }
}

/// Parses `1 (name) S 0 …`. The name may contain spaces, parentheses and any bytes.
fn parse(stat: &[u8]) -> Option<Stat> {
    let begin = stat.iter().position(|byte| *byte == b'(')? + 1;
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(end + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    Some(Stat {
        name: String::from_utf8_lossy(stat.get(begin..end)?).into_owned(),
        state: fields.next()?.to_owned(),
        parent: fields.next()?.parse().ok()?,
        start: fields.nth(17)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_contain_spaces_parentheses_and_any_bytes() {
        let stat = b"7 (a) b\xff (c) S 5 7 7 0 -1 4 1 2 3 4 5 6 7 8 9 10 11 12 777 0\n";
        let stat = parse(stat).unwrap();
        assert_eq!(stat.name, "a) b\u{fffd} (c");
        assert_eq!((stat.parent, stat.start), (5, 777));
        assert!(parse(b"").is_none() && parse(b"7 (x) S").is_none());
    }

    #[test]
    fn the_nearest_ancestor_is_the_parent() {
        let parent = std::os::unix::process::parent_id();
        assert_eq!(ancestors(std::process::id()).first(), Some(&parent));
        assert!(start_time(std::process::id()).is_some());
    }
}
