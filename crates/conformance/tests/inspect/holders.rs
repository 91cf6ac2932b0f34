//! Every kind of lock by every kind of program: its kind and its holder.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use holdlock::Mode;
use holdlock::inspect::{Kind, LockedFile, Process, Range, State};
use holdlock_conformance::{Actor, Scratch, has, queue, skipped, sys, watchdog};

use crate::tools::{ACTOR, one_file, one_holder, stranger};

/// The largest difference between the start in /proc, which is in ticks, and the time of the clock.
const CLOCKS: Duration = Duration::from_secs(2);

/// Checks that there is one lock, and every detail of its holder.
#[track_caller]
fn is_seen(path: &Path, holder: &Actor, kind: Kind, mode: Mode, range: Range) {
    let file = one_file(path);
    assert_eq!(file.path.as_deref(), Some(path));
    assert_eq!(file.mount_point, None);
    assert!(!file.removed && !file.elsewhere && !file.mixes_families());
    assert_eq!(file.waiters, []);
    let found = one_holder(&file);
    let lock = &file.locks[0];
    assert_eq!((lock.kind, lock.mode, lock.range), (kind, mode, range));
    let taker = (kind != Kind::Ofd).then_some(holder.pid());
    assert_eq!(lock.taker, taker);
    assert!(!lock.is_inherited());
    assert_eq!(found.process.pid, holder.pid());
    let descriptor = found.descriptor.expect("a descriptor of our own user");
    let link = fs::read_link(format!("/proc/{}/fd/{descriptor}", holder.pid()));
    assert_eq!(link.expect("it is open"), path);
    is_described(&found.process);
}

/// A child of ours that was started just now.
#[track_caller]
fn is_described(process: &Process) {
    let us = Process::of(std::process::id()).expect("we run");
    assert_eq!((&process.user, process.uid), (&us.user, us.uid));
    assert_eq!(process.parent, Some(us.pid));
    let pid = process.pid;
    let words = fs::read(format!("/proc/{pid}/cmdline")).expect("it runs");
    let first = words.split(|byte| *byte == 0).next().expect("a word");
    let command = process.command.as_deref().expect("a command");
    let program = String::from_utf8_lossy(first).into_owned();
    assert!(command.starts_with(&program), "{command}");
    let age = |process: &Process| {
        let started = process.started.expect("a start");
        let now = SystemTime::now() + CLOCKS;
        now.duration_since(started).expect("in the past")
    };
    assert!(age(process) <= age(&us) + CLOCKS, "started after us");
    assert!(age(process) < CLOCKS + Duration::from_secs(60));
    queue::eventually("it sleeps until the next order", || {
        Process::of(pid).is_some_and(|process| process.state == Some(State::Sleeping))
    });
}

fn bytes(start: u64, end: u64) -> Range {
    Range {
        start,
        end: Some(end),
    }
}

#[test]
fn a_holder_through_the_library_is_seen() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut holder = Actor::start(ACTOR, &path);
    for (order, mode) in [("lock", Mode::Exclusive), ("lock-shared", Mode::Shared)] {
        holder.must(order);
        is_seen(&path, &holder, Kind::Flock, mode, Range::WHOLE);
        holder.must("release");
    }
    let mut holder = Actor::start_with(ACTOR, &path, &["ofd"]);
    for (order, mode) in [("lock", Mode::Exclusive), ("lock-shared", Mode::Shared)] {
        holder.must(order);
        is_seen(&path, &holder, Kind::Ofd, mode, Range::WHOLE);
        holder.must("release");
    }
}

#[test]
fn flock_1_is_seen_and_its_command_when_it_is_what_is_left() {
    if !has("flock") {
        return;
    }
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut command = Command::new("flock");
    let wait = "echo ready; read -r order; echo ok";
    command.arg(&path).args(["sh", "-c", wait]);
    let mut flock = Actor::from_command(command);
    is_seen(&path, &flock, Kind::Flock, Mode::Exclusive, Range::WHOLE);
    // Its command has inherited the descriptor.
    sys::kill(flock.pid(), libc::SIGKILL);
    queue::eventually("flock(1) is gone", || {
        one_file(&path).locks[0].is_inherited()
    });
    let file = one_file(&path);
    let command = one_holder(&file).process.command.clone();
    assert_eq!(command, Some(format!("sh -c {wait}")));
    assert_eq!(file.locks[0].taker, Some(flock.pid()));
    assert_eq!(flock.ask("end"), "ok");
}

const PYTHON: &str = r#"
import fcntl, sys
file = open(sys.argv[1], "r+")
print("ready", flush=True)
for order in sys.stdin:
    exec(order)
    print("ok", flush=True)
"#;

fn python(path: &Path) -> Actor {
    fs::write(path, "").expect("written");
    let mut command = Command::new("python3");
    command.args(["-c", PYTHON]).arg(path);
    Actor::from_command(command)
}

#[test]
fn pythons_flock_is_seen() {
    if !has("python3") {
        return;
    }
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut holder = python(&path);
    holder.must("fcntl.flock(file, fcntl.LOCK_SH)");
    is_seen(&path, &holder, Kind::Flock, Mode::Shared, Range::WHOLE);
    holder.must("fcntl.flock(file, fcntl.LOCK_EX)");
    is_seen(&path, &holder, Kind::Flock, Mode::Exclusive, Range::WHOLE);
}

#[test]
fn pythons_lockf_is_seen_with_its_bytes() {
    if !has("python3") {
        return;
    }
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut holder = python(&path);
    holder.must("fcntl.lockf(file, fcntl.LOCK_EX)");
    is_seen(&path, &holder, Kind::Posix, Mode::Exclusive, Range::WHOLE);
    holder.must("fcntl.lockf(file, fcntl.LOCK_UN)");
    holder.must("fcntl.lockf(file, fcntl.LOCK_SH, 10, 5)");
    is_seen(&path, &holder, Kind::Posix, Mode::Shared, bytes(5, 14));
    // A second range of the same process is a second lock, of the one holder.
    holder.must("fcntl.lockf(file, fcntl.LOCK_EX, 1, 100)");
    let file = one_file(&path);
    let mut ranges: Vec<_> = file
        .locks
        .iter()
        .map(|lock| (lock.mode, lock.range))
        .collect();
    ranges.sort_by_key(|(_, range)| range.start);
    let expected = [
        (Mode::Shared, bytes(5, 14)),
        (Mode::Exclusive, bytes(100, 100)),
    ];
    assert_eq!(ranges, expected);
    for lock in &file.locks {
        assert_eq!(lock.holders.len(), 1, "{lock:?}");
        assert_eq!(lock.holders[0].process.pid, holder.pid());
    }
    assert_eq!(file.holders().len(), 1);
}

#[test]
fn open_file_description_locks_of_two_processes_are_told_apart() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let (mut first, mut second) = (stranger(&[&path]), stranger(&[&path]));
    first.must("ofd 0 ex 0 10");
    is_seen(&path, &first, Kind::Ofd, Mode::Exclusive, bytes(0, 9));
    second.must("ofd 0 ex 10 0");
    let file = one_file(&path);
    let by = |start| {
        let lock = file.locks.iter().find(|lock| lock.range.start == start);
        let holders = &lock.expect("a lock").holders;
        assert_eq!(holders.len(), 1, "{holders:?}");
        holders[0].process.pid
    };
    assert_eq!((by(0), by(10)), (first.pid(), second.pid()));
    // Two equal locks have one holder each.
    first.must("ofd 0 un");
    second.must("ofd 0 un");
    first.must("ofd 0 sh");
    second.must("ofd 0 sh");
    // Where very many other locks come and go, one look may count equal locks wrongly.
    let mut looks = (0..10).map(|_| one_file(&path));
    let right = |file: &LockedFile| file.locks.len() == 2;
    let file = looks.find(right).expect("two locks");
    for lock in &file.locks {
        assert_eq!(lock.holders.len(), 1, "{lock:?}");
    }
    assert_eq!(file.holders().len(), 2);
}

const JAVA: &str = r#"
import java.nio.channels.FileChannel;
import java.nio.file.*;

class Hold {
    public static void main(String[] words) throws Exception {
        var channel = FileChannel.open(Path.of(words[0]), StandardOpenOption.WRITE);
        var in = new java.util.Scanner(System.in);
        System.out.println("ready");
        while (in.hasNextLine()) {
            in.nextLine();
            channel.lock();
            System.out.println("ok");
        }
    }
}
"#;

/// Whether there is a Java that runs a program from its source.
fn has_java() -> bool {
    if !has("java") {
        return false;
    }
    let modules = Command::new("java").arg("--list-modules").output();
    let compiles = modules
        .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("jdk.compiler"));
    if !compiles {
        skipped("this java has no compiler");
    }
    compiles
}

#[test]
fn javas_file_channel_is_seen() {
    if !has_java() {
        return;
    }
    let _dog = watchdog::watch(120);
    let scratch = Scratch::new();
    let (path, source) = (scratch.lock(), scratch.path("Hold.java"));
    fs::write(&path, "").expect("written");
    fs::write(&source, JAVA).expect("written");
    let mut command = Command::new("java");
    command.arg(&source).arg(&path);
    let mut holder = Actor::from_command(command);
    holder.must("lock");
    let file = one_file(&path);
    let found = one_holder(&file);
    assert_eq!(found.process.pid, holder.pid());
    let lock = &file.locks[0];
    assert_eq!((lock.kind, lock.mode), (Kind::Posix, Mode::Exclusive));
    // Java asks for Long.MAX_VALUE bytes: the whole file.
    assert_eq!(lock.range.start, 0);
    assert!(
        found
            .process
            .command
            .as_ref()
            .is_some_and(|command| command.starts_with("java"))
    );
}

#[test]
fn a_lease_is_no_lock_and_is_seen() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut holder = stranger(&[&path]);
    holder.must("lease 0");
    is_seen(&path, &holder, Kind::Lease, Mode::Exclusive, Range::WHOLE);
    assert!(!Kind::Lease.meets(Kind::Lease) && !Kind::Lease.meets(Kind::Flock));
}

#[test]
fn both_families_on_one_file_are_noticed() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let (mut first, mut second) = (stranger(&[&path]), stranger(&[&path]));
    first.must("flock 0 ex");
    assert!(!one_file(&path).mixes_families());
    for (take, leave) in [("posix 0 ex", "posix 0 un"), ("ofd 0 ex", "ofd 0 un")] {
        second.must(take);
        // A table that is read in pieces may miss a lock if others are released at the same time.
        queue::eventually("both families are seen", || {
            let file = one_file(&path);
            file.mixes_families() && file.holders().len() == 2
        });
        second.must(leave);
    }
    // Both are of fcntl(2), and do exclude each other.
    first.must("flock 0 un");
    first.must("ofd 0 ex 0 1");
    second.must("posix 0 ex 1 1");
    assert!(!one_file(&path).mixes_families());
}

#[test]
fn an_unlocked_file_has_no_locks() {
    let scratch = Scratch::new();
    let path = scratch.lock();
    fs::write(&path, "").expect("written");
    for path in [
        path.clone(),
        scratch.path("missing"),
        scratch.path("missing/too"),
    ] {
        let snapshot = holdlock::inspect::file(&path).expect("looks");
        assert_eq!(snapshot.files, [], "{path:?}");
    }
}
