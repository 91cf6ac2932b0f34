//! A program that closes descriptors that it did not open: its calls end all the same.

use std::time::{Duration, Instant};

use holdlock_engines::{EngineLock, Error, open};
use holdlock_test_support::servers::Server as _;
use holdlock_test_support::watchdog;

use crate::support::fork::close_descriptors;
use crate::support::order::wait_for_waiters;
use crate::support::process::in_a_process_of_its_own;
use crate::{name, server};

/// In the process that closes its descriptors: the URL of the lock, and how many files it opens.
const URL: &str = "HOLDLOCK_TEST_CLOSED_URL";
const FILES: &str = "HOLDLOCK_TEST_CLOSED_FILES";

#[test]
fn calls_end_although_the_program_has_closed_all_descriptors() {
    let _dog = watchdog::watch(240);
    if let Ok(url) = std::env::var(URL) {
        let files = std::env::var(FILES).expect("with the URL");
        let lock = open(&url).expect("a lock");
        return says_so(&lock, files.parse().expect("a number"));
    }
    let Some(server) = server::shared() else {
        return;
    };
    // The numbers stay closed, or become those of files.
    for files in ["0", "60"] {
        let url = server.url(&name(&format!("closed{files}")));
        in_a_process_of_its_own(
            module_path!(),
            "calls_end_although_the_program_has_closed_all_descriptors",
            &[(URL, &url), (FILES, files)],
        );
    }
}

/// Each call has to end soon, and to say why.
fn says_so(lock: &EngineLock, files: usize) {
    let guard = lock.lock().expect("free");
    let waiting = lock.clone();
    let waiter = std::thread::spawn(move || waiting.lock());
    wait_for_waiters(lock, 1);
    let files = close_descriptors(files);
    let began = Instant::now();
    let why = |error: Error| error.to_string().contains("has closed descriptors");
    let waited = waiter.join().is_ok_and(|end| end.is_err_and(why));
    let checked = guard.check().is_err_and(why);
    let lost = guard.lost().wait(Duration::from_secs(60)).is_some();
    let released = guard.release().is_err_and(why);
    let again = lock.try_lock().is_err_and(why);
    let seen = lock.members().is_err_and(why);
    let soon = began.elapsed() < Duration::from_secs(60);
    // None of them is closed by this library.
    let open = files.iter().all(|file| file.metadata().is_ok());
    let all = [waited, checked, lost, released, again, seen, soon, open];
    assert_eq!(all, [true; 8]);
}
