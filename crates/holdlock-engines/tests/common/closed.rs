//! A program that closes descriptors that it did not open: its calls end all the same.

use std::panic;
use std::time::{Duration, Instant};

use holdlock_engines::{EngineLock, Error, open};
use holdlock_test_support::servers::Server as _;
use holdlock_test_support::watchdog;

use crate::support::fork::{close_descriptors, ended_well, in_child};
use crate::support::order::wait_for_waiters;
use crate::{name, server};

#[test]
fn calls_end_although_the_program_has_closed_all_descriptors() {
    let _dog = watchdog::watch(120);
    let Some(server) = server::shared() else {
        return;
    };
    // The numbers stay closed, or become those of files.
    for files in [0, 60] {
        let url = server.url(&name(&format!("closed{files}")));
        let child = in_child(|| {
            let _dog = watchdog::watch(20);
            let all = panic::catch_unwind(|| says_so(&open(&url).expect("a lock"), files));
            all.is_ok_and(|all| all)
        });
        assert!(ended_well(child), "with {files} files");
    }
}

/// In a process of its own: each call has to end soon, and to say why.
fn says_so(lock: &EngineLock, files: usize) -> bool {
    let guard = lock.lock().expect("free");
    let waiting = lock.clone();
    let waiter = std::thread::spawn(move || waiting.lock());
    wait_for_waiters(lock, 1);
    let files = close_descriptors(files);
    let began = Instant::now();
    let why = |error: Error| error.to_string().contains("has closed descriptors");
    let waited = waiter.join().is_ok_and(|end| end.is_err_and(why));
    let checked = guard.check().is_err_and(why);
    let lost = guard.lost().wait(Duration::from_secs(20)).is_some();
    let released = guard.release().is_err_and(why);
    let again = lock.try_lock().is_err_and(why);
    let seen = lock.members().is_err_and(why);
    let soon = began.elapsed() < Duration::from_secs(20);
    // None of them is closed by this library.
    let open = files.iter().all(|file| file.metadata().is_ok());
    let all = [waited, checked, lost, released, again, seen, soon, open];
    println!("{all:?}");
    all == [true; 8]
}
