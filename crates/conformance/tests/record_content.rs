//! The content of a lock file with a record: what is refused, left as it is, and believed.

use std::fs;
use std::path::Path;

use holdlock::{Error, FileLock, LockOptions, Moment, Record, RecordState, Request, Run};
use holdlock_conformance::sealed::{lines, sealed};
use holdlock_conformance::{Actor, Scratch, watchdog};

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
fn foreign_content_is_refused_and_left_as_it_is() {
    let scratch = Scratch::new();
    let path = scratch.lock();
    let long = format!("{}x", sealed(&lines(7, "released")));
    for (content, says) in [
        ("precious data\n".to_owned(), "not a record of holdlock"),
        ("x".repeat(1024), "not a record of holdlock"),
        (long, "not a record of holdlock"),
        ("\0".repeat(1025), "not a record of holdlock"),
        (
            "holdlock record of what we did in spring\n".to_owned(),
            "not a record of holdlock",
        ),
        (
            sealed("holdlock record +1\ntoken: 9\n"),
            "not a record of holdlock",
        ),
        (sealed("holdlock record 2\ntoken: 9\n"), "update it"),
        (
            sealed("holdlock record 99999999999999999999\ntoken: 9\n"),
            "update it",
        ),
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
fn after_the_highest_token_the_file_is_refused_until_it_is_removed() {
    let scratch = Scratch::new();
    let path = scratch.lock();
    let end = 1 << 62;
    fs::write(&path, sealed(&lines(end - 4, "released"))).expect("written");
    let token = |lock: &FileLock| lock.lock().expect("free").token();
    let (early, late) = (open(&path), open(&path));
    assert_eq!(token(&early), Some(end - 3));
    assert_eq!(token(&late), Some(end - 2));
    assert_eq!(token(&late), Some(end - 1));
    let content = fs::read(&path).expect("read");
    let other = open(&path);
    for _ in 0..2 {
        for lock in [&early, &late, &other] {
            let error = lock.lock().expect_err("no higher token");
            assert!(matches!(error, Error::Record { .. }), "{error}");
            let said = error.to_string();
            let file = path.display().to_string();
            assert!(said.contains(&file), "{said}");
            assert!(said.contains("remove the file while nobody uses"), "{said}");
        }
    }
    assert_eq!(fs::read(&path).expect("read"), content);
    assert_eq!(record(&path).token, end - 1);
    // The remedy works also where the process knows the tokens from before.
    fs::remove_file(&path).expect("removed");
    let mut last = 0;
    for lock in [&early, &late, &other, &early, &late] {
        let token = token(lock).expect("a token");
        assert!(last < token && token < end / 2, "{token} after {last}");
        last = token;
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
    // A living process that does not hold the lock is not the holder, nor is a process of the
    // holder's number that was started at another time.
    let forgeries = [
        (std::process::id(), 0, false),
        (stranger.pid(), 0, true),
        (stranger.pid(), 1, false),
    ];
    for (pid, later, is_believed) in forgeries {
        let known = holdlock::inspect::start_time(pid).expect("runs") + later;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("a boot");
        let boot = boot.replace('-', "");
        let forged = format!(
            "holdlock record 1\ntoken: 9\nsince: 2026-01-02T03:04:05.000006Z 7.000008 {}\n\
             pid: {pid}\nstarted: {known}\nstate: held\n",
            &boot[..16]
        );
        fs::write(&path, sealed(&forged)).expect("written");
        assert_eq!(of_lock().is_some(), is_believed, "{forged}");
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
