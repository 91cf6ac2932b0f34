//! Paths and process names may have any bytes.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::Command;

use holdlock::{FileLock, inspect};
use holdlock_conformance::{Actor, Scratch, watchdog};

use crate::tools::{STRANGER, holder_pids, one_file, one_holder, stranger};

#[test]
fn strange_paths_are_reported_exactly() {
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
fn the_title_of_a_process_is_one_printable_line() {
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
    // Its name does not disturb the fields behind it in /proc/PID/stat.
    assert_eq!(process.parent, Some(std::process::id()));
    assert!(process.started.is_some() && process.state.is_some());
}

/// Characters for: a title, a new line, another direction, a byte that is not UTF-8, C1, no width,
/// a tag.
const ODD: &[u8] =
    b"\x1b]0;p\x07\nheld by nobody\xe2\x80\xae\xff\xc2\x9b\xe2\x80\x8b\xf3\xa0\x81\x81\x7f";
const SHOWN: &str = r"\u{1b}]0;p\u{7}\nheld by nobody\u{202e}\xff\u{9b}\u{200b}\u{e0041}\u{7f}";

#[test]
fn messages_are_one_printable_line_whatever_the_file_is_called() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let name = |first: &str| OsStr::from_bytes(&[first.as_bytes(), ODD].concat()).to_owned();
    let [one, two] = ["a", "b"].map(|first| scratch.path("").join(name(first)));
    let mut holder = stranger(&[&one, &two]);
    holder.must("flock 0 ex");
    let conflict = FileLock::open(&one).expect("opens").try_lock().err();
    let conflict = conflict.expect("it is held");
    let message = conflict.to_string();
    let path = scratch.path("").join("a").display().to_string() + SHOWN;
    assert!(message.starts_with(&format!("{path}: ")), "{message}");
    assert!(
        message.contains(&format!("locked by pid {} ", holder.pid())),
        "{message}"
    );
    assert_eq!(format!("{path}: {conflict:#}"), message, "without the path");

    let mut other = stranger(&[&one, &two]);
    other.must("flock 1 ex");
    holder.must_block("flock 1 ex", &two);
    other.must_block("flock 0 ex", &one);
    let ours = |cycle: &&inspect::Deadlock| {
        cycle
            .steps
            .iter()
            .any(|step| step.path.as_ref() == Some(&one))
    };
    // While other locks come and go, a reading may miss one.
    let cycle = holdlock_test_support::wait_for("the deadlock to be found", || {
        let found = inspect::host().expect("/proc is there").deadlocks();
        found.iter().find(ours).map(ToString::to_string)
    });
    assert!(cycle.matches(SHOWN).count() >= 2, "{cycle}");
    for text in [message, cycle] {
        assert!(
            !text.contains(|c: char| c.is_control() || !c.is_ascii() && c != '…'),
            "{text}"
        );
    }
    // A path that is too long to read is shortened, and keeps its end.
    let deep = format!("/{}/end.lock", "missing/".repeat(100));
    let missing = FileLock::open(&deep).expect_err("no directory").to_string();
    assert!(
        missing.contains("…") && missing.contains("/end.lock: cannot open"),
        "{missing}"
    );
}
