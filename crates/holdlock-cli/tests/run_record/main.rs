//! `holdlock run` with the record of the lock: tokens, holders that died, notes.

mod interval;
#[path = "../support/mod.rs"]
mod support;

use std::fs;

use holdlock_test_support::skipped;
use rustix::process::{Pid, Signal, kill_process};
use support::{Finished, Place, Running};

/// Prints the token and the news.
const PRINT: &str = "echo ${HOLDLOCK_TOKEN-none} ${HOLDLOCK_ABANDONED-none}";

fn told(done: &Finished) -> (u64, &str) {
    assert_eq!(done.code(), 0, "{done:?}");
    let (token, abandoned) = done.text().trim_end().split_once(' ').unwrap();
    (token.parse().unwrap_or(0), abandoned)
}

fn print(place: &Place, lock: &str) -> Finished {
    place.run(["run", lock, "--", "sh", "-c", PRINT])
}

/// A run that was killed while it held the lock.
fn kill_a_holder(place: &Place, options: &[&str]) -> u32 {
    let holder = place.hold(options);
    let pid = holder.pid();
    holder.signal(Signal::KILL);
    holder.finish();
    pid
}

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
fn a_file_with_data_is_never_written() {
    let place = Place::new();
    let data = place.join("data");
    for content in ["precious\n".to_owned(), "x".repeat(1024), "x".repeat(5000)] {
        fs::write(&data, &content).unwrap();
        assert_eq!(told(&print(&place, "./data")), (0, "none"));
        assert_eq!(fs::read_to_string(&data).unwrap(), content);
        for option in ["--note=x", "--if-abandoned=run", "--at-most-every=1h"] {
            let done = place.run(["run", option, "./data", "--", "echo", "ran"]);
            assert_eq!((done.code(), done.text()), (66, ""), "{option}");
            assert!(done.stderr.contains("not a record"), "{}", done.stderr);
        }
        assert_eq!(fs::read_to_string(&data).unwrap(), content);
    }
    // The command makes the lock file its data.
    fs::remove_file(&data).unwrap();
    let write = "echo of the command > data";
    let done = place.run(["run", "./data", "--", "sh", "-c", write]);
    assert_eq!((done.code(), done.stderr.as_str()), (0, ""));
    assert_eq!(fs::read_to_string(&data).unwrap(), "of the command\n");
    // Also while another run waits, which then goes on without a record.
    fs::remove_file(&data).unwrap();
    let mut first = place.hold(&["./data"]);
    let words = ["run", "./data", "--", "sh", "-c", PRINT];
    let waiter = Running::start(place.holdlock(words));
    waiter.expect_waiting();
    fs::write(&data, "of another program").unwrap();
    first.let_go();
    assert_eq!(first.finish().code(), 0);
    assert_eq!(told(&waiter.finish()), (0, "none"));
    assert_eq!(fs::read_to_string(&data).unwrap(), "of another program");
}

#[test]
fn a_run_without_a_higher_token_says_so_only_where_it_needs_one() {
    let place = Place::new();
    let lines = "holdlock record 1\ntoken: 4611686018427387903\n\
                 since: 2026-01-02T03:04:05.000006Z 7.000008 0\npid: 1\nstate: released\n";
    let content = interval::sealed(lines);
    fs::write(place.join("x"), &content).unwrap();
    assert_eq!(told(&print(&place, "./x")), (0, "none"));
    let words = ["run", "--at-most-every=1h", "./x", "--", "sh", "-c", PRINT];
    let done = place.run(words);
    assert_eq!((done.code(), done.text()), (66, ""), "{done:?}");
    assert!(
        done.stderr.contains("remove the file while nobody uses")
            && done.stderr.contains("(--at-most-every needs it)"),
        "{}",
        done.stderr
    );
    assert_eq!(fs::read_to_string(place.join("x")).unwrap(), content);
    fs::remove_file(place.join("x")).unwrap();
    assert!(told(&place.run(words)).0 > 0);
}

#[test]
fn a_file_for_the_output_of_the_command_gets_no_record() {
    let place = Place::new();
    for stream in [">", ">>", "2>"] {
        let script = match stream {
            "2>" => "rm -f out; $HOLDLOCK run ./out -- sh -c 'echo data >&2' 2>out".to_owned(),
            to => format!("rm -f out; $HOLDLOCK run ./out -- echo data {to}out"),
        };
        let done = Running::start(place.shell(&script)).finish();
        assert_eq!(done.code(), 0, "{done:?}");
        assert_eq!(fs::read_to_string(place.join("out")).unwrap(), "data\n");
    }
}

#[test]
fn a_limit_of_file_sizes_stops_no_run() {
    let place = Place::new();
    for lock in ["./new", "./old"] {
        place.run(["run", "./old", "--", "true"]);
        let script = format!("ulimit -f 0; exec $HOLDLOCK run {lock} -- sh -c '{PRINT}'");
        let done = Running::start(place.shell(&script)).finish();
        assert_eq!(told(&done), (0, "none"));
    }
}

#[test]
fn an_option_that_needs_a_record_says_so_where_none_can_be_written() {
    let place = Place::new();
    let needs = |option: &str, words: &[&str]| {
        let mut words = words.to_vec();
        words.extend(["--", "true"]);
        let done = place.run(words);
        let why = format!("({option} needs it)");
        assert!(done.stderr.contains(&why), "{}", done.stderr);
        assert!(done.stderr.contains("cannot keep a record"), "{done:?}");
        done
    };
    fs::write(place.join("data"), "mine").unwrap();
    needs("--note", &["run", "--note", "x", "./data"]);
    needs(
        "--at-most-every",
        &["run", "--at-most-every", "1h", "./data"],
    );
    needs(
        "--if-abandoned",
        &["run", "--if-abandoned", "run", "./data"],
    );
    // Seems to be empty, and what is written there changes the system.
    let done = needs("--note", &["run", "--note", "x", "/proc/self/projid_map"]);
    assert!(done.stderr.contains("none in /proc"), "{}", done.stderr);
    let done = place.run(["run", "/proc/self/projid_map", "--", "echo", "ran"]);
    assert_eq!((done.code(), done.text()), (0, "ran\n"));
}

#[test]
fn on_a_read_only_file_system_a_run_has_no_record_and_says_which_option_needs_one() {
    let place = Place::new();
    fs::create_dir(place.join("mount")).unwrap();
    let run = |options: &str| {
        let script = format!(
            "mount -t tmpfs none mount && : >mount/lock && mount -o remount,ro mount || exit 99
             exec \"$HOLDLOCK\" run {options} ./mount/lock -- echo ran"
        );
        let mut command = place.command("unshare");
        command.args(["--mount", "sh", "-c", &script]);
        Running::start(command).finish()
    };
    let done = run("");
    if done.code() == 99 || done.stderr.contains("unshare failed") {
        return skipped("needs root's rights and unshare(1)");
    }
    assert_eq!((done.code(), done.text()), (0, "ran\n"), "{done:?}");
    let done = run("--note x");
    assert_eq!((done.code(), done.text()), (73, ""), "{done:?}");
    assert!(
        done.stderr
            .contains("Read-only file system; use a lock file")
            && done.stderr.contains("(--note needs it)"),
        "{}",
        done.stderr
    );
}

#[test]
fn a_missing_file_that_cannot_be_created_is_told_from_a_missing_directory() {
    let place = Place::new();
    for (lock, remedy) in [
        ("/proc/no-such", "no file can be created in its directory"),
        ("/proc/no-such/lock", "create its directory"),
    ] {
        let done = place.run(["run", lock, "--", "true"]);
        assert_eq!(done.code(), 73, "{done:?}");
        assert!(done.stderr.contains(remedy), "{}", done.stderr);
    }
}

#[test]
fn the_run_after_a_holder_that_died_is_told_once() {
    let place = Place::new();
    let pid = kill_a_holder(&place, &["--note", "half\x1bdone", "x"]);
    let done = print(&place, "x");
    assert_eq!(told(&done).1, "1");
    assert!(
        done.stderr
            .contains(&format!("the last holder, pid {pid} ("))
            && done.stderr.contains(r"half\u{1b}done")
            && done.stderr.contains("died without releasing"),
        "{}",
        done.stderr
    );
    assert_eq!(told(&print(&place, "x")).1, "none");
    kill_a_holder(&place, &["x"]);
    let quiet = place.run(["run", "-q", "x", "--", "sh", "-c", PRINT]);
    assert_eq!((told(&quiet).1, quiet.stderr.as_str()), ("1", ""));
}

#[test]
fn a_command_that_a_signal_ended_counts_as_a_death_and_one_that_ended_itself_does_not() {
    let place = Place::new();
    let after = |script: &str| {
        let words = ["run", "-q", "x", "--", "sh", "-c", script];
        Running::start(place.holdlock(words)).finish();
        print(&place, "x")
    };
    let done = after("kill -9 $$");
    assert_eq!(told(&done).1, "1");
    assert!(done.stderr.contains("by signal 9"), "{}", done.stderr);
    assert_eq!(told(&after("exit 3")).1, "none");

    // A service that was asked to end, and did.
    let script = "trap 'exit 0' TERM; echo ready; while :; do read line; done";
    let mut command = place.holdlock(["run", "x", "--", "sh", "-c", script]);
    command.stdin(std::process::Stdio::piped());
    let mut service = Running::start_with_stdin(command);
    service.expect_line("ready");
    service.signal(Signal::TERM);
    service.let_go();
    assert_eq!(service.finish().code(), 0);
    assert_eq!(told(&print(&place, "x")).1, "none");
}

#[test]
fn what_follows_a_death_is_for_the_user_to_say() {
    let place = Place::new();
    kill_a_holder(&place, &["x"]);
    let run = |action: &str| {
        place.run([
            "run",
            "--if-abandoned",
            action,
            "x",
            "--",
            "sh",
            "-c",
            PRINT,
        ])
    };
    // Each one is told, until one has cleaned up.
    for action in ["fail", "fail", "echo no; exit 7", "fail"] {
        let done = run(action);
        assert_eq!(done.code(), 76, "{done:?}");
        assert!(!done.text().contains("none"), "{done:?}");
        assert!(done.stderr.contains("died without"), "{}", done.stderr);
    }
    let done = run("echo cleaned $HOLDLOCK_ABANDONED");
    assert_eq!(done.code(), 0);
    let lines: Vec<&str> = done.text().lines().collect();
    assert_eq!(lines[0], "cleaned 1");
    assert!(lines[1].ends_with(" 1"), "{lines:?}");
    for action in ["fail", "echo cleaned"] {
        assert_eq!(told(&run(action)).1, "none");
    }
    // A cleaner that a signal ends has cleaned nothing up.
    kill_a_holder(&place, &["x"]);
    assert_eq!(run("kill -9 $$").code(), 137);
    assert_eq!(told(&run("run")).1, "1");
}

#[test]
fn a_run_that_starts_nothing_leaves_the_news_to_the_next_one() {
    let place = Place::new();
    kill_a_holder(&place, &["x"]);
    for _ in 0..2 {
        let done = place.run(["run", "x", "--", "./no-such-command"]);
        assert_eq!(done.code(), 127, "{done:?}");
        assert!(done.stderr.contains("died without"), "{}", done.stderr);
    }
    for _ in 0..2 {
        let done = place.run(["run", "--exec", "x", "--", "./no-such-command"]);
        assert_eq!(done.code(), 127, "{done:?}");
        assert!(done.stderr.contains("died without"), "{}", done.stderr);
    }
    // The shell that cleans up is not found.
    let mut command = place.holdlock(["run", "--if-abandoned", "true", "x", "--", "/bin/true"]);
    command.env("PATH", place.join("empty"));
    let done = Running::start(command).finish();
    assert_eq!(done.code(), 127, "{done:?}");
    assert_eq!(told(&print(&place, "x")).1, "1");
    assert_eq!(told(&print(&place, "x")).1, "none");
}

#[test]
fn signals_reach_the_command_also_after_a_cleaning_up() {
    let place = Place::new();
    kill_a_holder(&place, &["x"]);
    let blocked = ["grep", "SigBlk", "/proc/self/status"];
    let clean = blocked.join(" ");
    let words = ["run", "--if-abandoned", &clean, "x", "--"];
    let done = place.run([&words[..], &blocked].concat());
    let masks: Vec<&str> = done.text().lines().collect();
    assert_eq!(masks.len(), 2, "{done:?}");
    assert_eq!(masks[0], masks[1]);
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
