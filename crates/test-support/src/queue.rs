//! The kernel's queue of a lock, as /proc/locks shows it.
//!
//! This code is independent of the library, so a fault of the library does not hide itself.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

pub use crate::eventually::eventually;

/// A line of /proc/locks that waits: `1: -> FLOCK  ADVISORY  WRITE 4711 fe:00:42 0 EOF`.
struct Request {
    /// `None` if the kernel does not name the process.
    pid: Option<u32>,
    /// `fe:00:42`: the device and the inode.
    file: String,
}

fn all_requests() -> Vec<Request> {
    let table = std::fs::read_to_string("/proc/locks").expect("/proc/locks");
    table.lines().filter_map(request).collect()
}

fn request(line: &str) -> Option<Request> {
    let mut words = line.split_whitespace().skip_while(|word| *word != "->");
    // The kernel may tear a line, so each word may be missing.
    let pid = words.nth(4)?;
    Some(Request {
        pid: pid.parse().ok(),
        file: words.next()?.to_owned(),
    })
}

fn requests_for(path: &Path) -> Vec<Option<u32>> {
    let Ok(metadata) = std::fs::metadata(path) else {
        return Vec::new();
    };
    let file = format!(":{:02x}:{}", libc::minor(metadata.dev()), metadata.ino());
    let requests = all_requests().into_iter();
    let here = requests.filter(|request| request.file.ends_with(&file));
    here.map(|request| request.pid).collect()
}

/// The same, three times in a row.
///
/// The kernel delivers the table a page at a time, and a page begins at a lock's *number*. If any
/// lock comes or goes between two pages, the reader misses another one or sees it twice.
fn stable_requests_for(path: &Path) -> Vec<Option<u32>> {
    let mut last = requests_for(path);
    let mut same = 1;
    // At a busy file the requests may change all the time.
    for _ in 0..100 {
        let next = requests_for(path);
        same = if next == last { same + 1 } else { 1 };
        last = next;
        if same == 3 {
            break;
        }
    }
    last
}

/// The pids that wait for a lock on this file, in the order of /proc/locks.
pub fn waiters(path: &Path) -> Vec<u32> {
    stable_requests_for(path).into_iter().flatten().collect()
}

/// How many requests wait for a lock on this file, also those whose process the kernel does not
/// name.
pub fn length(path: &Path) -> usize {
    stable_requests_for(path).len()
}

/// The pids that wait for any lock, once for each request.
pub fn all_waiters() -> Vec<u32> {
    let requests = all_requests().into_iter();
    requests.filter_map(|request| request.pid).collect()
}

/// Waits until `pid` sleeps in the queue of this file.
pub fn wait_for(path: &Path, pid: u32) {
    eventually(&format!("pid {pid} queues for {}", path.display()), || {
        // One reading is enough: a request that is there is there.
        requests_for(path).contains(&Some(pid))
    });
}

/// Waits until `pid` sleeps in the queue of any lock.
pub fn wait_for_any(pid: u32) {
    eventually(&format!("pid {pid} queues for a lock"), || {
        all_waiters().contains(&pid)
    });
}

/// Waits until this thread of this process sleeps for another thread.
pub fn wait_for_thread(thread: i32) {
    eventually(&format!("thread {thread} sleeps in futex(2)"), || {
        sleeps_for_thread(thread).unwrap_or(false)
    });
}

/// Waits until all threads of this process sleep. While one runs, a holder may be about to release
/// its lock, and a try finds it only taken.
pub fn wait_until_asleep(pid: u32) {
    let sleeps = |stat: String| {
        stat.rsplit_once(") ")
            .is_some_and(|(_, it)| it.starts_with('S'))
    };
    eventually(&format!("pid {pid} sleeps"), || {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
        let mut tasks = tasks.expect("it lives").flatten();
        tasks.all(|task| std::fs::read_to_string(task.path().join("stat")).is_ok_and(sleeps))
    });
}

/// Waits until this thread of this process sleeps for another thread, or has ended.
pub fn wait_for_thread_or_end(thread: i32) {
    eventually(
        &format!("thread {thread} sleeps in futex(2) or ends"),
        || sleeps_for_thread(thread).unwrap_or(true),
    );
}

fn sleeps_for_thread(thread: i32) -> std::io::Result<bool> {
    let call = std::fs::read_to_string(format!("/proc/self/task/{thread}/syscall"))?;
    Ok(call.starts_with(&format!("{} ", libc::SYS_futex)))
}

#[cfg(test)]
mod tests {
    use super::request;

    #[test]
    fn waiters_are_told_from_holders() {
        assert!(request("1: FLOCK  ADVISORY  WRITE 11 fe:00:42 0 EOF").is_none());
        let waits = request("1:  -> FLOCK  ADVISORY  WRITE 4711 fe:00:42 0 EOF");
        let waits = waits.expect("a request");
        assert_eq!((waits.pid, &*waits.file), (Some(4711), "fe:00:42"));
        let unnamed = request("1: -> OFDLCK ADVISORY  WRITE -1 fe:00:42 0 EOF");
        assert_eq!(unnamed.expect("a request").pid, None);
        assert!(request("1: -> FLOCK  ADVISORY").is_none());
    }
}
