//! The processes that a process has started, and those that they have started.

use std::fs;
use std::io;

use holdlock::inspect;
use rustix::process::Pid;

/// All living descendants and zombies, except the children in `without`; parents before their
/// children. A process that is started meanwhile may be missing.
///
/// None if they cannot be listed: /proc is not mounted, or belongs to another PID namespace, or no
/// descriptor is free to read it.
pub(crate) fn of(pid: Pid, without: &[Pid]) -> Option<Vec<Pid>> {
    if !inspect::is_proc_ours() {
        return None;
    }
    let mut found = match children(pid) {
        // Not listed by this kernel (`CONFIG_PROC_CHILDREN`).
        Err(error) if is_gone(&error) => return search_all(pid).ok(),
        found => found.ok()?,
    };
    found.retain(|child| !without.contains(child));
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        let below = match children(*pid) {
            Err(error) if is_gone(&error) => Vec::new(),
            below => below.ok()?,
        };
        // A process that gets another parent meanwhile is seen twice.
        let new: Vec<Pid> = below
            .into_iter()
            .filter(|pid| !found.contains(pid))
            .collect();
        found.extend(new);
        next += 1;
    }
    Some(found)
}

/// Whether the error says that the process or the file does not exist.
fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOENT | libc::ESRCH | libc::ENOTDIR)
    )
}

/// The children of all threads of a process.
pub(crate) fn children(of: Pid) -> io::Result<Vec<Pid>> {
    const TRIES: usize = 10;
    let mut found = Ok(Vec::new());
    for _ in 0..TRIES {
        found = list_children(of);
        // The children of a thread that has ended meanwhile now belong to another thread, which may
        // have been read before.
        if !found.as_ref().is_err_and(is_gone) {
            break;
        }
    }
    found
}

fn list_children(of: Pid) -> io::Result<Vec<Pid>> {
    let mut found = Vec::new();
    for task in fs::read_dir(format!("/proc/{of}/task"))? {
        let list = fs::read_to_string(task?.path().join("children"))?;
        let pids = list
            .split_ascii_whitespace()
            .filter_map(|pid| pid.parse().ok());
        found.extend(pids.filter_map(Pid::from_raw));
    }
    Ok(found)
}

/// The same from all processes of the host.
fn search_all(us: Pid) -> io::Result<Vec<Pid>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let pid = name.to_str().and_then(|name| name.parse().ok());
        let pid = pid.and_then(Pid::from_raw);
        found.extend(pid.filter(|pid| descends_from(*pid, us)));
    }
    Ok(found)
}

pub(crate) fn descends_from(pid: Pid, us: Pid) -> bool {
    inspect::ancestors(number(pid)).contains(&number(us))
}

/// Process numbers are never negative.
pub(crate) fn number(pid: Pid) -> u32 {
    pid.as_raw_pid().unsigned_abs()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use rustix::process::getpid;

    use super::*;

    #[test]
    fn both_ways_find_the_children_of_children() {
        let mut child = Command::new("sh")
            .args(["-c", "sh -c 'echo; read line; :'; :"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh starts");
        let mut ready = [0];
        let stdout = child.stdout.as_mut().expect("piped");
        io::Read::read_exact(stdout, &mut ready).expect("it runs");
        let outer = Pid::from_child(&child);
        let inner = children(outer).expect("listed");
        assert_eq!(inner.len(), 1, "{inner:?}");
        let both = [of(getpid(), &[]), search_all(getpid()).ok()];
        for found in both.map(|found| found.expect("listed")) {
            assert!(found.contains(&outer), "{found:?}");
            assert!(found.contains(&inner[0]), "{found:?}");
        }
        drop(child.stdin.take());
        child.wait().expect("it ends");
    }
}
