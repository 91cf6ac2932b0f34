//! Who started whom, from /proc/PID/stat.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// Sends a signal to every living descendant of ours.
pub(super) fn signal_descendants(signal: Signal) {
    for pid in descendants(std::process::id()) {
        if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }
}

fn descendants(root: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok()) {
        if let Some(stat) = Stat::of(pid) {
            children.entry(stat.parent).or_default().push(pid);
        }
    }
    let mut found = Vec::new();
    let mut next = vec![root];
    while let Some(pid) = next.pop() {
        let mine = children.remove(&pid).unwrap_or_default();
        found.extend(&mine);
        next.extend(mine);
    }
    found
}

/// The ancestors of a process, the nearest first.
pub(super) fn ancestors(pid: u32) -> Vec<u32> {
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

/// Whether `holder`, one of a process's `ancestors`, cannot go on before that process
/// ends. Certain of a program that holds locks for the sake of its command; of
/// others when all from the holder down are asleep in a wait for a child. A program
/// that starts something under its lock and does not wait for it is no obstacle.
pub(super) fn waits(holder: u32, ancestors: &[u32]) -> bool {
    let Some(position) = ancestors.iter().position(|pid| *pid == holder) else {
        return false;
    };
    let asleep = |pid: &u32| {
        let place = fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
        is_supervisor(*pid) || ["do_wait", "sigsuspend"].contains(&place.trim())
    };
    is_supervisor(holder) || ancestors[..=position].iter().all(asleep)
}

fn is_supervisor(pid: u32) -> bool {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    ["holdlock", "flock"].contains(&name.trim())
}

/// When the process was started, in clock ticks since the host was.
pub(super) fn start_time(pid: u32) -> Option<u64> {
    Stat::of(pid).map(|stat| stat.start)
}

/// How long ago the process was started.
pub(super) fn age(pid: u32) -> Option<Duration> {
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let uptime: f64 = uptime.split(' ').next()?.parse().ok()?;
    let start = start_time(pid)? as f64 / rustix::param::clock_ticks_per_second() as f64;
    Duration::try_from_secs_f64(uptime - start).ok()
}

struct Stat {
    parent: u32,
    start: u64,
}

impl Stat {
    fn of(pid: u32) -> Option<Stat> {
        parse(&fs::read(format!("/proc/{pid}/stat")).ok()?)
    }
}

/// `1 (name) S 0 …`; the name may have spaces, parentheses and any bytes.
fn parse(stat: &[u8]) -> Option<Stat> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(end + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    Some(Stat {
        parent: fields.nth(1)?.parse().ok()?,
        start: fields.nth(17)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_be_odd() {
        let stat = b"7 (a) b\xff (c) S 5 7 7 0 -1 4 1 2 3 4 5 6 7 8 9 10 11 12 777 0\n";
        let stat = parse(stat).unwrap();
        assert_eq!((stat.parent, stat.start), (5, 777));
        assert!(parse(b"").is_none() && parse(b"7 (x) S").is_none());
    }

    #[test]
    fn we_have_ancestors() {
        let parent = std::os::unix::process::parent_id();
        assert_eq!(ancestors(std::process::id()).first(), Some(&parent));
        assert!(start_time(std::process::id()).is_some());
        let age = age(std::process::id()).expect("we are there");
        assert!(age < Duration::from_secs(3600), "{age:?}");
    }
}
