//! Holders that die without releasing the lock: the next one learns of that, and of nothing else.

use std::fs;
use std::future::Future;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll, Wake, Waker};

use holdlock::{
    Error, FileLock, LockOptions, LockSet, Mode, Record, RecordState, Request, Waiting,
};
use holdlock_conformance::{Actor, Scratch, queue, watchdog};
use holdlock_test_support::wait_for;

const ACTOR: &str = env!("CARGO_BIN_EXE_holdlock-actor");

fn actor(path: &Path) -> Actor {
    Actor::start_with(ACTOR, path, &["record"])
}

fn open(path: &Path) -> FileLock {
    LockOptions::new().record(true).open(path).expect("opens")
}

fn record(path: &Path) -> Record {
    Record::read(path).expect("readable").expect("a record")
}

#[test]
fn the_next_holder_is_told_that_the_last_one_died() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let mut doomed = actor(&scratch.lock());
    doomed.must("lock");
    let pid = doomed.pid();
    let lock = open(&scratch.lock());
    assert!(matches!(lock.try_lock(), Err(Error::WouldBlock(_))));
    doomed.kill();

    // A shared holder neither hears of it nor takes the news away.
    let shared = lock.lock_shared().expect("free");
    assert_eq!((shared.token(), shared.abandoned()), (None, None));
    drop(shared);

    let guard = lock.lock().expect("free");
    let last = guard.abandoned().expect("it died");
    assert_eq!(last.pid, pid);
    let command = last.command.as_deref().expect("a command");
    assert!(command.contains("holdlock-actor"), "{command}");
    assert!(last.since.age().is_some_and(|age| age.as_secs() < 60));
    assert!(guard.token() > Some(last.token));
    drop(guard);
    assert_eq!(lock.lock().expect("free").abandoned(), None);

    // One that exits without a release died, too; one that has released did not.
    let mut leaver = actor(&scratch.lock());
    leaver.must("lock");
    leaver.tell("exit");
    assert_eq!(leaver.answer(), "");
    assert!(lock.lock().expect("free").abandoned().is_some());
    let mut good = actor(&scratch.lock());
    good.must("lock");
    good.must("release");
    good.kill();
    assert_eq!(lock.lock().expect("free").abandoned(), None);
}

#[test]
fn a_holder_that_cleans_nothing_up_leaves_the_news_to_the_next_one() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let mut doomed = actor(&scratch.lock());
    doomed.must("note half done");
    let pid = doomed.pid();
    doomed.kill();
    let lock = open(&scratch.lock());
    let mut last = 0;
    for _ in 0..3 {
        let guard = lock.lock().expect("free");
        let abandoned = guard.abandoned().expect("it died").clone();
        assert_eq!(abandoned.pid, pid);
        assert_eq!(abandoned.note.as_deref(), Some("half done"));
        let token = guard.token().expect("a token");
        assert!(token > last, "{token} after {last}");
        last = token;
        guard.release_abandoned().expect("released");
    }
    drop(lock.lock().expect("free"));
    let guard = lock.lock().expect("free");
    assert_eq!(guard.abandoned(), None);
    guard.release_abandoned().expect("as a release");
    assert_eq!(record(&scratch.lock()).state, RecordState::Released);
}

#[test]
fn a_lock_that_was_handed_over_in_vain_leaves_the_news_to_the_next_one() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut doomed = actor(&path);
    doomed.must("lock");
    doomed.kill();
    let lock = open(&path);
    let guard = lock.lock().expect("free");
    let last = guard.abandoned().expect("it died").clone();
    let token = guard.token().expect("a token");
    let handed = guard.hand_over().expect("handed over");
    // Of another acquisition: nothing is written.
    last.leave_to_next(&handed, token - 1).expect("readable");
    assert_eq!(record(&path).state, RecordState::HandedOver);
    last.leave_to_next(&handed, token).expect("written");
    let left = record(&path);
    assert_eq!((left.state, left.token), (RecordState::Held, token));
    drop(handed);
    let guard = lock.lock().expect("free");
    assert_eq!(guard.abandoned().map(|last| last.pid), Some(last.pid));
    assert!(guard.token() > Some(token));
    // Now it is another holder's.
    last.leave_to_next(&guard, token).expect("readable");
    assert_eq!(record(&path).pid, std::process::id());
}

#[test]
fn an_upgrade_that_is_undone_leaves_the_news_to_the_next_one() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let mut doomed = actor(&scratch.lock());
    doomed.must("lock");
    doomed.kill();
    let options = LockOptions::new().record(true).upgradeable(true);
    let lock = options.open(scratch.lock()).expect("opened");
    let upgraded = || {
        let mut guard = lock.try_lock_upgradeable().expect("free");
        guard.upgrade(Request::exclusive()).expect("alone");
        guard
    };
    let mut guard = upgraded();
    assert!(guard.abandoned().is_some());
    guard.downgrade_abandoned().expect("shared");
    assert_eq!((guard.mode(), guard.abandoned()), (Mode::Shared, None));
    // Also to the same guard.
    guard.upgrade(Request::exclusive()).expect("alone");
    assert!(guard.abandoned().is_some());
    guard.release_abandoned().expect("released");

    assert!(upgraded().abandoned().is_some());
    let mut guard = upgraded();
    assert_eq!(guard.abandoned(), None);
    guard.downgrade_abandoned().expect("as a downgrade");
    assert_eq!(record(&scratch.lock()).state, RecordState::Released);
}

#[test]
fn a_set_that_gives_a_lock_back_leaves_the_news_to_the_next_one() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let mut doomed = actor(&scratch.lock());
    doomed.must("lock");
    doomed.kill();
    let busy = scratch.path("busy.lock");
    let mut holder = actor(&busy);
    holder.must("lock");
    let (lock, other) = (open(&scratch.lock()), open(&busy));
    let set = LockSet::new([&lock, &other]);
    assert!(set.try_lock().is_err());
    holder.must("release");
    let guard = set.lock().expect("free");
    assert!(guard[0].abandoned().is_some());
    assert!(guard[1].abandoned().is_none());
}

#[test]
fn a_set_that_cannot_write_its_records_leaves_the_news_to_the_next_one() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let mut paths = [scratch.lock(), scratch.path("data.lock")];
    for path in &paths {
        drop(open(path).lock().expect("free"));
    }
    // Sets acquire their locks in the order of the inodes.
    paths.sort_by_key(|path| fs::metadata(path).expect("exists").ino());
    let mut doomed = actor(&paths[0]);
    doomed.must("lock");
    doomed.kill();
    let [lock, data] = [open(&paths[0]), open(&paths[1])];
    fs::write(&paths[1], "data").expect("written");
    let set = LockSet::new([&lock, &data]);
    let refused = set.try_lock();
    assert!(matches!(refused, Err(Error::Record { .. })), "{refused:?}");
    assert!(lock.lock().expect("free").abandoned().is_some());
}

/// Notes that its task was woken.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A task waits for `path` until its holder dies, and is dropped when it has got the lock.
fn a_task_is_dropped<F: Future + Unpin>(path: &Path, mut task: F) {
    let mut doomed = actor(path);
    doomed.must("lock");
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    let polled = Pin::new(&mut task).poll(&mut Context::from_waker(&waker));
    assert!(matches!(polled, Poll::Pending));
    queue::wait_for(path, std::process::id());
    doomed.kill();
    queue::eventually("the task is woken", || woken.0.load(Ordering::SeqCst));
    drop(task);
}

#[test]
fn a_task_that_does_not_see_its_lock_leaves_the_news_to_the_next_one() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let (lock, other) = (open(&path), open(&scratch.path("other.lock")));
    a_task_is_dropped(&path, lock.lock_async());
    let guard = lock.lock().expect("free");
    assert!(guard.abandoned().is_some());
    guard.release().expect("released");
    a_task_is_dropped(&path, LockSet::new([&lock, &other]).lock_async());
    assert!(lock.lock().expect("free").abandoned().is_some());
    assert!(lock.lock().expect("free").abandoned().is_none());
}

#[test]
fn a_thread_that_has_released_the_lock_to_another_thread_did_not_die() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::in_memory();
    let lock = open(&scratch.lock());
    for _ in 0..200 {
        let guard = lock.lock().expect("locks");
        let ours = guard.token().expect("a token");
        let (waits, is_waiting) = mpsc::channel();
        std::thread::scope(|scope| {
            let lock = &lock;
            scope.spawn(move || {
                let request = Request::exclusive().on_wait(|what| {
                    if what == Waiting::Began {
                        waits.send(()).expect("the test waits");
                    }
                    std::ops::ControlFlow::Continue(())
                });
                let guard = lock.acquire(request).expect("locks");
                assert_eq!(guard.abandoned(), None);
            });
            is_waiting.recv().expect("it waits");
            std::thread::yield_now();
            guard.release().expect("released");
            // As the next process would find it if this one were killed now.
            let left = wait_for("a whole record", || {
                Record::read(scratch.lock()).expect("readable")
            });
            assert!(
                left.token > ours || left.state == RecordState::Released,
                "{left:?}"
            );
        });
    }
}
