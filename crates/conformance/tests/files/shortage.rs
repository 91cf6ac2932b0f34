//! Where space or descriptors are used up, or nothing can be written.

use std::fs;
use std::process::Command;

use holdlock::FileLock;
use holdlock_conformance::{Actor, Scratch, skipped, watchdog};

use crate::{ACTOR, said};

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
