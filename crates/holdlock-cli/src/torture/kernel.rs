//! What the kernel says about processes and threads, from /proc.

use std::fs;

/// A thread's state, and how often it has run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Thread {
    /// `S`: asleep until an event or a signal.
    pub(super) state: u8,
    /// Context switches: while they stay the same, the thread has not run.
    pub(super) switches: u64,
}

impl Thread {
    pub(super) fn is_asleep(self) -> bool {
        self.state == b'S'
    }
}

/// A thread of a process. None: it has ended, or /proc does not show it.
pub(super) fn thread(pid: u32, thread: u32) -> Option<Thread> {
    let status = fs::read_to_string(format!("/proc/{pid}/task/{thread}/status")).ok()?;
    parse(&status)
}

fn parse(status: &str) -> Option<Thread> {
    let field = |name: &str| {
        let mut lines = status.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
    };
    let number = |name: &str| field(name)?.parse::<u64>().ok();
    Some(Thread {
        state: *field("State")?.as_bytes().first()?,
        switches: number("voluntary_ctxt_switches")? + number("nonvoluntary_ctxt_switches")?,
    })
}

/// Whether the process has children. Where the kernel does not tell, it may have some.
pub(super) fn has_children(pid: u32) -> bool {
    let children = fs::read(format!("/proc/{pid}/task/{pid}/children"));
    children.map_or(true, |children| !children.is_empty())
}

/// Whether a thread of the process runs, waits for a processor, is in an uninterruptible wait, or
/// is stopped: a state in which it may be about to do something.
pub(super) fn is_at_work(pid: u32, but: &[u32]) -> bool {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return false;
    };
    tasks.flatten().any(|task| {
        let id = task.file_name().to_str().and_then(|name| name.parse().ok());
        id.is_some_and(|id| {
            !but.contains(&id) && thread(pid, id).is_some_and(|thread| !thread.is_asleep())
        })
    })
}

/// Whether the process can still run code of its own. A process that is being killed releases its
/// locks a moment before it becomes a zombie.
pub(super) fn is_alive(pid: u32) -> bool {
    const PF_EXITING: u64 = 4;
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    // The name may contain anything, and ends with the last parenthesis. After it: state, ppid,
    // pgrp, session, tty, tpgid, flags.
    let after_name = stat.rsplit(") ").next().unwrap_or_default();
    let flags = after_name.split(' ').nth(6);
    let flags = flags.and_then(|flags| flags.parse::<u64>().ok());
    flags.is_some_and(|flags| flags & PF_EXITING == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_read_from_its_status() {
        let status = "Name:\tx\nState:\tS (sleeping)\nvoluntary_ctxt_switches:\t3\n\
                      nonvoluntary_ctxt_switches:\t4\n";
        let thread = parse(status).unwrap();
        assert_eq!((thread.is_asleep(), thread.switches), (true, 7));
    }

    #[test]
    fn this_process_is_alive_and_at_work() {
        let pid = std::process::id();
        assert!(is_alive(pid) && is_at_work(pid, &[]));
        assert!(!is_alive(u32::MAX));
    }
}
