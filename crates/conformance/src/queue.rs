//! What the kernel's queue looks like, and waiting until it does.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// The pids that wait for a lock on this file, in the order of /proc/locks.
/// Read by other code than the library's own, so that neither vouches for itself.
pub fn waiters(path: &Path) -> Vec<u32> {
    let requests = requests(path).into_iter();
    requests.filter_map(|pid| pid.parse().ok()).collect()
}

/// How many requests wait for a lock on this file, those included whose process the
/// kernel does not name.
pub fn length(path: &Path) -> usize {
    requests(path).len()
}

fn requests(path: &Path) -> Vec<String> {
    let Ok(metadata) = std::fs::metadata(path) else {
        return Vec::new();
    };
    let place = format!(":{:02x}:{}", libc::minor(metadata.dev()), metadata.ino());
    std::fs::read_to_string("/proc/locks")
        .expect("/proc/locks")
        .lines()
        .filter(|line| line.contains("->"))
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words[6].ends_with(&place).then(|| words[5].to_owned())
        })
        .collect()
}

/// Waits until `pid` sleeps in the queue for this file.
pub fn wait_for(path: &Path, pid: u32) {
    eventually(&format!("pid {pid} queues for {}", path.display()), || {
        waiters(path).contains(&pid)
    });
}

/// Waits until this thread of this process sleeps for another thread.
pub fn wait_for_thread(thread: i32) {
    let call = format!("/proc/self/task/{thread}/syscall");
    let futex = format!("{} ", libc::SYS_futex);
    eventually(&format!("thread {thread} sleeps in futex(2)"), || {
        std::fs::read_to_string(&call).is_ok_and(|call| call.starts_with(&futex))
    });
}

/// Waits until something is so; fails the test when it is not after a while.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
