//! holdlock and plain users of flock(2) exclude each other.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use holdlock::FileLock;
use holdlock_conformance::{Actor, Scratch, has, queue, skipped, watchdog};

/// A partner answers `ready` at once. At the order `lock` it blocks until it has the lock, and
/// answers `ok`; at `release` it releases the lock.
fn both_ways(path: &Path, start: impl Fn() -> Actor) {
    let _dog = watchdog::watch(60);
    let lock = FileLock::open(path).expect("opens");

    // The partner holds the lock: we see it, name it, time out, and acquire the lock after it.
    let mut partner = start();
    partner.must("lock");
    let error = lock.try_lock().expect_err("they hold it");
    let holders = error.conflict().expect("a conflict").holders().to_vec();
    assert!(
        holders.iter().any(|holder| holder.pid == partner.pid()),
        "{holders:?}"
    );
    assert!(lock.try_lock_shared().is_err());
    assert!(lock.try_lock_for(Duration::from_millis(20)).is_err());
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| lock.lock().map(drop));
        queue::wait_for(path, std::process::id());
        partner.must("release");
        waiter.join().expect("no panic").expect("locked");
    });

    // We hold the lock: the partner blocks until we release it.
    let guard = lock.lock().expect("locked");
    partner.must_block("lock", path);
    drop(guard);
    assert_eq!(partner.answer(), "ok");

    // The partner is killed: we acquire the lock.
    partner.kill();
    drop(lock.try_lock().expect("free"));
}

/// flock(1) on a descriptor of a shell, which is then the holder.
const SHELL: &str = r#"
exec 9<"$1"
echo ready
while read -r order; do
    case $order in
        lock) exec 8<&9; flock 9; echo ok ;;
        release) flock -u 9; echo ok ;;
    esac
done
"#;

#[test]
fn flock_1_on_a_command() {
    if !has("flock") {
        return;
    }
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let lock = FileLock::open(&path).expect("opens");
    let guard = lock.lock().expect("locked");
    let try_it = || {
        let status = Command::new("flock")
            .arg("-n")
            .arg(&path)
            .arg("true")
            .status();
        status.expect("flock runs").code()
    };
    assert_eq!(try_it(), Some(1));
    drop(guard);
    assert_eq!(try_it(), Some(0));

    let mut theirs = Command::new("flock");
    theirs
        .arg(&path)
        .args(["sh", "-c", "echo ready; read -r order; echo ok"]);
    let mut partner = Actor::from_command(theirs);
    let error = lock.try_lock().expect_err("they hold it");
    assert!(error.to_string().contains("flock"), "{error}");
    assert_eq!(partner.ask("end"), "ok");
    drop(lock.lock().expect("free"));
}

#[test]
fn flock_1_on_a_descriptor() {
    if !has("flock") {
        return;
    }
    let scratch = Scratch::new();
    let path = scratch.lock();
    std::fs::write(&path, "").expect("written");
    // flock(1) takes the lock for the shell: the taker has ended, and the shell keeps the lock.
    let _dog = watchdog::watch(60);
    let lock = FileLock::open(&path).expect("opens");
    let mut command = Command::new("sh");
    command.args(["-c", SHELL, "sh"]).arg(&path);
    let mut partner = Actor::from_command(command);
    partner.must("lock");
    let error = lock.try_lock().expect_err("they hold it");
    let holders = error.conflict().expect("a conflict").holders().to_vec();
    assert!(
        holders.iter().any(|holder| holder.pid == partner.pid()),
        "the shell that keeps it: {holders:?}"
    );
    partner.must("release");
    let guard = lock.lock().expect("free");
    partner.tell("lock");
    queue::eventually("flock(1) queues", || queue::waiters(&path).len() == 1);
    drop(guard);
    assert_eq!(partner.answer(), "ok");
}

const PYTHON: &str = r#"
import fcntl, sys
file = open(sys.argv[1])
print("ready", flush=True)
for order in sys.stdin:
    fcntl.flock(file, {"lock": fcntl.LOCK_EX, "release": fcntl.LOCK_UN}[order.strip()])
    print("ok", flush=True)
"#;

#[test]
fn python_fcntl_flock() {
    if !has("python3") {
        return;
    }
    let scratch = Scratch::new();
    let path = scratch.lock();
    std::fs::write(&path, "").expect("written");
    both_ways(&path, || {
        let mut command = Command::new("python3");
        command.args(["-c", PYTHON]).arg(&path);
        Actor::from_command(command)
    });
}

/// Runs the class of the document with which this project began, from the document itself.
const SEED: &str = r#"
import sys
text = open(sys.argv[1], encoding="utf-8").read()
program = text.split("```text\n", 1)[1].split("\n```", 1)[0]
names = {"__name__": "seed"}
exec(program.split("\ndef get_int", 1)[0], names)
lock = names["FileLock"](sys.argv[2])
print("ready", flush=True)
for order in sys.stdin:
    {"lock": lock.lock, "release": lock.unlock}[order.strip()]()
    print("ok", flush=True)
"#;

#[test]
fn the_class_of_the_document_this_began_with() {
    if !has("python3") {
        return;
    }
    let beside = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../../shared/seed/filelock-post.txt"
    );
    let document = std::env::var_os("HOLDLOCK_SEED").map_or(PathBuf::from(beside), PathBuf::from);
    if !document.exists() {
        return skipped("the seed document is not here; HOLDLOCK_SEED names its file");
    }
    let scratch = Scratch::new();
    let path = scratch.lock();
    both_ways(&path, || {
        let mut command = Command::new("python3");
        command.args(["-c", SEED]).arg(&document).arg(&path);
        Actor::from_command(command)
    });
}

#[test]
fn the_two_families_do_not_see_each_other_but_ofd_and_posix_do() {
    if !has("python3") {
        return;
    }
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let flock = FileLock::open(&path).expect("opens");
    let ofd = holdlock::LockOptions::new()
        .family(holdlock::Family::Ofd)
        .open(&path)
        .expect("opens");
    let _first = flock.lock().expect("locked");
    let second = ofd.try_lock().expect("another family");
    let posix = || {
        let mut python = Command::new("python3")
            .args(["-c", POSIX])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        python
            .stdin
            .take()
            .expect("piped")
            .write_all(b"\n")
            .expect("told");
        let output = python.wait_with_output().expect("output");
        String::from_utf8(output.stdout).expect("utf-8")
    };
    assert_eq!(posix(), "busy\n");
    drop(second);
    assert_eq!(posix(), "locked\n");
}

const POSIX: &str = r#"
import fcntl, sys
file = open(sys.argv[1], "r+")
try:
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    print("locked")
except OSError:
    print("busy")
"#;

#[test]
fn an_ofd_conflict_names_the_holder_that_the_kernel_does_not() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let actor = env!("CARGO_BIN_EXE_holdlock-actor");
    let mut holder = Actor::start_with(actor, &path, &["ofd"]);
    holder.must("lock");
    let lock = holdlock::LockOptions::new()
        .family(holdlock::Family::Ofd)
        .open(&path)
        .expect("opens");
    let error = lock
        .try_lock_for(Duration::from_millis(20))
        .expect_err("held");
    assert!(
        error.to_string().contains(&format!("pid {}", holder.pid())),
        "{error}"
    );
}
