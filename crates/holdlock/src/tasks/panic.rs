//! A panic of a thread that serves futures.
//!
//! No code that such a thread runs panics knowingly. But a future whose thread has ended without a
//! result would never be ready, whatever its limit.

use std::io;
use std::panic::AssertUnwindSafe;
use std::path::Path;

use crate::Error;

/// What `run` returns. If it panics, the error of a wait for the lock at `path`.
pub(super) fn or_error<T>(path: &Path, run: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    std::panic::catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
        Err(Error::System {
            path: path.to_owned(),
            operation: "waiting for the lock",
            source: io::Error::other("the thread that waits for the future has panicked"),
        })
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;
    use std::task::Waker;
    use std::time::Instant;

    use holdlock_test_support::eventually;

    use super::super::{PendingWait, Queued, Source, Taken, Task, by_own_thread, serve_all};
    use crate::{FileLock, OwnedGuard, Request};

    fn begin(lock: &FileLock) -> Arc<Task> {
        let request = Request::exclusive().forever();
        Task::begin(lock.clone(), request, Instant::now(), Waker::noop()).expect("a thread")
    }

    fn answer(wait: &impl PendingWait<OwnedGuard>) -> Taken<OwnedGuard> {
        let mut answer = None;
        eventually("the future is ready", || {
            answer = wait.poll(Waker::noop());
            answer.is_some()
        });
        *answer.expect("ready")
    }

    fn panics(queued: &Queued) {
        let task = &queued.task;
        let mut request = task.request.clone();
        let place = &queued.place;
        let guard = OwnedGuard::acquire_queued(&task.lock, request.terms(), Instant::now(), place);
        let _inside = guard.expect("free").expect("in its turn");
        panic!("while it serves a task");
    }

    #[test]
    fn each_future_of_a_thread_that_panics_ends_and_the_next_one_is_served() {
        let name = format!("holdlock-panic-{}.lock", std::process::id());
        let path = std::env::temp_dir().join(name);
        let lock = FileLock::open(&path).expect("opens");
        let held = lock.lock_owned().expect("free");
        // As if the thread, which this test is, ran.
        lock.tasks().lock().served = true;
        let tasks = [begin(&lock), begin(&lock)];
        drop(held);
        serve_all(&lock, panics);
        for task in tasks {
            let error = answer(&task).expect_err("a panic").to_string();
            assert!(error.contains("has panicked"), "{error}");
        }
        let held = lock.try_lock_owned().expect("free");
        let task = begin(&lock);
        drop(held);
        drop(answer(&task).expect("another thread serves it"));
        std::fs::remove_file(&path).expect("removed");
    }

    struct Panics(PathBuf);

    impl Source<OwnedGuard> for Panics {
        fn acquire_owned(&self, _: Request) -> Taken<OwnedGuard> {
            panic!("while it waits");
        }

        fn path(&self) -> &std::path::Path {
            &self.0
        }

        fn begin(
            self: Box<Self>,
            request: Request,
            _: Instant,
            waker: &Waker,
        ) -> std::io::Result<Box<dyn PendingWait<OwnedGuard>>> {
            by_own_thread(*self, request, waker)
        }
    }

    #[test]
    fn a_future_with_a_thread_of_its_own_ends_if_that_panics() {
        let source = Box::new(Panics(PathBuf::from("a.lock")));
        let request = Request::exclusive().forever();
        let wait = source.begin(request, Instant::now(), Waker::noop());
        let wait = wait.expect("a thread");
        let mut taken = None;
        eventually("the future is ready", || {
            taken = wait.poll(Waker::noop());
            taken.is_some()
        });
        let error = taken.expect("ready").expect_err("a panic").to_string();
        assert!(error.contains("has panicked"), "{error}");
    }
}
