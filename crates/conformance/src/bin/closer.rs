//! Scenes in which other code of the process closes the descriptor of a lock file, each in a
//! process of its own: `closer SCENE LOCK`. Exits with 0 if the scene went as promised.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use holdlock::{FileLock, LockOptions, Request};
use holdlock_conformance::{hot, queue, sys};

fn main() {
    let mut arguments = std::env::args_os().skip(1);
    let scene = arguments.next().expect("a scene");
    let path = PathBuf::from(arguments.next().expect("a path"));
    match scene.to_str().expect("utf-8") {
        "free" => closed_while_free(&path),
        // On one processor the thread that is started does not run at once.
        "note" => sys::on_the_last_cpu(|| has_its_note_at_once(&path)),
        "held" => closed_while_held(&path),
        "held-same-file" => closed_and_the_same_file_opened(&path),
        "held-by-std" => closed_and_locked_by_std(&path),
        "waiting-same-file" => closed_while_waiting_and_opened(&path),
        "asked-again" => closed_and_asked_for_again(&path),
        "dropped" => closed_before_the_drop(&path),
        "waiting" => closed_while_waiting(&path),
        "waiting-turn" => closed_while_waiting_for_its_turn(&path),
        "waiting-thread" => closed_while_a_helper_waits(&path),
        "abandoned-thread" => closed_while_an_abandoned_helper_waits(&path),
        "interrupted" => closed_and_interrupted(&path),
        "head-look" => closed_while_a_helper_looks_at_the_head(&path),
        "passed-on" => closed_before_passing_on(&path),
        "converted" => closed_before_converting(&path),
        other => panic!("{other}"),
    }
}

fn stranger(path: &Path) -> File {
    File::create(path.with_extension("log")).expect("created")
}

/// Whether an exclusive lock is held on the file at `path`, according to flock(2) on another open
/// file.
fn is_locked(path: &Path) -> bool {
    let file = File::open(path).expect("opens");
    sys::flock(&file, libc::LOCK_EX | libc::LOCK_NB).is_err()
}

/// The descriptor of a free lock, which keeps its file open for a while.
fn number_of(lock: &FileLock) -> i32 {
    hot(lock);
    lock.lock().expect("locked").as_fd().as_raw_fd()
}

/// Closes descriptors as python-daemon and `os.closerange` do; then a log file gets the number.
fn closed_while_free(path: &Path) {
    let lock = FileLock::open(path).expect("opens");
    let number = number_of(&lock);
    sys::close_all_from(3);
    let log = stranger(path);
    sys::cover(number, &log);
    let guard = lock.lock().expect("locked");
    assert!(is_locked(path), "the lock is not held");
    assert!(
        !is_locked(&path.with_extension("log")),
        "a stranger's file is locked"
    );
    assert!(guard.is_current().expect("no error"));
    guard.release().expect("released");
    assert!(!is_locked(path));
    drop(lock);
    write_by(number);
}

/// The helper thread that closes idle files opens none itself: it could do so while other code
/// closes descriptors and gives their numbers away.
fn has_its_note_at_once(path: &Path) {
    let lock = FileLock::open(path).expect("opens");
    let entries = |directory| std::fs::read_dir(directory).expect("readable").flatten();
    let has_helper = || entries("/proc/self/task").count() > 1;
    let began = Instant::now();
    while !has_helper() {
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "no file was kept"
        );
        drop(lock.lock().expect("free"));
    }
    let mut links = entries("/proc/self/fd").flat_map(|entry| std::fs::read_link(entry.path()));
    assert!(links.any(|link| link.to_string_lossy().contains("holdlock-note")));
}

fn closed_while_held(path: &Path) {
    let lock = FileLock::open(path).expect("opens");
    let guard = lock.lock().expect("locked");
    let number = guard.as_fd().as_raw_fd();
    let log = stranger(path);
    sys::cover(number, &log);
    sys::flock(&log, libc::LOCK_EX).expect("locked");
    assert!(!guard.is_current().expect("no error"));
    let shown = format!("{guard:?}");
    assert!(shown.contains("held: false"), "{shown}");
    let error = guard.release().expect_err("it is lost").to_string();
    assert!(error.contains("closed the descriptor"), "{error}");
    // The stranger keeps its own lock.
    assert!(
        is_locked(&path.with_extension("log")),
        "a stranger was unlocked"
    );
    drop(lock.try_lock().expect("free"));
    write_by(number);
}

fn closed_before_the_drop(path: &Path) {
    let lock = FileLock::open(path).expect("opens");
    let number = number_of(&lock);
    // It may have got the number itself, and lives to the end.
    let log = stranger(path);
    sys::cover(number, &log);
    drop(lock);
    write_by(number);
}

/// The descriptor is closed while a thread sleeps in flock(2) on it, which then returns success.
fn closed_while_waiting(path: &Path) {
    let lock = FileLock::open(path).expect("opens");
    let holder = File::open(path).expect("opens");
    sys::flock(&holder, libc::LOCK_EX).expect("locked");
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let guard = lock.lock().expect("locked");
            assert!(is_locked(path), "the lock is not held");
            drop(guard);
        });
        queue::wait_for(path, std::process::id());
        cover_all_but(&[holder.as_raw_fd()], path, &stranger(path));
        sys::flock(&holder, libc::LOCK_UN).expect("unlocked");
        waiter.join().expect("no panic");
    });
}

/// The descriptor is closed while a fair request waits for the place at the head of the queue.
fn closed_while_waiting_for_its_turn(path: &Path) {
    let open = || LockOptions::new().fair(true).open(path).expect("opens");
    let (first, second) = (open(), open());
    let holder = File::open(path).expect("opens");
    sys::flock(&holder, libc::LOCK_EX).expect("locked");
    let (tell, told) = mpsc::channel();
    let (let_go, end) = mpsc::channel::<()>();
    let is_second_inside = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let _guard = first.lock().expect("locked");
            tell.send(()).expect("heard");
            let _ = end.recv();
        });
        queue::wait_for(path, std::process::id());
        let before = numbers_of(path);
        scope.spawn(|| {
            let _guard = second.lock().expect("locked");
            is_second_inside.store(true, Ordering::SeqCst);
            assert!(is_locked(path), "the lock is not held");
        });
        queue::eventually("the second one waits for its turn", || {
            queue::length(path) == 2
        });
        cover_all_but(&before, path, &stranger(path));
        sys::flock(&holder, libc::LOCK_UN).expect("unlocked");
        told.recv().expect("the first one is inside");
        let is_inside = || is_second_inside.load(Ordering::SeqCst);
        queue::eventually("the second one waits for the lock", || {
            is_inside() || queue::length(path) == 1
        });
        assert!(!is_inside(), "two are inside");
        assert!(
            !is_locked(&path.with_extension("log")),
            "a stranger's file is locked"
        );
        drop(let_go);
    });
}

/// No signal is left for the library: a helper thread waits in the kernel's queue.
fn take_all_signals() {
    for signal in libc::SIGRTMIN()..=libc::SIGRTMAX() {
        sys::count_signals(signal, libc::SA_RESTART);
    }
}

/// All descriptors of the lock file.
fn numbers_of(path: &Path) -> Vec<i32> {
    let path = std::fs::canonicalize(path).expect("there");
    let link = |number: &i32| std::fs::read_link(format!("/proc/self/fd/{number}")).ok();
    (3..100)
        .filter(|number| link(number).as_ref() == Some(&path))
        .collect()
}

/// Puts the stranger's file over all descriptors of the lock file except these.
fn cover_all_but(these: &[i32], path: &Path, log: &File) {
    for number in numbers_of(path) {
        if !these.contains(&number) {
            sys::cover(number, log);
        }
    }
}

fn closed_while_a_helper_waits(path: &Path) {
    take_all_signals();
    let lock = FileLock::open(path).expect("opens");
    let holder = File::open(path).expect("opens");
    sys::flock(&holder, libc::LOCK_EX).expect("locked");
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let guard = lock.try_lock_for(Duration::from_secs(60)).expect("locked");
            assert!(is_locked(path), "the lock is not held");
            drop(guard);
        });
        queue::wait_for(path, std::process::id());
        cover_all_but(&[holder.as_raw_fd()], path, &stranger(path));
        sys::flock(&holder, libc::LOCK_UN).expect("unlocked");
        waiter.join().expect("no panic");
    });
    assert!(!is_locked(&path.with_extension("log")));
}

/// The request of the helper thread ends first. Then the stranger locks its own file by the
/// helper's number.
fn closed_while_an_abandoned_helper_waits(path: &Path) {
    take_all_signals();
    let lock = FileLock::open(path).expect("opens");
    let holder = File::open(path).expect("opens");
    sys::flock(&holder, libc::LOCK_EX).expect("locked");
    // A request may end before it has a helper.
    queue::eventually("the helper queues", || {
        lock.try_lock_for(Duration::from_millis(50))
            .expect_err("held");
        queue::length(path) == 1
    });
    let log = stranger(path);
    cover_all_but(&[holder.as_raw_fd()], path, &log);
    sys::flock(&log, libc::LOCK_EX).expect("free");
    sys::flock(&holder, libc::LOCK_UN).expect("unlocked");
    queue::eventually("the helper ends", || {
        let threads = std::fs::read_dir("/proc/self/task").expect("readable");
        let name = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm"));
        let mut names = threads.flatten().flat_map(name);
        !names.any(|name| name.starts_with("waiter-"))
    });
    assert!(
        is_locked(&path.with_extension("log")),
        "a stranger's lock is gone"
    );
}

/// A helper thread looks at the head of the queue, for which it reads /proc/locks. A log file gets
/// the number meanwhile: a tracer makes the read slow, so that there is time for it.
fn closed_while_a_helper_looks_at_the_head(path: &Path) {
    let lock = LockOptions::new().fair(true).open(path).expect("opens");
    let holder = File::open(path).expect("opens");
    sys::flock(&holder, libc::LOCK_EX).expect("locked");
    let log = stranger(path);
    let look = || (0..1_000_000).find_map(|_| numbers_of(Path::new("/proc/locks")).pop());
    std::thread::scope(|scope| {
        // The thread that notices deadlocks would read the table as well.
        let request = Request::exclusive().notice_deadlocks(false);
        let waiter = scope.spawn(|| drop(lock.acquire(request).expect("locked")));
        let number = look().expect("it looks");
        sys::cover(number, &log);
        // It looks again after it has ended the first look.
        look().expect("it looks again");
        sys::flock(&holder, libc::LOCK_UN).expect("unlocked");
        waiter.join().expect("no panic");
        write_by(number);
    });
    queue::eventually("the last look ends", || {
        numbers_of(Path::new("/proc/locks")).is_empty()
    });
}

/// A signal gets the thread out of flock(2) after the descriptor was closed.
fn closed_and_interrupted(path: &Path) {
    sys::count_signals(libc::SIGUSR1, 0);
    let lock = FileLock::open(path).expect("opens");
    let holder = File::open(path).expect("opens");
    sys::flock(&holder, libc::LOCK_EX).expect("locked");
    let (tell, told) = mpsc::channel();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            tell.send(sys::thread_id()).expect("heard");
            let guard = lock.lock().expect("locked");
            assert!(is_locked(path), "the lock is not held");
            drop(guard);
        });
        let thread = told.recv().expect("began");
        queue::wait_for(path, std::process::id());
        cover_all_but(&[holder.as_raw_fd()], path, &stranger(path));
        // Another process holds the stranger's file, so a request for that file would never return.
        let busy = File::open(path.with_extension("log")).expect("opens");
        sys::flock(&busy, libc::LOCK_EX).expect("free");
        sys::kill_thread(thread, libc::SIGUSR1);
        let log = path.with_extension("log");
        let mut waits_for_the_log = false;
        queue::eventually("it waits again", || {
            waits_for_the_log = queue::length(&log) == 1;
            let waits = waits_for_the_log || queue::length(path) == 1;
            waits && sys::SIGNALS.load(Ordering::SeqCst) > 0
        });
        sys::flock(&holder, libc::LOCK_UN).expect("unlocked");
        drop(busy);
        assert!(!waits_for_the_log, "it waits for a stranger's file");
        waiter.join().expect("no panic");
    });
}

/// The next thread would take over the kernel's lock from this one without asking the kernel.
fn closed_before_passing_on(path: &Path) {
    let lock = FileLock::open(path).expect("opens");
    let (tell, told) = mpsc::channel();
    std::thread::scope(|scope| {
        let guard = lock.lock().expect("locked");
        let waiter = scope.spawn(|| {
            tell.send(sys::thread_id()).expect("heard");
            let guard = lock.lock().expect("locked");
            assert!(is_locked(path), "the lock is not held");
            drop(guard);
        });
        queue::wait_for_thread(told.recv().expect("began"));
        sys::cover(guard.as_fd().as_raw_fd(), &stranger(path));
        drop(guard);
        waiter.join().expect("no panic");
    });
}

fn closed_before_converting(path: &Path) {
    let lock = FileLock::open(path).expect("opens");
    let guard = lock.lock_shared().expect("locked");
    let log = stranger(path);
    sys::cover(guard.as_fd().as_raw_fd(), &log);
    let (guard, continuity) = guard
        .upgrade_not_atomic(Request::exclusive())
        .expect("locked anew");
    assert_eq!(continuity, holdlock::Continuity::Lost);
    assert!(is_locked(path) && !is_locked(&path.with_extension("log")));
    sys::cover(guard.as_fd().as_raw_fd(), &log);
    guard.downgrade().expect_err("it is lost");
    assert!(!is_locked(&path.with_extension("log")));
}

/// The number still belongs to the stranger, and is open.
fn write_by(number: i32) {
    let link = std::fs::read_link(format!("/proc/self/fd/{number}")).expect("open");
    let name = link.to_str().expect("text");
    assert!(name.ends_with(".log"), "{name}");
    let mut file = File::options().append(true).open(&link).expect("opens");
    writeln!(file, "still here").expect("written");
}

/// The number goes to another lock on the same file.
fn closed_and_the_same_file_opened(path: &Path) {
    let lost = FileLock::open(path).expect("opens");
    let lost_guard = lost.lock().expect("locked");
    let number = lost_guard.as_fd().as_raw_fd();
    sys::close_all_from(3);
    let lock = FileLock::open(path).expect("opens");
    let guard = lock.try_lock().expect("free");
    assert_eq!(guard.as_fd().as_raw_fd(), number);
    assert!(!lost_guard.is_current().expect("no error"));
    lost_guard.release().expect_err("it is lost");
    drop(lost);
    assert!(is_locked(path), "the lost guard has unlocked another one");
    assert!(guard.is_current().expect("no error"));
    guard.release().expect("released");
    assert!(!is_locked(path));
}

/// The number goes to another open file of the program on the same inode, with a lock of its own.
fn closed_and_locked_by_std(path: &Path) {
    let lost = FileLock::open(path).expect("opens");
    let guard = lost.lock().expect("locked");
    let number = guard.as_fd().as_raw_fd();
    sys::close_all_from(3);
    // With the flag that lock files have too.
    let mut options = File::options();
    let file = options.read(true).custom_flags(libc::O_NOFOLLOW).open(path);
    let file = file.expect("opens");
    assert_eq!(file.as_raw_fd(), number);
    file.try_lock().expect("free");
    let child = sys::fork(|| i32::from(file.metadata().is_err() || !is_file(number)));
    assert_eq!(child.wait(), 0, "a child has lost the host's file");
    guard.release().expect_err("it is lost");
    drop(lost);
    assert!(is_locked(path), "a stranger was unlocked");
}

fn is_file(number: i32) -> bool {
    std::fs::read_link(format!("/proc/self/fd/{number}")).is_ok_and(|link| link != Path::new("/"))
}

fn closed_while_waiting_and_opened(path: &Path) {
    let lock = FileLock::open(path).expect("opens");
    drop(lock.lock().expect("locked"));
    let holder = Command::new("flock")
        .arg(path)
        .arg("cat")
        .stdin(Stdio::piped())
        .spawn();
    let mut holder = holder.expect("flock starts");
    queue::eventually("it is held", || is_locked(path));
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let guard = lock.lock().expect("locked");
            assert!(is_locked(path), "the lock is not held");
            drop(guard);
        });
        queue::wait_for(path, std::process::id());
        let input = holder.stdin.take().expect("piped").into_raw_fd();
        let ours = numbers_of(path)[0];
        sys::cover(ours, &File::open("/dev/null").expect("opens"));
        sys::close(ours);
        let other = FileLock::open(path).expect("opens");
        sys::close(input);
        waiter.join().expect("no panic");
        drop(other);
    });
    holder.wait().expect("ends");
}

/// A guard that has lost its lock does not keep its thread from taking the lock by another object.
fn closed_and_asked_for_again(path: &Path) {
    let lost = FileLock::open(path).expect("opens");
    let lost_guard = lost.lock().expect("locked");
    sys::cover(lost_guard.as_fd().as_raw_fd(), &stranger(path));
    let holder = File::open(path).expect("opens");
    sys::flock(&holder, libc::LOCK_EX).expect("free");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            queue::wait_for(path, std::process::id());
            sys::flock(&holder, libc::LOCK_UN).expect("unlocked");
        });
        let lock = FileLock::open(path).expect("opens");
        drop(lock.lock().expect("no deadlock"));
    });
}
