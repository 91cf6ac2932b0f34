//! What the command and other users see of the record: tokens and notes.

use std::mem::MaybeUninit;

use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};
use rustix::process::{Pid, Signal, kill_process};

use crate::runs::{PRINT, print, told};
use crate::support::{Place, Running};

#[test]
fn the_command_gets_a_token_that_rises() {
    let place = Place::new();
    let mut last = 0;
    for lock in ["name", "name", "./path", "./path"] {
        let done = print(&place, lock);
        let (token, abandoned) = told(&done);
        assert!(token > last, "{token} after {last}");
        assert_eq!((abandoned, done.stderr.as_str()), ("none", ""));
        last = token;
    }
    let exec = place.run(["run", "--exec", "name", "--", "sh", "-c", PRINT]);
    assert!(told(&exec).0 > last);
    let after = print(&place, "name");
    assert_eq!(told(&after).1, "none");
    // Of several locks, and of a lock without a record, there is no token: not that of the outer
    // run either.
    let script = format!("$HOLDLOCK run --lock a --lock b -- sh -c '{PRINT}'");
    let done = place.run(["run", "name", "--", "sh", "-c", &script]);
    assert_eq!(told(&done), (0, "none"));
}

#[test]
fn the_note_and_the_time_are_shown_where_the_lock_is_held() {
    let place = Place::new();
    let holder = place.hold(&["--note", "migrating\x1b[2J accounts", "x"]);
    let note = r"migrating\u{1b}[2J accounts";
    let who = place.run(["who", "x"]);
    let pid = holder.pid();
    let line = format!("pid {pid} holds it for ");
    assert!(
        who.text().contains(&line) && who.text().contains(note),
        "{who:?}"
    );
    // The words of the note are not taken for those of the command.
    assert!(!who.text().contains("x -- sh"), "{who:?}");
    let json = place.run(["who", "--json", "x"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    let record = &json["files"][0]["record"];
    assert_eq!(
        (record["pid"].as_u64(), record["note"].as_str()),
        (Some(pid.into()), Some(note))
    );
    assert!(
        record["token"].as_u64() > Some(1_700_000_000_000_000),
        "{record}"
    );
    let list = place.run(["list", "-n", "-o", "held,note", "x"]);
    assert!(
        list.text().contains(" s  ") && list.text().contains(note),
        "{list:?}"
    );
    let conflict = place.run(["run", "-n", "x", "--", "true"]);
    assert_eq!(conflict.code(), 75);
    assert!(
        conflict.stderr.contains(" for ") && conflict.stderr.contains(note),
        "{}",
        conflict.stderr
    );
    let words = ["run", "--progress=always", "-w", "1", "x", "--", "true"];
    let waited = place.run(words);
    let shown = waited.stderr.lines().next().unwrap_or_default();
    assert!(
        shown.contains(" for ") && shown.contains(note),
        "{waited:?}"
    );
    drop(holder);
    // Somebody else has it now: the record is not his.
    let script = "exec 9>>locks/x.lock; flock -n 9 || exit; echo held; read line";
    let mut stranger = Running::start_with_stdin(place.shell(script));
    if stranger.read_line() == "held" {
        let who = place.run(["who", "x"]);
        assert!(!who.text().contains(note), "{who:?}");
        assert_eq!(who.code(), 0);
    }
    kill_process(Pid::from_raw(stranger.pid() as i32).unwrap(), Signal::KILL).unwrap();
}

#[test]
fn a_note_in_any_encoding_is_shown_and_an_empty_one_is_none() {
    let place = Place::new();
    let script = "$HOLDLOCK run --note \"$(printf 'file-\\377.txt')\" ./x -- cat x";
    let done = Running::start(place.shell(script)).finish();
    assert!(
        done.text().contains("\nnote: file-\u{fffd}.txt\n"),
        "{done:?}"
    );
    let done = place.run(["run", "--note", "", "./x", "--", "cat", "x"]);
    assert_eq!(done.code(), 0, "{done:?}");
    assert!(!done.text().contains("\nnote:"), "{done:?}");
}

/// Many may share a lock, and the record is that of an exclusive holder.
#[test]
fn a_list_reads_no_record_for_shared_locks() {
    let place = Place::new();
    assert_eq!(place.run(["run", "--note=n", "./x", "true"]).code(), 0);
    let shared = [(); 2].map(|()| place.hold(&["-s", "./x"]));
    let opens = |words: &[&str]| {
        let watch = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).unwrap();
        add_watch(&watch, place.join("x"), WatchFlags::OPEN).unwrap();
        assert_eq!(place.run(words).code(), 0);
        let mut room = [MaybeUninit::uninit(); 4096];
        Reader::new(watch, &mut room).next().is_ok()
    };
    let list = ["list", "-o", "pid,held,note,token", "./x"];
    assert!(!opens(&list));
    drop(shared);
    let _holder = place.hold(&["--note=n", "./x"]);
    assert!(opens(&list));
}
