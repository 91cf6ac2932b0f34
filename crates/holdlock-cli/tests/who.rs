//! `holdlock who`: the holders and the waiters of a lock.

mod support;

use rustix::process::Signal;
use serde_json::Value;
use support::peers::{container, has, python, skipped};
use support::terminal::Terminal;
use support::{Place, Running, is_gone, wait_for};

/// The words of the line that begins with this text.
fn words(text: &str, start: &str) -> Vec<String> {
    let line = text
        .lines()
        .find(|line| line.trim_start().starts_with(start));
    let line = line.unwrap_or_else(|| panic!("no line {start:?} in\n{text}"));
    line.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn a_held_lock_is_0_and_a_free_or_missing_one_is_1() {
    let place = Place::new();
    let finished = place.run(["who", "L"]);
    let path = place.locks().join("L.lock").display().to_string();
    assert_eq!(finished.code(), 1);
    assert_eq!(
        finished.text(),
        format!("{path}: free, there is no such file\n")
    );
    let holder = place.hold(&["L"]);
    assert_eq!(place.run(["who", "L"]).code(), 0);
    let quiet = place.run(["who", "-q", "L"]);
    assert_eq!(
        (quiet.code(), quiet.text(), quiet.stderr.as_str()),
        (0, "", "")
    );
    let by_path = place.run(["who", "./locks/L.lock"]);
    assert_eq!(by_path.code(), 0);
    holder.finish();
    let finished = place.run(["who", "L"]);
    assert_eq!(
        (finished.code(), finished.text()),
        (1, format!("{path}: free\n").as_str())
    );
}

#[test]
fn wrong_usage_is_64_and_an_unknown_state_is_2() {
    let place = Place::new();
    std::fs::write(place.join("file"), "").unwrap();
    for (words, code) in [
        (&["who"][..], 64),
        (&["who", "L", "M"], 64),
        (&["who", "--no-such-option", "L"], 64),
        (&["who", ""], 64),
        (&["who", "--yes", "L"], 64),
        (&["who", "--system", "./L"], 64),
        (&["who", "./file/below"], 2),
    ] {
        let finished = place.run(words);
        assert_eq!(finished.code(), code, "{words:?}");
        assert!(finished.stderr.starts_with("holdlock: "), "{finished:?}");
        assert!(!finished.stderr.contains("os error"), "{finished:?}");
    }
    let finished = Running::start(place.shell("\"$HOLDLOCK\" who L > /dev/full")).finish();
    assert_eq!(finished.code(), 71);
    assert!(finished.stderr.contains("standard output"), "{finished:?}");
    assert_eq!(place.run(["who", "--help"]).code(), 0);
}

#[test]
fn holder_and_waiters_are_named_in_the_order_of_the_queue() {
    let place = Place::new();
    let holder = place.hold(&["L"]);
    let first = Running::start(place.holdlock(["run", "-s", "L", "true"]));
    first.expect_waiting();
    let second = Running::start(place.holdlock(["run", "L", "true"]));
    second.expect_waiting();
    let finished = wait_for("the job to sleep", || {
        let finished = place.run(["who", "L"]);
        let sleeps = words(finished.text(), "job")[5] == "sleeping";
        sleeps.then_some(finished)
    });
    let text = finished.text();
    assert!(
        text.contains("L.lock: held, exclusive flock; 2 wait\n"),
        "{text}"
    );
    let line = words(text, "holds");
    assert_eq!(line[1], holder.pid().to_string());
    assert_eq!(&line[3..5], ["exclusive", "flock"]);
    let job = words(text, "job");
    assert_eq!(&job[3..6], ["-", "-", "sleeping"], "{text}");
    assert!(text.contains(" sh -c echo held; read line"), "{text}");
    assert!(text.contains("PROCESS STARTED") && line.contains(&"ago".to_owned()));
    let line = words(text, "waits 1");
    assert_eq!(
        (&line[2], line[4].as_str()),
        (&first.pid().to_string(), "shared")
    );
    let line = words(text, "waits 2");
    assert_eq!(
        (&line[2], line[4].as_str()),
        (&second.pid().to_string(), "exclusive")
    );
    assert!(text.contains(" true\n"), "what it will run: {text}");
}

#[test]
fn the_holder_of_a_lock_whose_taker_has_ended_is_named() {
    let place = Place::new();
    let script = "exec 9<&0; sh -c 'echo $$; read line <&9' & exit 0";
    let words = ["run", "--exec", "L", "--", "sh", "-c", script];
    let mut taker = Running::start_with_stdin(place.holdlock(words));
    let heir = taker.read_line();
    let pid = taker.pid();
    wait_for("the taker to end", || is_gone(pid.into()).then_some(()));
    let finished = place.run(["who", "L"]);
    assert_eq!(finished.code(), 0);
    let note = format!("taken by pid {pid}, which has ended; kept by pid {heir}");
    assert!(finished.text().contains(&note), "{}", finished.text());
}

#[test]
fn a_holder_that_the_kernel_does_not_list_in_a_container_is_named() {
    let place = Place::new();
    let Some(mut command) = container(&place) else {
        return;
    };
    if !has("flock") {
        return;
    }
    let script = r#"exec 9>x; flock 9; "$HOLDLOCK" who ./x 9>&-; exit"#;
    command.args(["sh", "-c", script]);
    let finished = Running::start(command).finish();
    let text = finished.text();
    assert!(text.contains("  inherited    1"), "{finished:?}");
    let note = "taken by a process that has ended, or is outside of this container; kept by pid 1";
    assert!(text.contains(note), "{finished:?}");
}

#[test]
fn a_removed_file_that_is_still_held_stands_beside_the_new_one() {
    let place = Place::new();
    let old = place.hold(&["L"]);
    std::fs::remove_file(place.locks().join("L.lock")).unwrap();
    let finished = place.run(["who", "L"]);
    assert_eq!(finished.code(), 0);
    assert!(finished.text().contains("free, there is no such file\n"));
    std::fs::write(place.locks().join("L.lock"), "").unwrap();
    if !has("flock") {
        return;
    }
    let mut flock = place.command("flock");
    flock.args(["locks/L.lock", "sh", "-c", "echo held; read line"]);
    let mut new = Running::start_with_stdin(flock);
    new.expect_line("held");
    let finished = place.run(["who", "--json", "L"]);
    let document: Value = serde_json::from_slice(&finished.stdout).unwrap();
    let holder =
        |at: usize| document["files"][at]["locks"][0]["holders"][0]["process"]["pid"].clone();
    assert_eq!(document["files"][0]["removed"], false);
    assert_eq!(holder(0), new.pid());
    assert_eq!(document["files"][1]["removed"], true);
    assert_eq!(holder(1), old.pid());
    let finished = place.run(["who", "L"]);
    let removed = "a removed file of this name (inode ";
    assert!(finished.text().contains(removed), "{}", finished.text());
}

#[test]
fn locks_that_do_not_exclude_each_other_are_warned_of() {
    if !has("python3") {
        return;
    }
    let place = Place::new();
    let _posix = python(&place, "posix", "x");
    let one = place.run(["who", "./x"]);
    assert_eq!(one.code(), 0);
    assert!(!one.stderr.contains("do not exclude each other"), "{one:?}");
    assert!(
        one.text().contains("10-EOF") || one.text().contains("5-14"),
        "{}",
        one.text()
    );
    let _flock = python(&place, "flock", "x");
    let both = place.run(["who", "./x"]);
    assert!(
        both.stderr.contains("do not exclude each other"),
        "{both:?}"
    );
    assert!(both.text().contains("exclusive posix") && both.text().contains("exclusive flock"));
}

#[test]
fn a_lease_is_shown_and_is_no_lock() {
    if !has("python3") {
        return;
    }
    let place = Place::new();
    let _lease = python(&place, "lease", "x");
    let finished = place.run(["who", "./x"]);
    assert_eq!(finished.code(), 1, "{finished:?}");
    assert!(
        finished.text().contains("free; a lease"),
        "{}",
        finished.text()
    );
}

#[test]
fn the_document_names_holder_and_waiter() {
    let place = Place::new();
    let holder = place.hold(&["-s", "L"]);
    let waiter = Running::start(place.holdlock(["run", "L", "true"]));
    waiter.expect_waiting();
    let finished = place.run(["who", "--json", "L"]);
    let document: Value = serde_json::from_slice(&finished.stdout).unwrap();
    assert_eq!(
        (document["version"].as_u64(), document["held"].as_bool()),
        (Some(1), Some(true))
    );
    assert_eq!(
        document["path"],
        place.locks().join("L.lock").display().to_string()
    );
    assert_eq!(document["exists"], true);
    assert_eq!(document["waited_s"], Value::Null);
    let file = &document["files"][0];
    assert_eq!(file["locks"][0]["mode"], "shared");
    assert_eq!(file["locks"][0]["range"]["end"], Value::Null);
    assert_eq!(
        file["locks"][0]["holders"][0]["process"]["pid"],
        holder.pid()
    );
    assert_eq!(file["waiters"][0]["turn"], 1);
    assert_eq!(file["waiters"][0]["process"]["pid"], waiter.pid());
}

#[test]
fn a_stopped_holder_is_said_to_be_stopped() {
    let place = Place::new();
    let holder = place.hold(&["L"]);
    holder.signal(Signal::STOP);
    let text = wait_for("the holder to be stopped", || {
        let finished = place.run(["who", "L"]);
        finished
            .text()
            .contains("stopped")
            .then(|| finished.text().to_owned())
    });
    assert!(text.contains("STATE"), "{text}");
    holder.signal(Signal::CONT);
}

#[test]
fn what_a_holder_still_waits_for_is_shown_with_its_state() {
    let place = Place::new();
    let script = "sh -c 'echo $$; read line' <&3 & exit 0";
    let mut command = place.shell("exec 3<&0; \"$HOLDLOCK\" run --tree L sh -c \"$0\"");
    command.arg(script);
    let mut holder = Running::start_with_stdin(command);
    let left = holder.read_line();
    wait_for("the command to end, and the other one to sleep", || {
        let finished = place.run(["who", "L"]);
        let lines = finished.text().lines();
        let jobs: Vec<&str> = lines.filter(|line| line.contains("  job ")).collect();
        let [job] = jobs[..] else {
            return None;
        };
        assert_eq!(words(job, "job")[1], left, "{finished:?}");
        job.contains(" sleeping ").then_some(())
    });
    let document = place.run(["who", "-J", "L"]);
    let document: Value = serde_json::from_slice(&document.stdout).unwrap();
    assert_eq!(document["jobs"][0]["processes"][0]["pid"].to_string(), left);
    holder.finish();
}

#[test]
fn on_a_terminal_many_waiters_are_counted_unless_all_are_asked_for() {
    let place = Place::new();
    let holder = place.hold(&["L"]);
    let waiters: Vec<Running> = (0..12)
        .map(|_| Running::start(place.holdlock(["run", "L", "true"])))
        .collect();
    waiters.iter().for_each(Running::expect_waiting);
    let mut terminal = Terminal::start(&place, "\"$HOLDLOCK\" who L; echo code $?");
    terminal.expect("waits 10 ");
    terminal.expect("and 2 more wait; --all shows them");
    terminal.expect("code 0");
    let mut terminal = Terminal::start(&place, "\"$HOLDLOCK\" who --all L; echo code $?");
    terminal.expect("waits 12 ");
    terminal.expect("code 0");
    assert!(
        place.run(["who", "L"]).text().contains("waits 12 "),
        "no terminal"
    );
    holder.finish();
    waiters.into_iter().for_each(|waiter| drop(waiter.finish()));
}

#[test]
fn root_without_the_right_to_look_is_not_told_that_root_would_see() {
    if !has("python3") || !has("setpriv") {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        return skipped("only root can give up its rights over other processes");
    }
    let place = Place::new();
    let _holder = python(&place, "ofd", "x");
    let script = "setpriv --bounding-set -sys_ptrace --inh-caps -sys_ptrace \
                  \"$HOLDLOCK\" who ./x";
    let finished = Running::start(place.shell(script)).finish();
    assert!(
        finished.stderr.contains("could not be looked at"),
        "{finished:?}"
    );
    assert!(!finished.stderr.contains("root would see"), "{finished:?}");
}

#[test]
fn a_name_cannot_command_the_terminal() {
    let place = Place::new();
    let _holder = place.hold(&["./\x1b[31m\n\u{202e}x"]);
    for words in [
        ["who", "./\x1b[31m\n\u{202e}x"],
        ["list", "./"],
        ["graph", "./"],
    ] {
        let finished = place.run(words);
        let strange = |c: char| c == '\x1b' || c == '\u{202e}';
        assert!(!finished.text().contains(strange), "{finished:?}");
    }
}
