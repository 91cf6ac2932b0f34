//! The kernel names the process that took a lock; another process may hold it.

use std::fs;
use std::path::Path;
use std::process::Command;

use holdlock::FileLock;
use holdlock_conformance::{Actor, Scratch, has, in_container, queue, skipped, sys, watchdog};

use crate::tools::{Orphan, holder_pids, one_file, stranger};

#[test]
fn a_dead_takers_children_are_the_holders() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    for order in ["flock 0 ex", "ofd 0 ex"] {
        let mut taker = stranger(&[&path]);
        taker.must(order);
        assert!(!one_file(&path).locks[0].is_inherited());
        let children = [Orphan::kept_by(&mut taker), Orphan::kept_by(&mut taker)];
        assert!(holder_pids(&one_file(&path)).contains(&taker.pid()));
        let pid = taker.pid();
        taker.kill();
        let file = one_file(&path);
        let mut left = holder_pids(&file);
        left.sort_unstable();
        let mut expected = children.each_ref().map(|child| child.0);
        expected.sort_unstable();
        assert_eq!(left, expected, "{order}");
        let taker = (order == "flock 0 ex" && !in_container()).then_some(pid);
        assert_eq!(file.locks[0].taker, taker);
        assert_eq!(file.locks[0].is_inherited(), order == "flock 0 ex");
        assert_eq!(file.path.as_deref(), Some(&*path));
        drop(children);
        queue::eventually("the lock ends with the last child", || {
            crate::tools::look(&path).files.is_empty()
        });
    }
}

#[test]
fn a_taker_that_has_passed_the_lock_on_is_no_holder() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut taker = stranger(&[&path]);
    taker.must("flock 0 ex");
    let child = Orphan::kept_by(&mut taker);
    taker.must("close 0");
    let file = one_file(&path);
    assert_eq!(holder_pids(&file), [child.0]);
    assert_eq!(file.locks[0].taker, Some(taker.pid()));
    assert!(file.locks[0].is_inherited());
    // An error says so, too.
    let error = FileLock::open(&path)
        .expect("opens")
        .try_lock()
        .expect_err("held");
    let holders = error.conflict().expect("a conflict").holders();
    assert_eq!(holders.len(), 1);
    assert_eq!(holders[0].pid, child.0);
}

#[test]
fn another_process_with_the_number_of_a_dead_taker_is_no_holder() {
    let next = Path::new("/proc/sys/kernel/ns_last_pid");
    if !sys::is_root() || !next.exists() {
        return skipped("only root can choose the number of the next process");
    }
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut taker = stranger(&[&path]);
    taker.must("flock 0 ex");
    let child = Orphan::kept_by(&mut taker);
    let pid = taker.pid();
    taker.kill();
    for _ in 0..200 {
        if fs::write(next, (pid - 1).to_string()).is_err() {
            return skipped("the number of the next process cannot be chosen here");
        }
        let mut namesake = stranger(&[&path]);
        if namesake.pid() != pid {
            continue;
        }
        let file = one_file(&path);
        assert_eq!(holder_pids(&file), [child.0]);
        // Nor if it has a lock on the file, which is another lock.
        namesake.must("posix 0 sh");
        let file = one_file(&path);
        let flock = file
            .locks
            .iter()
            .find(|lock| lock.kind == holdlock::inspect::Kind::Flock);
        let holders = &flock.expect("the flock").holders;
        assert_eq!(holders.len(), 1, "{holders:?}");
        assert_eq!(holders[0].process.pid, child.0);
        return;
    }
    skipped("other processes were quicker to take the number");
}

/// Takes the lock and sends the descriptor to its child, which was started before.
const PASS_ON: &str = r#"
import fcntl, os, socket, sys
ours, theirs = socket.socketpair(socket.AF_UNIX)
child = os.fork()
if child == 0:
    ours.close()
    _, files, _, _ = socket.recv_fds(theirs, 1, 1)
    theirs.send(b"!")
    theirs.recv(1)
    os._exit(0)
theirs.close()
file = open(sys.argv[1])
fcntl.flock(file, fcntl.LOCK_EX)
socket.send_fds(ours, [b"."], [file.fileno()])
ours.recv(1)
print("ready", flush=True)
for order in sys.stdin:
    if order == "close\n":
        file.close()
    print(child, flush=True)
"#;

#[test]
fn a_process_that_was_sent_the_descriptor_is_a_holder() {
    if !has("python3") {
        return;
    }
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    fs::write(&path, "").expect("written");
    let mut command = Command::new("python3");
    command.args(["-c", PASS_ON]).arg(&path);
    let mut taker = Actor::from_command(command);
    // While the taker has it as well, only the taker is examined.
    assert_eq!(holder_pids(&one_file(&path)).first(), Some(&taker.pid()));
    let child: u32 = taker.ask("close").parse().expect("a pid");
    let file = one_file(&path);
    assert_eq!(holder_pids(&file), [child]);
    assert!(file.locks[0].is_inherited());
}

/// Holds two slots of a semaphore, as the library locks them; a child keeps both. Then it gives
/// the second slot up, which the child holds alone.
const TWO_SLOTS: &str = r#"
import fcntl, os, signal, struct, sys
files = [open(sys.argv[1], "a+") for slot in range(2)]
for slot, file in enumerate(files):
    fcntl.flock(file, fcntl.LOCK_SH)
    byte = struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 2**62 + 2**21 + slot, 1, 0)
    fcntl.fcntl(file, 37, byte)
child = os.fork()
if child == 0:
    signal.pause()
print("ready", flush=True)
for order in sys.stdin:
    if order == "close\n":
        files[1].close()
    print(child, flush=True)
"#;

#[test]
fn each_slot_of_a_process_has_its_own_heirs() {
    if !has("python3") {
        return;
    }
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut command = Command::new("python3");
    command.args(["-c", TWO_SLOTS]).arg(&path);
    let mut taker = Actor::from_command(command);
    let child: u32 = taker.ask("close").parse().expect("a pid");
    let child = Orphan(child);
    let file = one_file(&path);
    let mut slots: Vec<(Option<u32>, Vec<u32>)> = Vec::new();
    for lock in &file.locks {
        let pids = lock.holders.iter().map(|holder| holder.process.pid);
        slots.push((lock.slot, pids.collect()));
    }
    slots.sort_unstable();
    let expected = [(Some(0), vec![taker.pid()]), (Some(1), vec![child.0])];
    assert_eq!(slots, expected, "{file:#?}");
}
