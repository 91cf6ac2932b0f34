//! Tells, from /proc, what is certain about a waiting process.
//!
//! A waiting process has a way out if another of its threads runs, if its wait has a limit, or if
//! it waits for more than one thing. Each function here answers yes only if /proc shows that there
//! is no such way out. docs/promises.md lists what /proc does not show, for example an alarm(2)
//! without a handler.

use std::fs;
use std::os::unix::ffi::OsStrExt;

use super::proc::ancestors::{self, Stat};
use super::proc::file_id::field;
use super::proc::{descriptors, proc_file};
use crate::sys::directory::{self, Directory};
use crate::sys::published::{self, Published, WaitNote};
use crate::sys::signal;

/// Whether one thread does everything that the process does. While this thread waits, the process
/// cannot release anything that it holds. Helper threads that the process has published do not
/// count: they hold and release nothing.
pub(crate) fn has_one_thread(pid: u32) -> bool {
    let Some(others) = other_threads(pid) else {
        return false;
    };
    if others.is_empty() {
        return true;
    }
    let helpers = published(pid).helpers;
    others.iter().all(|thread| helpers.contains(thread))
}

/// Whether the process has more threads than this, without the helper threads that it has
/// published. False if /proc does not show it.
pub(super) fn has_more_threads_than(pid: u32, number: usize) -> bool {
    let status = proc_file::read_text(format!("/proc/{pid}/status")).unwrap_or_default();
    let threads: usize = field(&status, "Threads:").unwrap_or(0);
    threads > number && threads - number > published(pid).helpers.len()
}

/// What the process has published about itself.
fn published(pid: u32) -> Published {
    let descriptors = descriptors::list(pid).into_iter().flatten();
    published::read(pid, descriptors.map(|(_, link)| link)).unwrap_or_default()
}

/// The threads of a process, without the first thread. `None` if the process has ended, or if the
/// list may be incomplete.
fn other_threads(pid: u32) -> Option<Vec<u32>> {
    // The kernel may skip a living thread if another thread ends while it lists them.
    let threads = list_threads(pid)?;
    let status = proc_file::read_text(format!("/proc/{pid}/status")).ok()?;
    let is_all = field(&status, "Threads:") == Some(threads.len());
    let is_same = list_threads(pid)? == threads;
    let others = threads.into_iter().filter(|thread| *thread != pid);
    (is_all && is_same && !ancestors::is_zombie(pid)).then(|| others.collect())
}

fn list_threads(pid: u32) -> Option<Vec<u32>> {
    let mut threads = Vec::new();
    for task in Directory::open(format!("/proc/{pid}/task")).ok()? {
        threads.push(task.ok()?.number?);
    }
    Some(threads)
}

/// What this process publishes while its first thread sleeps in a wait that only the lock ends: how
/// often that thread has left the processor. The note is valid only as long as the thread sleeps,
/// so the process does not have to take it back.
///
/// `None` if the thread is not asleep.
pub(crate) fn wait_without_limit(pid: u32) -> Option<WaitNote> {
    let Asleep { switches, .. } = Asleep::of(pid)?;
    Some(WaitNote::NoLimit { switches })
}

/// Whether only the lock ends the wait of this process, which has one thread.
pub(crate) fn has_no_limit(pid: u32) -> bool {
    match published(pid).wait {
        WaitNote::Unknown => no_timer(pid),
        // The process uses this library, and knows more about its wait than /proc shows.
        known => wait_without_limit(pid) == Some(known),
    }
}

/// Whether /proc shows no timer of the process. /proc does not show whether a timer is armed, so
/// every timer counts.
fn no_timer(pid: u32) -> bool {
    let timers = proc_file::read(format!("/proc/{pid}/timers"));
    timers.is_ok_and(|timers| timers.is_empty()) && !catches(pid, libc::SIGALRM)
}

fn catches(pid: u32, signal: i32) -> bool {
    let status = proc_file::read_text(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught: Option<String> = field(&status, "SigCgt:");
    let caught = caught.and_then(|digits| u64::from_str_radix(&digits, 16).ok());
    caught.is_none_or(|caught| caught & (1 << (signal - 1)) != 0)
}

/// Whether this process has a timer that does not belong to this library. Such a timer may end a
/// wait, or the process.
pub(crate) fn we_have_a_timer() -> bool {
    if crate::sys::process::has_alarm() {
        return true;
    }
    let Ok(timers) = proc_file::read_text("/proc/self/timers") else {
        return true;
    };
    let ours = signal::ours().map(|signal| format!("signal: {signal}/"));
    let mut signals = timers.lines().filter(|line| line.starts_with("signal:"));
    signals.any(|line| ours.as_ref().is_none_or(|ours| !line.starts_with(ours)))
}

/// The ancestors of a process that certainly cannot continue before it ends, the nearest first.
/// Each of them has one thread, waits without a limit for the ancestor below it (the first one for
/// the process), and waits for nothing else.
pub fn bound_ancestors(pid: u32) -> Vec<u32> {
    bound_chain(pid, |parent, child| is_bound(parent, child, true))
}

/// Like [`bound_ancestors`], and also ancestors whose wait has a limit, if they end this process at
/// that limit.
pub(super) fn bound_or_deadly_ancestors(pid: u32) -> Vec<u32> {
    // `holdlock run --max-hold` ends everything below it.
    bound_chain(pid, |parent, child| is_bound(parent, child, false))
}

fn bound_chain(pid: u32, is_bound: impl Fn(u32, u32) -> bool) -> Vec<u32> {
    let mut found = Vec::new();
    let mut below = pid;
    if !has_one_thread(pid) {
        // Another thread may end the process.
        return found;
    }
    while let Some(stat) = Stat::of(below)
        && !found.contains(&stat.parent)
        && is_bound(stat.parent, below)
    {
        found.push(stat.parent);
        below = stat.parent;
    }
    found
}

/// Whether `parent` certainly waits until `child` ends. `limit_matters`: `holdlock run` with a time
/// limit does not.
fn is_bound(parent: u32, child: u32, limit_matters: bool) -> bool {
    let before = Asleep::of(parent);
    let Some(asleep) = &before else {
        return false;
    };
    // Compilers append to the names of functions: do_sigtimedwait.isra.0.
    let call = asleep.file_id.split('.').next().unwrap_or_default();
    let is_only = children(parent).is_some_and(|children| children == [child]);
    let waits = if call == "do_wait" {
        (is_only || names_its_child(parent, child)) && no_timer(parent)
    } else {
        let has_limit = || limit_matters && has_max_hold(&words(parent));
        call == "do_sigtimedwait" && is_only && is_holdlock_run(parent) && !has_limit()
    };
    // The parent must have slept since we began: otherwise it may have waited for something else.
    waits && has_one_thread(parent) && Asleep::of(parent) == before
}

/// Whether the process is `holdlock run`, which waits only for its command.
fn is_holdlock_run(pid: u32) -> bool {
    let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    let name = program.file_name().map(OsStrExt::as_bytes).unwrap_or(b"");
    let name = name.strip_suffix(b" (deleted)").unwrap_or(name);
    name == b"holdlock" && words(pid).iter().any(|word| word == b"run")
}

fn words(pid: u32) -> Vec<Vec<u8>> {
    let line = proc_file::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect()
}

/// Whether the command line may contain `--max-hold`. This also looks at the words of the command
/// that `holdlock run` starts: a match there only makes the answer less certain.
fn has_max_hold(words: &[Vec<u8>]) -> bool {
    words.iter().any(|word| word.starts_with(b"--max"))
}

/// Whether the wait(2) of `parent` names this child. A parent of several children may wait for any
/// of them.
fn names_its_child(parent: u32, child: u32) -> bool {
    const P_PID: u64 = libc::P_PID as u64;
    let status = proc_file::read_text(format!("/proc/{parent}/status")).unwrap_or_default();
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    if numbers.is_none_or(|numbers| numbers.split_whitespace().count() != 1) {
        // The parent is in another PID namespace: its process numbers differ from ours.
        return false;
    }
    let call = proc_file::read_text(format!("/proc/{parent}/syscall")).unwrap_or_default();
    let mut words = call.split_ascii_whitespace();
    let number = words.next().and_then(|word| word.parse::<i64>().ok());
    let mut argument = || u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
    let arguments = (argument(), argument());
    match number {
        Some(libc::SYS_wait4) => arguments.0 == Some(u64::from(child)),
        Some(libc::SYS_waitid) => arguments == (Some(P_PID), Some(u64::from(child))),
        _ => false,
    }
}

/// The children of a process that have not ended. `None` if the list may be incomplete.
fn children(pid: u32) -> Option<Vec<u32>> {
    let read = || {
        let mut children = Vec::new();
        for task in directory::numbers(format!("/proc/{pid}/task")).ok()? {
            let text = proc_file::read_text(format!("/proc/{pid}/task/{task}/children")).ok()?;
            children.extend(text.split_ascii_whitespace().map(str::parse::<u32>));
        }
        children.into_iter().collect::<Result<Vec<u32>, _>>().ok()
    };
    // The kernel may skip a child if another child ends while it lists them.
    let (mut children, again) = (read()?, read()?);
    if children != again {
        return None;
    }
    children.retain(|child| !ancestors::is_zombie(*child));
    Some(children)
}

/// The ancestors of a process that may end it after a time: timeout(1), and `holdlock run` with
/// --max-hold.
pub(crate) fn timekeepers(pid: u32) -> Vec<u32> {
    let mut found = ancestors::ancestors(pid);
    found.retain(|ancestor| {
        let name = Stat::of(*ancestor)
            .map(|stat| stat.name)
            .unwrap_or_default();
        name == "timeout" || name == "holdlock" && has_max_hold(&words(*ancestor))
    });
    found
}

/// Whether the process `hidden`, which we may not look at, may have inherited a descriptor from
/// `holder`: it is younger, and it descends from the holder or may have done so before its parents
/// ended.
pub(crate) fn may_be_heir(hidden: u32, holder: u32) -> bool {
    const KTHREADD: u32 = 2;
    let (Some(one), Some(other)) = (Stat::of(hidden), Stat::of(holder)) else {
        return false;
    };
    if one.parent == KTHREADD || hidden == KTHREADD || one.start < other.start {
        return false;
    }
    let group = |pid: u32| proc_file::read(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    group(hidden) == group(holder) || ancestors::ancestors(hidden).contains(&holder)
}

/// Where a thread sleeps, and how often it has left the processor. A thread for which both are
/// equal later has slept all the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asleep {
    file_id: String,
    switches: u64,
}

impl Asleep {
    /// Describes the first thread of a process. `None` if the thread runs, or if the caller may not
    /// see where it sleeps.
    pub(crate) fn of(pid: u32) -> Option<Asleep> {
        // The order matters: `wchan` shows that the thread is off the processor, and the count that
        // is read after it includes this.
        let file_id = proc_file::read_text(format!("/proc/{pid}/wchan")).ok()?;
        let status = proc_file::read_text(format!("/proc/{pid}/task/{pid}/status")).ok()?;
        let asleep = !file_id.is_empty() && file_id != "0";
        let count = |name| field::<u64>(&status, name);
        let switches = count("voluntary_ctxt_switches:")? + count("nonvoluntary_ctxt_switches:")?;
        asleep.then_some(Asleep { file_id, switches })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_published_thread_is_a_helper() {
        use crate::sys::thread::ThreadId;
        use std::sync::mpsc;
        let us = std::process::id();
        let (tell, told) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        let helper = std::thread::spawn(move || {
            let _helper = published::Helper::enter();
            tell.send(ThreadId::current().number()).expect("heard");
            let _ = ended.recv();
        });
        let number = told.recv().expect("the thread has begun");
        let helpers = published(us).helpers;
        assert!(helpers.contains(&number));
        assert!(!helpers.contains(&ThreadId::current().number()));
        // Incomplete while a thread of another test ends.
        let mut lists = std::iter::repeat_with(|| other_threads(us)).take(100_000);
        assert!(lists.find_map(|list| list).expect("ours").contains(&number));
        drop(end);
        helper.join().expect("no panic");
        assert!(!published(us).helpers.contains(&number));
    }

    #[test]
    fn a_running_process_with_two_threads_is_not_asleep() {
        assert_eq!(Asleep::of(u32::MAX), None);
        assert!(
            !has_one_thread(std::process::id()),
            "the test and its harness"
        );
    }
}
