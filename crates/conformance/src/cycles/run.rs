//! Runs many programs side by side. They sleep nearly all the time.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::sys;

/// The results of many programs.
#[derive(Debug, Default)]
pub struct Tally {
    /// The number of programs.
    pub programs: u64,
    /// The messages of those that went wrong.
    pub failures: Vec<String>,
    /// The milliseconds after which deadlocks were noticed.
    pub noticed: Vec<u64>,
    /// How long it took.
    pub took: Duration,
}

/// Plays `count` programs, `at_once` side by side. `program` is the path of the bin `cycles`.
pub fn many(program: &str, goes_on: bool, count: u64, first_seed: u64, at_once: usize) -> Tally {
    let began = Instant::now();
    let next = AtomicU64::new(0);
    let tally = Mutex::new(Tally::default());
    let kind = if goes_on { "goes-on" } else { "stuck" };
    thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    let seed = (first_seed + number).to_string();
                    let child = Command::new(program)
                        .args(["one", kind, &seed])
                        .stdin(Stdio::null())
                        .stdout(Stdio::piped())
                        .process_group(0)
                        .spawn()
                        .expect("a program starts");
                    let group = child.id();
                    let output = child.wait_with_output().expect("it ends");
                    // Leaves no hanging process behind.
                    sys::kill_group(group, libc::SIGKILL);
                    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
                    let mut tally = tally.lock().expect("no panic");
                    tally.programs += 1;
                    match text.parse() {
                        Ok(noticed) if output.status.success() => tally.noticed.push(noticed),
                        _ => {
                            eprintln!("{kind} {text} ({})", output.status);
                            tally.failures.push(text);
                        }
                    }
                }
            });
        }
    });
    let mut tally = tally.into_inner().expect("no panic");
    tally.noticed.sort_unstable();
    tally.took = began.elapsed();
    tally
}
