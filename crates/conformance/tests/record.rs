//! Locks that remember: tokens, and holders that died.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use holdlock::{
    Error, FileLock, LockOptions, LockSet, Mode, Moment, Record, RecordState, Request, Run,
};
use holdlock_conformance::{Actor, Scratch, skipped, sys, watchdog};
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

/// The checksum of a record, one bit at a time.
fn crc32(text: &str) -> u32 {
    let crc = text.bytes().fold(!0, |crc: u32, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 }
        })
    });
    !crc
}

/// A record with these lines, as the documentation describes it.
fn sealed(lines: &str) -> String {
    let text = format!("{lines}checksum: {:08x}\n", crc32(lines));
    format!("{text:<1023}\n")
}

fn lines(token: u64, state: &str) -> String {
    format!(
        "holdlock record 1\ntoken: {token}\nsince: 2026-01-02T03:04:05.000006Z 7.000008 0\n\
         pid: 1\nstate: {state}\n"
    )
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
fn foreign_content_is_refused_and_left_as_it_is() {
    let scratch = Scratch::new();
    let path = scratch.lock();
    let long = format!("{}x", sealed(&lines(7, "released")));
    for (content, says) in [
        ("precious data\n".to_owned(), "not a record of holdlock"),
        ("x".repeat(1024), "not a record of holdlock"),
        (long, "not a record of holdlock"),
        ("\0".repeat(1025), "not a record of holdlock"),
        (sealed("holdlock record 2\ntoken: 9\n"), "update it"),
        (
            sealed(&lines(u64::MAX, "released")),
            "lines that holdlock does not write",
        ),
        (
            sealed(&lines(7, "sold")),
            "lines that holdlock does not write",
        ),
    ] {
        // At open, and when it has appeared since.
        fs::write(&path, "").expect("written");
        let lock = open(&path);
        fs::write(&path, &content).expect("written");
        let errors = [
            LockOptions::new().record(true).open(&path).err(),
            lock.lock().err(),
        ];
        for error in errors {
            let error = error.expect("refused");
            assert!(matches!(error, Error::Record { .. }), "{error}");
            assert!(error.to_string().contains(says), "{error}");
        }
        assert_eq!(fs::read_to_string(&path).expect("read"), content);
        // The lock is free, and usable without the record.
        drop(
            FileLock::open(&path)
                .expect("opens")
                .try_lock()
                .expect("free"),
        );
    }
}

#[test]
fn data_that_is_written_to_the_lock_file_while_it_is_held_is_left_as_it_is() {
    let scratch = Scratch::new();
    let path = scratch.lock();
    for with_run in [false, true] {
        fs::write(&path, "").expect("written");
        let lock = open(&path);
        let guard = lock.lock().expect("free");
        let since = record(&path).since;
        fs::write(&path, "data of the program\n").expect("written");
        // Only a short section does not look.
        while since.age() < Some(std::time::Duration::from_millis(2)) {
            std::thread::yield_now();
        }
        if with_run {
            let run = Run {
                began: since,
                ended: None,
                exit: None,
            };
            guard.record_run(run).expect("nothing to do");
        }
        guard.release().expect("released");
        let left = fs::read_to_string(&path).expect("read");
        assert_eq!(left, "data of the program\n");
    }
}

#[test]
fn what_cannot_have_a_record_is_refused_when_it_is_opened() {
    let scratch = Scratch::new();
    let record = LockOptions::new().record(true);
    let path = scratch.lock();
    for (options, says) in [
        (record.clone().delete_on_release(true), "deleted on release"),
        (record.clone().writable(true), "the caller writes"),
    ] {
        let error = options.open(&path).expect_err("refused");
        assert!(matches!(error, Error::Open { .. }), "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }
    assert!(!path.exists());
    let error = record.open(scratch.directory()).expect_err("refused");
    assert!(error.to_string().contains("directory"), "{error}");
    assert_eq!(Record::read(scratch.directory()).expect("readable"), None);
    assert_eq!(Record::read("/dev/null").expect("readable"), None);
    assert_eq!(Record::read(&path).expect("readable"), None);
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
    let works = Command::new("strace")
        .args(["-o", "/dev/null", "true"])
        .status()
        .is_ok_and(|status| status.success());
    if !works {
        skipped("needs strace and the right to trace");
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
            let guard = guard.try_lock().expect("the kernel has freed it");
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
fn a_record_is_believed_only_where_it_agrees_with_the_kernel() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let of_lock = || {
        let snapshot = holdlock::inspect::file(&path).expect("readable");
        snapshot.files.iter().find_map(Record::of)
    };
    let mut holder = actor(&path);
    holder.must("note up\x1b[2J\u{202e} to date");
    let believed = of_lock().expect("held");
    assert_eq!(believed.pid, holder.pid());
    assert_eq!(
        believed.note.as_deref(),
        Some(r"up\u{1b}[2J\u{202e} to date")
    );
    let error = FileLock::open(&path)
        .expect("opens")
        .try_lock()
        .expect_err("held");
    let said = error.to_string();
    let pid = format!("already locked by pid {} (", holder.pid());
    assert!(said.contains(&pid), "{said}");
    assert!(
        said.contains(" s: up\\u{1b}[2J") || said.contains(" ms: up\\u{1b}[2J"),
        "{said}"
    );
    let content = fs::read_to_string(&path).expect("text");
    assert!(!content.contains('\x1b'), "{content}");

    // Its holder is dead, and another program has the lock, which writes no record.
    holder.kill();
    let mut stranger = Actor::start(ACTOR, &path);
    stranger.must("lock");
    assert_eq!(record(&path).state, RecordState::Held);
    assert_eq!(of_lock(), None);
    // A process of that number which was started at another time is not the holder.
    let pid = stranger.pid();
    for started in [0, 1] {
        let known = holdlock::inspect::start_time(pid).expect("runs") + started;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("a boot");
        let boot = boot.replace('-', "");
        let forged = format!(
            "holdlock record 1\ntoken: 9\nsince: 2026-01-02T03:04:05.000006Z 7.000008 {}\n\
             pid: {pid}\nstarted: {known}\nstate: held\n",
            &boot[..16]
        );
        fs::write(&path, sealed(&forged)).expect("written");
        assert_eq!(of_lock().is_some(), started == 0);
    }
    stranger.must("release");
    assert_eq!(of_lock(), None);
}

#[test]
fn a_long_note_is_cut_and_the_record_stays_whole() {
    let scratch = Scratch::new();
    let lock = open(&scratch.lock());
    for note in ["\u{202e}".repeat(4000), "ä".repeat(4000), String::new()] {
        let guard = lock.acquire(Request::exclusive().note(note)).expect("free");
        let now = Moment::now();
        let run = Run {
            began: now,
            ended: Some(now),
            exit: Some(255),
        };
        guard.record_run(run).expect("written");
        drop(guard);
        let kept = record(&scratch.lock()).note.unwrap_or_default();
        assert!(kept.len() <= 200, "{kept}");
        assert_eq!(record(&scratch.lock()).last_run, Some(run));
    }
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
