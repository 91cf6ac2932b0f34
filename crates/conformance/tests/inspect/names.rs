//! Paths and process names may be anything.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::Command;

use holdlock_conformance::{Actor, Scratch, watchdog};

use crate::tools::{STRANGER, holder_pids, one_file, one_holder, stranger};

#[test]
fn strange_paths_are_told_as_they_are() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let deep: PathBuf = std::iter::repeat_n("d".repeat(200), 15).collect();
    std::fs::create_dir_all(scratch.path("").join(&deep)).expect("made");
    let names: [&[u8]; 6] = [
        b"two\nlines",
        b"not \xff utf-8 \xc3",
        b"\x1b[2J",
        b"back\\012slash \\",
        b" (deleted)",
        b"tab\there",
    ];
    let mut paths: Vec<PathBuf> = names
        .iter()
        .map(|name| scratch.path("").join(OsStr::from_bytes(name)))
        .collect();
    paths.push(scratch.path("").join(deep).join("a.lock"));
    for path in &paths {
        let mut holder = stranger(&[path]);
        for order in ["flock 0 ex", "ofd 0 ex"] {
            holder.must(order);
            let file = one_file(path);
            assert_eq!(file.path.as_ref(), Some(path));
            assert!(!file.removed, "{path:?}");
            assert_eq!(holder_pids(&file), [holder.pid()]);
            holder.must(&order.replace("ex", "un"));
        }
        holder.must("flock 0 ex");
        std::fs::remove_file(path).expect("removed");
        let file = one_file(path);
        assert!(file.removed, "{path:?}");
        assert_eq!(file.path.as_ref(), Some(path));
    }
}

#[test]
fn what_a_process_calls_itself_is_one_printable_line() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let (path, program) = (scratch.lock(), scratch.path("a) S\n\x1b[31mred"));
    let copied = Command::new("cp").arg(STRANGER).arg(&program).status();
    assert!(copied.expect("cp").success());
    let odd = scratch.path(&format!("\u{7}\u{9b}\u{202e}{}", "long".repeat(60)));
    let mut command = Command::new(&program);
    command.arg(&path).arg(odd);
    let mut holder = Actor::from_command(command);
    holder.must("flock 0 ex");
    let file = one_file(&path);
    let process = &one_holder(&file).process;
    let name = process.command.as_deref().expect("a command");
    assert!(!name.contains(char::is_control), "{name:?}");
    assert!(!name.contains('\u{202e}'), "{name:?}");
    assert!(name.contains("red") && name.ends_with('…'), "{name:?}");
    assert!(name.chars().count() <= 121, "{name:?}");
    assert!(!process.to_string().contains(char::is_control));
    // Its name does not disturb what stands behind it in /proc/PID/stat.
    assert_eq!(process.parent, Some(std::process::id()));
    assert!(process.started.is_some() && process.state.is_some());
}
