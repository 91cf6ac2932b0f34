//! A lock file that is removed, renamed or replaced.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use holdlock::{CancelToken, Error, FileLock, LockOptions, Request, Waiting};
use holdlock_conformance::{Actor, Scratch, hot, queue, skipped, sys, watchdog};

const ACTOR: &str = env!("CARGO_BIN_EXE_holdlock-actor");

#[test]
fn a_file_removed_while_the_lock_is_free_is_created_again() {
    let scratch = Scratch::new();
    let path = scratch.lock();
    let lock = FileLock::open(&path).expect("opens");
    drop(lock.lock().expect("locked"));
    std::fs::remove_file(&path).expect("removed");
    let guard = lock.lock().expect("locked");
    assert!(path.exists());
    assert!(guard.is_current().expect("no error"));
    let mut actor = Actor::start(ACTOR, &path);
    assert!(actor.ask("try").starts_with("WouldBlock"));
}

#[test]
fn a_waiter_starts_over_when_the_holder_removed_the_file() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut holder = Actor::start(ACTOR, &path);
    let mut waiter = Actor::start(ACTOR, &path);
    let mut newcomer = Actor::start(ACTOR, &path);
    holder.must("lock");
    waiter.must_block("lock", &path);
    holder.must("remove");
    holder.must("release");
    assert_eq!(waiter.answer(), "ok");
    assert_eq!(waiter.ask("current"), "true");
    assert!(newcomer.ask("try").starts_with("WouldBlock"));
}

#[test]
fn a_renamed_or_replaced_file_is_no_longer_the_lock() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let lock = FileLock::open(&path).expect("opens");
    drop(lock.lock().expect("locked"));
    std::fs::rename(&path, scratch.path("aside")).expect("renamed");
    let guard = lock.lock().expect("locked");
    assert!(guard.is_current().expect("no error"));
    assert!(path.exists());
    drop(guard);

    std::fs::write(scratch.path("fresh"), "").expect("written");
    std::fs::rename(scratch.path("fresh"), &path).expect("replaced");
    let guard = lock.lock().expect("locked");
    assert!(guard.is_current().expect("no error"));
    let mut actor = Actor::start(ACTOR, &path);
    assert!(actor.ask("try").starts_with("WouldBlock"));
}

#[test]
fn a_directory_that_moved_takes_its_locks_with_it() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    std::fs::create_dir(scratch.path("d")).expect("made");
    let path = scratch.path("d/a.lock");
    let lock = FileLock::open(&path).expect("opens");
    drop(lock.lock().expect("locked"));
    std::fs::rename(scratch.path("d"), scratch.path("e")).expect("moved");
    std::fs::create_dir(scratch.path("d")).expect("made");
    let _guard = lock.lock().expect("locked");
    let mut actor = Actor::start(ACTOR, &path);
    assert!(actor.ask("try").starts_with("WouldBlock"));
    let mut elsewhere = Actor::start(ACTOR, &scratch.path("e/a.lock"));
    elsewhere.must("try");
}

#[test]
fn a_change_of_directory_does_not_change_the_lock() {
    let scratch = Scratch::new();
    let lock_in = |directory: &str| {
        let program = env!("CARGO_BIN_EXE_chdir");
        let status = std::process::Command::new(program)
            .arg(directory)
            .current_dir(scratch.path(""))
            .status();
        assert!(status.expect("runs").success());
    };
    std::fs::create_dir(scratch.path("elsewhere")).expect("made");
    lock_in("elsewhere");
    assert!(scratch.path("relative.lock").exists());
    assert!(!scratch.path("elsewhere/relative.lock").exists());
}

#[test]
fn both_sides_notice_a_stranger_that_removes_the_file_of_a_held_lock() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut holder = Actor::holding(ACTOR, &path);
    assert_eq!(holder.ask("current"), "true");
    std::fs::remove_file(&path).expect("removed");
    // The holder's side.
    assert_eq!(holder.ask("current"), "false");

    // The newcomer's side: it opens the lock, but neither creates a file nor acquires the lock.
    let pid = format!("pid {}", holder.pid());
    let lock = FileLock::open(&path).expect("opens");
    queue::wait_until_asleep(holder.pid());
    for result in [
        lock.try_lock(),
        lock.try_lock_for(Duration::from_millis(50)),
        lock.lock(),
        lock.lock_shared(),
    ] {
        let error = result.expect_err("the holder is still inside");
        assert!(matches!(error, Error::RemovedWhileHeld(_)), "{error}");
        assert!(error.to_string().contains(&pid), "{error}");
        assert!(error.is_conflict());
        assert!(!path.exists(), "a file was created beside the holder's");
    }
    holder.must("release");
    drop(lock.lock().expect("free"));
    assert!(path.exists());
}

#[test]
fn a_process_that_has_the_removed_file_open_still_waits_for_its_holder() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let lock = FileLock::open(&path).expect("opens");
    hot(&lock); // so that it keeps its file open, unless the machine is very slow
    let mut holder = Actor::holding(ACTOR, &path);
    std::fs::remove_file(&path).expect("removed");
    let error = lock.try_lock().expect_err("held");
    assert!(error.is_conflict(), "{error}");
    assert_eq!(
        error.conflict().expect("a conflict").holders()[0].pid,
        holder.pid()
    );
    holder.must("release");
    assert!(lock.lock().expect("free").is_current().expect("no error"));
}

#[test]
fn a_shared_holder_of_a_removed_file_is_found_too() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut holder = Actor::start(ACTOR, &path);
    holder.must("lock-shared");
    std::fs::remove_file(&path).expect("removed");
    queue::wait_until_asleep(holder.pid());
    let error = FileLock::open(&path)
        .expect("opens")
        .try_lock()
        .expect_err("held");
    assert!(matches!(error, Error::RemovedWhileHeld(_)), "{error}");
}

#[test]
fn a_holder_that_sees_the_directory_by_another_path_is_found() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    for directory in ["d", "mounted"] {
        std::fs::create_dir(scratch.path(directory)).expect("made");
    }
    let script = r#"mount --bind "$1/d" "$1/mounted" && exec "$2" "$1/mounted/a.lock""#;
    let mut command = std::process::Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(scratch.path(""))
        .arg(ACTOR);
    let can_mount = std::process::Command::new("unshare")
        .args(["--mount", "true"])
        .status();
    if !can_mount.is_ok_and(|status| status.success()) {
        return skipped("needs the right to mount (unshare --mount)");
    }
    let mut holder = Actor::from_command(command);
    holder.must("lock");
    std::fs::remove_file(scratch.path("d/a.lock")).expect("removed");
    let lock = FileLock::open(scratch.path("d/a.lock")).expect("opens");
    queue::wait_until_asleep(holder.pid());
    let error = lock.try_lock().expect_err("held");
    assert!(matches!(error, Error::RemovedWhileHeld(_)), "{error}");
}

#[test]
fn an_ofd_holder_of_a_removed_file_is_found_though_the_kernel_does_not_name_it() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut holder = Actor::start_with(ACTOR, &path, &["ofd"]);
    holder.must("lock");
    std::fs::remove_file(&path).expect("removed");
    let lock = LockOptions::new()
        .family(holdlock::Family::Ofd)
        .open(&path)
        .expect("opens");
    queue::wait_until_asleep(holder.pid());
    let error = lock.try_lock().expect_err("held");
    assert!(matches!(error, Error::RemovedWhileHeld(_)), "{error}");
    assert!(error.to_string().contains(&format!("pid {}", holder.pid())));
}

#[test]
fn a_holder_of_a_removed_file_of_the_same_name_elsewhere_is_no_obstacle() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    std::fs::create_dir(scratch.path("other")).expect("made");
    let _holder = Actor::holding(ACTOR, &scratch.path("other/a.lock"));
    std::fs::remove_file(scratch.path("other/a.lock")).expect("removed");
    let lock = FileLock::open(scratch.lock()).expect("opens");
    drop(lock.try_lock().expect("another lock"));
}

#[test]
fn a_request_waits_a_moment_for_the_holder_of_a_removed_file() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut holder = Actor::holding(ACTOR, &path);
    std::fs::remove_file(&path).expect("removed");
    let lock = FileLock::open(&path).expect("opens");
    // The request waits for a second.
    let mut release = |what| {
        if what == Waiting::Began {
            holder.must("release");
        }
        ControlFlow::Continue(())
    };
    let request = Request::exclusive().on_wait(&mut release);
    let guard = lock.acquire(request).expect("locked");
    assert!(guard.is_current().expect("no error"));
}

#[test]
fn deletion_on_release_leaves_no_file_and_spares_a_file_of_others() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let lock = LockOptions::new()
        .delete_on_release(true)
        .open(&path)
        .expect("opens");
    for _ in 0..3 {
        let guard = lock.lock().expect("locked");
        assert!(path.exists());
        guard.release().expect("released");
        assert!(!path.exists());
    }
    // A shared holder deletes the file only if it is the last holder.
    let mut other = Actor::start(ACTOR, &path);
    other.must("lock-shared");
    lock.lock_shared()
        .expect("locked")
        .release()
        .expect("released");
    assert!(path.exists());
    other.must("release");
    lock.lock_shared()
        .expect("locked")
        .release()
        .expect("released");
    assert!(!path.exists());
    // A file that replaced ours is not deleted.
    let guard = lock.lock().expect("locked");
    std::fs::remove_file(&path).expect("removed");
    std::fs::write(&path, "theirs").expect("written");
    guard.release().expect("released");
    assert_eq!(std::fs::read(&path).expect("still there"), b"theirs");
}

#[test]
fn deletion_on_release_refuses_what_was_not_made_to_be_a_lock_file() {
    let scratch = Scratch::new();
    std::fs::create_dir(scratch.path("d")).expect("made");
    std::fs::write(scratch.path("data"), "precious").expect("written");
    for (name, reason) in [("d", "not a regular file"), ("data", "has content")] {
        let options = LockOptions::new().delete_on_release(true);
        let error = options.open(scratch.path(name)).expect_err("refused");
        assert!(error.to_string().contains(reason), "{error}");
        assert!(scratch.path(name).exists());
        // Without deletion on release it can be a lock.
        drop(
            FileLock::open(scratch.path(name))
                .expect("opens")
                .lock()
                .expect("locked"),
        );
    }
}

#[test]
fn deletion_on_release_removes_the_file_that_a_link_names() {
    let scratch = Scratch::new();
    let (link, target) = (scratch.path("link"), scratch.path("target"));
    std::os::unix::fs::symlink("target", &link).expect("made");
    let by_link = LockOptions::new()
        .follow_symlinks(true)
        .delete_on_release(true)
        .open(&link)
        .expect("opens");
    drop(by_link.lock().expect("locked"));
    assert!(link.is_symlink() && !target.exists());
    let by_name = FileLock::open(&target).expect("opens");
    let guard = by_name.lock().expect("locked");
    assert!(matches!(by_link.try_lock(), Err(Error::WouldBlock(_))));
    drop(guard);
    drop(by_link.try_lock().expect("free"));
}

#[test]
fn a_short_request_beside_holders_that_delete_on_release_times_out() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let mut holder = Actor::holding(ACTOR, &scratch.lock());
    std::fs::remove_file(scratch.lock()).expect("removed");
    // As a holder is seen that is about to release the lock.
    let lock = FileLock::open(scratch.lock()).expect("opens");
    for limit in [Duration::ZERO, Duration::from_millis(1)] {
        // If this thread stands still for 20 ms, the request has seen the holder for too long.
        let quick = (0..100).find_map(|_| {
            let began = Instant::now();
            let error = lock.try_lock_for(limit).expect_err("held");
            let is_quick = began.elapsed() < Duration::from_millis(20);
            (is_quick || matches!(error, Error::TimedOut(_))).then_some(error)
        });
        let error = quick.expect("one of them is quick");
        assert!(matches!(error, Error::TimedOut(_)), "{error}");
        let holders = error.conflict().expect("a conflict").holders();
        assert_eq!(holders[0].pid, holder.pid());
        assert!(!scratch.lock().exists(), "nothing is created");
    }
    holder.must("release");
}

/// It never releases the lock.
fn running_holder_of_removed_file(lock: &FileLock) -> sys::Child {
    let path = lock.path();
    let holder = sys::fork(|| {
        let _guard = lock.lock().expect("locked");
        std::fs::remove_file(path).expect("removed");
        loop {
            std::hint::spin_loop();
        }
    });
    queue::eventually("the file is removed", || !path.exists());
    holder
}

/// So a holder is seen that deletes on release, and has to wait for a processor just then.
#[test]
fn requests_beside_a_running_holder_of_a_removed_file_find_the_lock_taken() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let lock = FileLock::open(&path).expect("opens");
    let holder = running_holder_of_removed_file(&lock);
    let error = lock.try_lock().expect_err("held");
    let limit = Duration::from_millis(50);
    let later = lock.try_lock_for(limit).expect_err("held");
    sys::kill(holder.pid(), libc::SIGKILL);
    assert!(matches!(error, Error::WouldBlock(_)), "{error}");
    assert!(matches!(later, Error::TimedOut(_)), "{later}");
    for error in [error, later] {
        let holders = error.conflict().expect("a conflict").holders();
        assert_eq!(holders[0].pid, holder.pid());
    }
    assert!(!path.exists(), "nothing is created");
}

#[test]
fn a_token_ends_a_request_without_signals_beside_the_holder_of_a_removed_file() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let lock = LockOptions::new().signals(false).open(scratch.lock());
    let lock = lock.expect("opens");
    let holder = running_holder_of_removed_file(&lock);
    let token = CancelToken::new();
    let (tell, told) = std::sync::mpsc::channel();
    let error = std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let mut began = |_| {
                tell.send(sys::thread_id()).expect("heard");
                ControlFlow::Continue(())
            };
            let request = Request::exclusive().cancel(&token).on_wait(&mut began);
            lock.acquire(request).map(drop).expect_err("held")
        });
        queue::wait_for_thread(told.recv().expect("the wait began"));
        token.cancel();
        waiter.join().expect("no panic")
    });
    sys::kill(holder.pid(), libc::SIGKILL);
    assert!(matches!(error, Error::Cancelled { .. }), "{error}");
}
