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

/// The kernel gives the table a page at a time, and a page begins at a lock's *number*: a lock of
/// anybody that comes or goes between two pages makes the reader miss another one, or see it twice.
/// So the answer counts when it was the same three times in a row.
fn requests(path: &Path) -> Vec<String> {
    let mut last = read_requests(path);
    let mut same = 1;
    // Others may come and go all the time at this very file.
    for _ in 0..100 {
        let next = read_requests(path);
        same = if next == last { same + 1 } else { 1 };
        last = next;
        if same == 3 {
            break;
        }
    }
    last
}

fn read_requests(path: &Path) -> Vec<String> {
    let Ok(metadata) = std::fs::metadata(path) else {
        return Vec::new();
    };
    let place = format!(":{:02x}:{}", libc::minor(metadata.dev()), metadata.ino());
    std::fs::read_to_string("/proc/locks")
        .expect("/proc/locks")
        .lines()
        .filter(|line| line.contains("->"))
        .filter_map(|line| {
            // A line may be torn as well.
            let words: Vec<&str> = line.split_whitespace().collect();
            let is_here = words.get(6).is_some_and(|word| word.ends_with(&place));
            is_here.then(|| words[5].to_owned())
        })
        .collect()
}

/// Waits until `pid` sleeps in the queue for this file.
pub fn wait_for(path: &Path, pid: u32) {
    let pid = pid.to_string();
    eventually(&format!("pid {pid} queues for {}", path.display()), || {
        // Seen once is enough.
        read_requests(path).contains(&pid)
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

/// Waits until something is so; fails the test when it is not after a while, which is far more
/// than anything takes on a busy machine.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
