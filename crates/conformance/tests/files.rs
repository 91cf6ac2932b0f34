//! Lock files of every kind: which files are opened, created, refused, or left alone.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use holdlock::{Error, Family, FileLock, LockOptions};
use holdlock_conformance::{Actor, Scratch, skipped, sys, watchdog};

const ACTOR: &str = env!("CARGO_BIN_EXE_holdlock-actor");
const NOBODY: u32 = 65534;

/// The error of opening, as a message.
fn refused(result: Result<FileLock, Error>) -> String {
    let error = result.expect_err("it should be refused");
    assert!(matches!(error, Error::Open { .. }), "{error}");
    error.to_string()
}

/// The message of another program, which opens the lock as its first act and fails.
fn said(mut command: Command) -> String {
    let output = command.output().expect("runs");
    String::from_utf8(output.stdout).expect("utf-8")
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it exists").permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
}

#[test]
fn a_missing_file_is_created_empty_with_the_umasks_permissions() {
    let scratch = Scratch::new();
    drop(
        FileLock::open(scratch.lock())
            .expect("opens")
            .lock()
            .expect("locked"),
    );
    let metadata = fs::metadata(scratch.lock()).expect("created");
    assert_eq!(metadata.len(), 0);
    let status = fs::read_to_string("/proc/self/status").expect("status");
    let umask = status
        .lines()
        .find_map(|line| line.strip_prefix("Umask:\t"))
        .and_then(|mask| u32::from_str_radix(mask, 8).ok())
        .expect("a umask");
    assert_eq!(mode(&scratch.lock()), 0o666 & !umask);
}

#[test]
fn a_files_content_and_times_are_left_alone() {
    let scratch = Scratch::new();
    let path = scratch.lock();
    fs::write(&path, "precious").expect("written");
    let before = fs::metadata(&path).expect("it exists");
    for family in [Family::Flock, Family::Ofd] {
        let lock = LockOptions::new()
            .family(family)
            .open(&path)
            .expect("opens");
        drop(lock.lock().expect("locked"));
        drop(lock.lock_shared().expect("locked"));
    }
    let after = fs::metadata(&path).expect("it exists");
    assert_eq!(fs::read(&path).expect("readable"), b"precious");
    let times = |m: &fs::Metadata| {
        (
            m.mtime(),
            m.mtime_nsec(),
            m.ctime(),
            m.ctime_nsec(),
            m.mode(),
        )
    };
    assert_eq!(times(&before), times(&after));
}

#[test]
fn an_explicit_mode_is_exact_and_nobody_ever_sees_another() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let seen = std::sync::atomic::AtomicU32::new(0);
    let on = std::sync::atomic::Ordering::Relaxed;
    std::thread::scope(|scope| {
        let observer = scope.spawn(|| {
            while !stop.load(on) {
                if let Ok(metadata) = fs::metadata(&path) {
                    assert_eq!(metadata.permissions().mode() & 0o7777, 0o666);
                    seen.fetch_add(1, on);
                }
            }
        });
        let mut rounds = 0;
        // Until the observer has seen enough files, which takes longer on one processor. It ends
        // early if it has seen a wrong one.
        while (rounds < 300 || seen.load(on) < 300) && !observer.is_finished() {
            let lock = LockOptions::new()
                .permissions(0o666)
                .open(&path)
                .expect("opens");
            drop(lock.lock().expect("locked"));
            fs::remove_file(&path).expect("removed");
            rounds += 1;
        }
        stop.store(true, on);
        observer.join().expect("always the same mode");
    });
}

#[test]
fn an_explicit_mode_does_not_change_a_file_that_exists() {
    let scratch = Scratch::new();
    fs::write(scratch.lock(), "").expect("written");
    set_mode(&scratch.lock(), 0o640);
    let lock = LockOptions::new()
        .permissions(0o666)
        .open(scratch.lock())
        .expect("opens");
    drop(lock.lock().expect("locked"));
    assert_eq!(mode(&scratch.lock()), 0o640);
}

#[test]
fn a_symbolic_link_is_refused_unless_asked_for() {
    let scratch = Scratch::new();
    fs::write(scratch.path("target"), "precious").expect("written");
    symlink(scratch.path("target"), scratch.lock()).expect("linked");
    let message = refused(FileLock::open(scratch.lock()));
    assert!(message.contains("symbolic link"), "{message}");
    let followed = LockOptions::new().follow_symlinks(true);
    let guard_of = followed.open(scratch.lock()).expect("opens");
    let guard = guard_of.lock().expect("locked");
    assert!(guard.is_current().expect("no error"));
    // The target is the lock.
    let mut other = Actor::start(ACTOR, &scratch.path("target"));
    assert!(other.ask("try").starts_with("WouldBlock"));
    assert_eq!(
        fs::read(scratch.path("target")).expect("readable"),
        b"precious"
    );
}

#[test]
fn a_dangling_link_creates_its_target_only_when_followed() {
    let scratch = Scratch::new();
    symlink("sub/target", scratch.lock()).expect("linked");
    fs::create_dir(scratch.path("sub")).expect("made");
    refused(FileLock::open(scratch.lock()));
    assert!(!scratch.path("sub/target").exists());
    let lock = LockOptions::new()
        .follow_symlinks(true)
        .open(scratch.lock());
    drop(lock.expect("opens").lock().expect("locked"));
    assert!(scratch.path("sub/target").exists());
    // A cycle of links is an error and does not hang.
    symlink(scratch.path("cycle"), scratch.path("cycle")).expect("linked");
    refused(
        LockOptions::new()
            .follow_symlinks(true)
            .open(scratch.path("cycle")),
    );
}

#[test]
fn a_link_that_replaces_the_lock_file_later_is_refused() {
    let scratch = Scratch::new();
    let path = scratch.lock();
    let lock = FileLock::open(&path).expect("opens");
    drop(lock.lock().expect("locked"));
    fs::remove_file(&path).expect("removed");
    fs::write(scratch.path("target"), "").expect("written");
    symlink(scratch.path("target"), &path).expect("linked");
    assert!(matches!(lock.lock(), Err(Error::Open { .. })));
}

#[test]
fn a_fifo_does_not_hang_and_is_a_lock() {
    let _dog = watchdog::watch(30);
    let scratch = Scratch::new();
    let made = Command::new("mkfifo").arg(scratch.lock()).status();
    assert!(made.expect("mkfifo").success());
    let lock = FileLock::open(scratch.lock()).expect("opens");
    let _guard = lock.lock().expect("locked");
    let mut other = Actor::start(ACTOR, &scratch.lock());
    assert!(other.ask("try").starts_with("WouldBlock"));
}

#[test]
fn a_directory_is_a_lock() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("d")).expect("made");
    for path in [scratch.path("d"), scratch.path("d/")] {
        let lock = FileLock::open(path).expect("opens");
        let _guard = lock.lock().expect("locked");
        let mut other = Actor::start(ACTOR, &scratch.path("d"));
        assert!(other.ask("try").starts_with("WouldBlock"));
    }
    // A directory cannot be opened for writing, which an exclusive OFD lock needs.
    let lock = LockOptions::new()
        .family(Family::Ofd)
        .open(scratch.path("d"))
        .expect("opens");
    drop(lock.lock_shared().expect("reading is enough"));
    let error = lock.lock().expect_err("a directory cannot be written");
    assert!(error.to_string().contains("writing"), "{error}");
}

#[test]
fn a_socket_and_a_strange_path_are_clear_errors() {
    let scratch = Scratch::new();
    let _socket = std::os::unix::net::UnixListener::bind(scratch.path("socket")).expect("bound");
    let message = refused(FileLock::open(scratch.path("socket")));
    assert!(message.contains("socket"), "{message}");
    refused(FileLock::open(""));
    refused(FileLock::open("a\0b"));
    refused(FileLock::open(scratch.path(&"n".repeat(300))));
    refused(FileLock::open(scratch.path("missing/")));
    fs::write(scratch.path("file"), "").expect("written");
    let message = refused(FileLock::open(scratch.path("file/a.lock")));
    assert!(message.contains("not a directory"), "{message}");
}

#[test]
fn names_with_odd_bytes_work() {
    use std::os::unix::ffi::OsStrExt;
    let scratch = Scratch::new();
    for name in [
        &b"\xff\xfe new\nline"[..],
        b" ",
        b"-n",
        b"\x1b[31m",
        b"a (deleted)",
    ] {
        let path = scratch.path("").join(std::ffi::OsStr::from_bytes(name));
        let lock = FileLock::open(&path).expect("opens");
        let guard = lock.lock().expect("locked");
        assert!(guard.is_current().expect("no error"));
        let mut other = Actor::start(ACTOR, &path);
        other.tell("try");
        assert!(other.answer().starts_with("WouldBlock"));
    }
}

#[test]
fn a_missing_directory_is_an_error_or_is_made() {
    let scratch = Scratch::new();
    let path = scratch.path("x/y/a.lock");
    let message = refused(FileLock::open(&path));
    assert!(message.contains("create its directory"), "{message}");
    let lock = LockOptions::new()
        .create_parents(true)
        .open(&path)
        .expect("opens");
    drop(lock.lock().expect("locked"));
    fs::remove_dir_all(scratch.path("x")).expect("removed");
    drop(lock.lock().expect("made anew"));
    assert!(path.exists());
}

/// There the kernel says that the file is missing, or that permission is denied, even to root.
#[test]
fn where_the_kernel_creates_no_files_the_message_says_so_at_once() {
    let _dog = watchdog::watch(30);
    let (proc, sys) = ("/proc/self/a.lock", "/sys/a.lock");
    for (path, makes_parents, file_system) in [
        (proc, false, "proc"),
        (proc, true, "proc"),
        (sys, false, "sysfs"),
        (sys, true, "sysfs"),
        ("/proc/self/x/y/a.lock", true, "proc"),
        ("/sys/x/y/a.lock", true, "sysfs"),
    ] {
        let options = LockOptions::new().create_parents(makes_parents);
        let before = Instant::now();
        let message = refused(options.open(path));
        let expected = format!(
            "{path}: cannot open the lock file: no file can be created there (file system: \
             {file_system}); use another directory"
        );
        assert_eq!(message, expected);
        // A request that blames other programs tries for ten seconds.
        assert!(before.elapsed() < Duration::from_secs(8), "{path}");
    }
}

/// The actor as a user without privileges. The test needs root for that.
fn as_nobody(path: &Path) -> Option<Command> {
    if !sys::is_root() {
        skipped("only root can become another user");
        return None;
    }
    // The build directory may be closed to others.
    let program = path.with_file_name("actor");
    // Another process copies it: processes that other tests start at the same moment would inherit
    // a descriptor of ours that is open for writing, and the program would be "busy".
    let copied = Command::new("cp").arg(ACTOR).arg(&program).status();
    assert!(copied.expect("cp").success());
    set_mode(&program, 0o755);
    set_mode(path.parent().expect("a directory"), 0o755);
    let mut command = Command::new(program);
    command.arg(path).uid(NOBODY).gid(NOBODY);
    Some(command)
}

#[test]
fn a_read_only_file_of_another_user_can_be_locked() {
    let _dog = watchdog::watch(30);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let lock = FileLock::open(&path).expect("opens");
    set_mode(&path, 0o644);
    let Some(command) = as_nobody(&path) else {
        return;
    };
    let mut other = Actor::from_command(command);
    other.must("lock");
    let error = lock.try_lock().expect_err("held");
    let holders = error.conflict().expect("a conflict").holders();
    assert_eq!(holders[0].pid, other.pid());
    assert_ne!(holders[0].user.as_deref(), Some("root"));
    drop(other);
    // The same for a file that may be written but not read.
    set_mode(&path, 0o222);
    let command = as_nobody(&path).expect("root");
    Actor::from_command(command).must("lock");
}

#[test]
fn a_file_that_may_be_neither_read_nor_written_is_a_clear_error() {
    let scratch = Scratch::new();
    let path = scratch.lock();
    fs::write(&path, "").expect("written");
    set_mode(&path, 0o600);
    let Some(command) = as_nobody(&path) else {
        return;
    };
    let message = said(command);
    assert!(message.starts_with("Open"), "{message}");
    assert!(message.contains(path.to_str().expect("utf-8")), "{message}");
    assert!(message.contains("permission"), "{message}");
}

#[test]
fn an_exclusive_ofd_lock_on_a_read_only_file_is_a_clear_error() {
    let _dog = watchdog::watch(30);
    let scratch = Scratch::new();
    let path = scratch.lock();
    fs::write(&path, "").expect("written");
    set_mode(&path, 0o644);
    let Some(mut command) = as_nobody(&path) else {
        return;
    };
    command.arg("ofd");
    let mut other = Actor::from_command(command);
    other.must("try-shared");
    other.must("release");
    let message = other.ask("try");
    assert!(message.starts_with("System"), "{message}");
    assert!(
        message.contains("allow this process to write it"),
        "{message}"
    );
}

#[test]
fn another_users_file_in_a_sticky_directory_opens_under_protected_regular() {
    let _dog = watchdog::watch(30);
    let scratch = Scratch::new();
    let setting = Path::new("/proc/sys/fs/protected_regular");
    let before = fs::read_to_string(setting).unwrap_or_default();
    if !sys::is_root() || fs::write(setting, "2").is_err() {
        return skipped("needs root and a writable fs.protected_regular");
    }
    let restore = Restore(setting, before);
    fs::create_dir(scratch.path("tmp")).expect("made");
    let path = scratch.path("tmp/a.lock");
    fs::write(&path, "").expect("written");
    set_mode(&path, 0o666);
    std::os::unix::fs::chown(&path, Some(NOBODY), Some(NOBODY)).expect("chown");
    set_mode(scratch.path("").as_path(), 0o755);
    set_mode(&scratch.path("tmp"), 0o1777);
    // O_CREAT on this file is EACCES now, even for root.
    let plain = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path);
    assert_eq!(
        plain.expect_err("protected").raw_os_error(),
        Some(libc::EACCES)
    );
    drop(
        FileLock::open(&path)
            .expect("opens")
            .lock()
            .expect("locked"),
    );
    drop(restore);
}

struct Restore(&'static Path, String);

impl Drop for Restore {
    fn drop(&mut self) {
        fs::write(self.0, &self.1).expect("the setting as it was");
    }
}

/// Mounts a small file system by `mount`, makes a file `old` there, and lets one actor lock that
/// file and another actor create `new`. Returns both answers; `None` if mounting is not allowed.
fn on_a_small_file_system(mount: &str) -> Option<Vec<String>> {
    let scratch = Scratch::new();
    let script = format!(
        r#"
        {mount} || exit 9
        "$2" "$1/old" < "$1/../orders"
        "$2" "$1/new" < /dev/null
        "#
    );
    fs::create_dir(scratch.path("small")).expect("made");
    fs::write(scratch.path("orders"), "lock\nrelease\n").expect("written");
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", &script, "sh"])
        .arg(scratch.path("small"))
        .arg(ACTOR)
        .output();
    match output {
        Ok(output) if output.status.code() != Some(9) && !output.stdout.is_empty() => {
            let text = String::from_utf8(output.stdout).expect("utf-8");
            Some(text.lines().map(str::to_owned).collect())
        }
        _ => {
            skipped("needs the right to mount (unshare --mount)");
            None
        }
    }
}

#[test]
fn on_a_full_disk_existing_files_are_locked_and_new_ones_are_a_clear_error() {
    let _dog = watchdog::watch(30);
    let mount = r#"mount -t tmpfs -o size=4k,nr_inodes=2 none "$1" && echo held > "$1/old""#;
    let Some(said) = on_a_small_file_system(mount) else {
        return;
    };
    assert_eq!(said[..3], ["ready", "ok", "ok"], "{said:?}");
    assert!(said[3].starts_with("Open"), "{said:?}");
    assert!(said[3].contains("there is no space"), "{said:?}");
}

#[test]
fn on_a_read_only_file_system_existing_files_are_locked_and_new_ones_are_a_clear_error() {
    let _dog = watchdog::watch(30);
    let mount = r#"mount -t tmpfs none "$1" && : > "$1/old" && mount -o remount,ro "$1""#;
    let Some(said) = on_a_small_file_system(mount) else {
        return;
    };
    assert_eq!(said[..3], ["ready", "ok", "ok"], "{said:?}");
    assert!(said[3].contains("Read-only"), "{said:?}");
}

#[test]
fn no_descriptors_left_is_a_clear_error_and_an_open_lock_still_works() {
    let _dog = watchdog::watch(30);
    let scratch = Scratch::new();
    let with_limit = |limit: &str, orders: &str| {
        fs::write(scratch.path("orders"), orders).expect("written");
        let mut command = Command::new(ACTOR);
        command
            .arg(scratch.lock())
            .arg(limit)
            .stdin(fs::File::open(scratch.path("orders")).expect("opens"));
        said(command)
    };
    let message = with_limit("fds=3", "");
    assert!(message.starts_with("Open"), "{message}");
    assert!(message.contains("ulimit -n"), "{message}");
    let message = with_limit("fds=4", "lock\nrelease\nfor 10\nrelease\n");
    assert_eq!(message, "ready\nok\nok\nok\nok\n");
    // The holders cannot be found now, but the conflict is reported.
    let _holder = Actor::holding(ACTOR, &scratch.lock());
    let message = with_limit("fds=4", "try\nfor 10\n");
    assert!(message.contains("WouldBlock"), "{message}");
    assert!(message.contains("TimedOut"), "{message}");
}

#[test]
fn many_locks_are_open_at_once_and_close_again() {
    let scratch = Scratch::new();
    let open = || fs::read_dir("/proc/self/fd").expect("proc").count();
    let before = open();
    let locks: Vec<FileLock> = (0..400)
        .map(|number| FileLock::open(scratch.path(&format!("{number}.lock"))).expect("opens"))
        .collect();
    let guards: Vec<_> = locks
        .iter()
        .map(|lock| lock.lock().expect("locked"))
        .collect();
    drop(guards);
    drop(locks);
    // Other tests of this program open files at the same time, but not hundreds.
    assert!(open() < before + 100);
}
