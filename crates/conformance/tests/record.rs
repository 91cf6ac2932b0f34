//! Locks that remember: tokens, and holders that died.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use holdlock::{FileLock, LockOptions, Mode, Moment, Record, RecordState, Request, Run};
use holdlock_conformance::sealed::{lines, sealed};
use holdlock_conformance::{Actor, Scratch, can_trace, sys, watchdog};
use holdlock_test_support::LineProcess;

const ACTOR: &str = env!("CARGO_BIN_EXE_holdlock-actor");

fn actor(path: &Path) -> Actor {
    Actor::start_with(ACTOR, path, &["record"])
}

fn open(path: &Path) -> FileLock {
    LockOptions::new().record(true).open(path).expect("opens")
}

/// Acquires by an actor and returns the token.
fn token(actor: &mut Actor) -> u64 {
    actor.must("lock");
    let token = actor.ask("token").parse().expect("a token");
    actor.must("release");
    token
}

/// The same by this process, with the guard that can move.
fn token_of(lock: &FileLock) -> u64 {
    let guard = lock.lock_owned().expect("free");
    guard.token().expect("a token")
}

fn record(path: &Path) -> Record {
    Record::read(path).expect("readable").expect("a record")
}

#[test]
fn a_token_rises_with_each_acquisition_of_whatever_process() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let (mut one, mut other) = (actor(&scratch.lock()), actor(&scratch.lock()));
    let ours = open(&scratch.lock());
    let mut last = 0;
    for _ in 0..20 {
        for token in [
            token(&mut one),
            token(&mut other),
            token(&mut other),
            token_of(&ours),
            token_of(&ours),
        ] {
            assert!(token > last, "{token} after {last}");
            last = token;
        }
    }
}

#[test]
fn threads_that_pass_the_lock_on_have_tokens_of_their_own() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::in_memory();
    let lock = open(&scratch.lock());
    let tokens = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..500 {
                    let guard = lock.lock().expect("locks");
                    let token = guard.token().expect("a token");
                    assert_eq!(guard.abandoned(), None);
                    tokens.lock().expect("not poisoned").push(token);
                }
            });
        }
    });
    let tokens = tokens.into_inner().expect("not poisoned");
    assert_eq!(tokens.len(), 4000);
    assert!(tokens.is_sorted_by(|one, next| one < next), "in order");
    assert_eq!(record(&scratch.lock()).state, RecordState::Released);
}

/// How often this thread has called read(2) or pread(2).
fn reads() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/io").expect("proc");
    let count = text.lines().find_map(|line| line.strip_prefix("syscr: "));
    count.expect("a count").parse().expect("a number")
}

/// Nobody else can have written the record, as long as the process keeps the kernel's lock.
#[test]
fn a_thread_to_which_the_lock_is_passed_on_does_not_read_the_record() {
    const THREADS: u64 = 8;
    const TURNS: u64 = 500;
    let _dog = watchdog::watch(60);
    let scratch = Scratch::in_memory();
    let lock = open(&scratch.lock());
    let turns = || {
        let (first, second) = (reads(), reads());
        for _ in 0..TURNS {
            drop(lock.lock().expect("locks"));
        }
        (reads() - second) - (second - first)
    };
    let all = || {
        std::thread::scope(|scope| {
            let threads = [(); THREADS as usize].map(|()| scope.spawn(turns));
            let counts = threads.map(|thread| thread.join().expect("no panic"));
            counts.iter().sum::<u64>()
        })
    };
    // Threads that never meet pass nothing on.
    let fewest = (0..20)
        .map(|_| all())
        .find(|reads| *reads < THREADS * TURNS);
    assert!(fewest.is_some(), "each acquisition has read the record");
}

#[test]
fn the_token_rises_whatever_the_clock_shows() {
    let scratch = Scratch::new();
    // As if the clock had been set back from the year 2100.
    let future = 4_102_444_800_000_000;
    fs::write(scratch.lock(), sealed(&lines(future, "released"))).expect("written");
    let lock = open(&scratch.lock());
    assert_eq!(lock.lock().expect("free").token(), Some(future + 1));
    assert_eq!(lock.lock().expect("free").token(), Some(future + 2));
    assert_eq!(token(&mut actor(&scratch.lock())), future + 3);
    // The actor's record counts, and not only the last one of this process.
    assert_eq!(lock.lock().expect("free").token(), Some(future + 4));
}

#[test]
fn the_token_rises_where_the_record_is_lost() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut last = token(&mut actor(&path));
    let old = fs::read(&path).expect("read");
    let mut torn = old.clone();
    torn[40] ^= 1;
    type Loss<'l> = &'l dyn Fn();
    let losses: [Loss<'_>; 5] = [
        &|| fs::remove_file(&path).expect("removed"),
        // What `9>file` does in a shell.
        &|| drop(fs::File::create(&path).expect("truncated")),
        &|| fs::write(&path, &old).expect("restored"),
        &|| fs::write(&path, &torn).expect("torn"),
        &|| fs::write(&path, vec![0; 1024]).expect("as after a power failure"),
    ];
    for (number, loss) in losses.iter().enumerate() {
        loss();
        let next = token(&mut actor(&path));
        assert!(next > last, "{number}: {next} after {last}");
        last = next;
    }
}

#[test]
fn conversions_keep_the_record_true() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let lock = open(&scratch.lock());
    let guard = lock.lock().expect("free");
    let first = guard.token();
    let shared = guard.downgrade().expect("shares");
    // A reader leaves nothing half done.
    assert_eq!(shared.token(), None);
    assert_eq!(record(&scratch.lock()).state, RecordState::Released);
    let (again, _) = shared
        .upgrade_not_atomic(Request::exclusive())
        .expect("upgraded");
    assert!(again.token() > first);
    assert_eq!(record(&scratch.lock()).state, RecordState::Held);

    // The end of those that have got the lock cannot be recorded.
    let before = again.token().expect("a token");
    drop(again.hand_over().expect("handed over"));
    assert_eq!(record(&scratch.lock()).state, RecordState::HandedOver);
    let mut next = actor(&scratch.lock());
    next.must("lock");
    assert_eq!(next.ask("abandoned"), "0");
    assert!(next.ask("token").parse::<u64>().expect("a token") > before);
}

#[test]
fn a_child_of_fork_writes_nothing() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let lock = open(&scratch.lock());
    let guard = lock.lock().expect("free");
    let before = fs::read(scratch.lock()).expect("read");
    let guard = std::cell::Cell::new(Some(guard));
    let child = sys::fork(|| {
        let guard = guard.take().expect("a copy");
        let now = Moment::now();
        let run = Run {
            began: now,
            ended: Some(now),
            exit: Some(0),
        };
        let written = guard.record_run(run);
        i32::from(guard.token().is_some() || written.is_err() || guard.release().is_err())
    });
    assert_eq!(child.wait(), 0);
    assert_eq!(fs::read(scratch.lock()).expect("read"), before);
    assert_eq!(record(&scratch.lock()).state, RecordState::Held);
}

#[test]
fn a_run_is_not_recorded_by_a_descriptor_of_others() {
    let scratch = Scratch::new();
    let lock = open(&scratch.lock());
    let guard = lock.lock().expect("free");
    let before = fs::read(scratch.lock()).expect("read");
    // Other code closes the descriptor, and its number is then that of another open file.
    sys::close(guard.file().as_raw_fd());
    let mut options = fs::File::options();
    let other = options.read(true).write(true).open(scratch.lock());
    let run = Run {
        began: Moment::now(),
        ended: None,
        exit: None,
    };
    guard.record_run(run).expect("nothing to do");
    assert_eq!(fs::read(scratch.lock()).expect("read"), before);
    drop((guard, other.expect("opens")));
}

#[test]
fn a_record_that_cannot_be_written_is_an_error_and_the_lock_is_free() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let trace = ["--inject=pwrite64:error=ENOSPC:when=1"];
    let Some(mut traced) = under_strace(&scratch, &trace) else {
        return;
    };
    let message = traced.ask("lock");
    assert!(message.starts_with("Record"), "{message}");
    assert!(message.contains("No space left"), "{message}");
    let lock = open(&scratch.lock());
    assert_eq!(lock.try_lock().expect("free").abandoned(), None);
    traced.must("lock");
    traced.must("release");
}

#[test]
fn a_limit_of_file_sizes_is_an_error_and_ends_no_process() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut limited = Actor::start_with(ACTOR, &path, &["record", "file-size=512"]);
    for content in [String::new(), sealed(&lines(7, "released"))] {
        fs::write(&path, &content).expect("written");
        let message = limited.ask("lock");
        assert!(message.contains("ulimit -f"), "{message}");
        assert_eq!(fs::read_to_string(&path).expect("read"), content);
    }
    assert!(open(&path).try_lock().expect("free").token() > Some(7));
}

#[test]
fn a_lock_without_a_record_reads_and_writes_nothing() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let watched = ["-e", "trace=pread64,pwrite64,read,write,statx"];
    let path = scratch.lock();
    let Some(command) = strace(&scratch, &watched) else {
        return;
    };
    let mut command = command;
    command.arg(ACTOR).arg(&path);
    let mut plain = Actor::from_command(command);
    plain.must("lock");
    plain.must("release");
    drop(plain);
    let trace = fs::read_to_string(scratch.path("trace")).expect("a trace");
    assert!(!trace.contains("a.lock"), "{trace}");
    assert_eq!(fs::read(&path).expect("read"), b"");
}

/// strace on the calls that concern the lock file.
fn strace(scratch: &Scratch, words: &[&str]) -> Option<Command> {
    if !can_trace() {
        return None;
    }
    let mut command = Command::new("strace");
    command.args(["-f", "-y", "-o"]).arg(scratch.path("trace"));
    command.arg("-P").arg(scratch.lock()).args(words);
    Some(command)
}

fn under_strace(scratch: &Scratch, words: &[&str]) -> Option<Actor> {
    let mut command = strace(scratch, words)?;
    command.arg(ACTOR).arg(scratch.lock()).arg("record");
    Some(Actor::from_command(command))
}

/// A holder under strace acquires and releases twice, and is killed when it is about to make a
/// system call that concerns the lock file.
struct Killed {
    /// The tokens that it told, and whether it lived to the end.
    told: Vec<u64>,
    survived: bool,
}

fn killed_at(scratch: &Scratch, call: &str, number: usize) -> Option<Killed> {
    let kill = format!("--inject={call}:signal=KILL:when={number}");
    let mut command = strace(scratch, &[&kill])?;
    command.arg(ACTOR).arg(scratch.lock()).arg("record");
    let mut doomed = LineProcess::start(&mut command).expect("strace starts");
    let mut killed = Killed {
        told: Vec::new(),
        survived: false,
    };
    // It may die before it is ready.
    if doomed.hear().ok()?.is_none() {
        return Some(killed);
    }
    for order in ["lock", "token", "release", "lock", "token", "release"] {
        let _ = doomed.tell(order);
        let Ok(Some(answer)) = doomed.hear() else {
            return Some(killed);
        };
        killed.told.extend(answer.parse::<u64>());
    }
    killed.survived = true;
    Some(killed)
}

#[test]
fn a_holder_that_is_killed_at_any_call_leaves_a_record_that_the_next_one_reads_rightly() {
    let _dog = watchdog::watch(300);
    let mut left = BTreeSet::new();
    let mut deaths = 0;
    for call in ["openat", "flock", "fcntl", "statx", "pread64", "pwrite64"] {
        for number in 1.. {
            let scratch = Scratch::in_memory();
            let path = scratch.lock();
            fs::write(&path, "").expect("created");
            let Some(killed) = killed_at(&scratch, call, number) else {
                return;
            };
            let content = fs::read(&path).expect("read");
            let was = Record::read(&path).expect("readable");
            assert!(content.is_empty() || was.is_some(), "torn: {content:?}");
            let state = was.as_ref().map(|was| was.state);
            let guard = open(&path);
            // The process may still be ending.
            let guard = guard.try_lock_for(Duration::from_secs(30));
            let guard = guard.expect("the kernel frees it");
            let token = guard.token().expect("a token");
            assert!(
                killed.told.iter().all(|told| *told < token),
                "{token} after {:?}",
                killed.told
            );
            let abandoned = guard.abandoned().map(|last| last.token);
            let held = was.filter(|was| was.state == RecordState::Held);
            assert_eq!(abandoned, held.map(|was| was.token));
            if killed.survived {
                assert_eq!(state, Some(RecordState::Released));
                break;
            }
            left.insert(format!("{state:?}"));
            deaths += 1;
        }
    }
    assert!(deaths >= 15, "only {deaths} calls were tried");
    assert_eq!(left.len(), 3, "never written, held, released: {left:?}");
}

#[test]
fn the_last_run_and_the_last_success_outlive_later_holders() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let lock = open(&scratch.lock());
    let good = Run {
        began: Moment::now(),
        ended: Some(Moment::now()),
        exit: Some(0),
    };
    let bad = Run {
        began: Moment::now(),
        exit: Some(3),
        ..good
    };
    lock.lock()
        .expect("free")
        .record_run(good)
        .expect("written");
    token(&mut actor(&scratch.lock()));
    lock.lock().expect("free").record_run(bad).expect("written");
    token(&mut actor(&scratch.lock()));
    let record = lock.record().expect("readable").expect("a record");
    assert_eq!(record.last_run, Some(bad));
    assert_eq!(record.last_success, Some(good.began));
    assert_eq!(lock.lock_shared().expect("free").mode(), Mode::Shared);
}
