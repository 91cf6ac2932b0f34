//! `holdlock run URL`: exclusion, what the command is told, exit codes.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use holdlock_test_support::servers::{Port, Server};
use holdlock_test_support::{eventually, watchdog};

use crate::{STAY, engines, holdlock, run, said, server, shown, start};

#[test]
fn one_command_at_a_time_which_knows_its_lock() {
    let _dog = watchdog::watch(60);
    for server in engines() {
        let url = server.url("one");
        let show = "echo $HOLDLOCK_TOKEN; echo $HOLDLOCK_LOCK $HOLDLOCK_ENGINE_KIND $HOLDLOCK_TTL; \
                    echo [$HOLDLOCK_ABANDONED]; exit 3";
        let (code, said, errors) = run(&[&url, "--", "sh", "-c", show]);
        assert_eq!((code, errors.as_str()), (Some(3), ""));
        let lines: Vec<&str> = said.lines().collect();
        let ttl = server.patient().trim_start_matches("ttl=");
        let lock = format!("{} {} {ttl}", shown(&url), server.engine());
        assert_eq!(lines[1..], [&lock, "[]"]);
        let token: u64 = lines[0].parse().expect("a number");

        let holder = start(&[&[url.as_str()], &STAY[..]].concat());
        let (code, _, errors) = run(&["-n", &url, "--", "true"]);
        assert_eq!(code, Some(75), "{errors}");
        assert!(
            errors.contains("already locked by pid") && errors.contains("sh -c"),
            "{errors}"
        );
        assert_eq!(run(&["-n", "-E", "9", &url, "--", "true"]).0, Some(9));
        // A slow machine may need longer to reach the engine.
        let mut tries = ["1", "10", "60"]
            .iter()
            .map(|limit| run(&["-w", limit, &url, "--", "true"]));
        let reached = tries.find(|said| said.0 != Some(69));
        let (code, _, errors) = reached.expect("the engine answers");
        assert_eq!(code, Some(75), "{errors}");
        assert_eq!(run(&["--skip", &url, "--", "true"]).0, Some(0));
        assert_eq!(holder.end().0, Some(0));
        let (_, said, _) = run(&[&url, "--", "sh", "-c", show]);
        let next: u64 = said
            .lines()
            .next()
            .expect("a line")
            .parse()
            .expect("a number");
        assert!(next > token);
        server.nothing_left("one");
    }
}

#[test]
fn a_command_gets_the_name_of_its_lock_as_it_is() {
    let _dog = watchdog::watch(60);
    for server in engines() {
        let name = "a b#\u{1}\u{1b}[31m\n\u{e9}%41";
        let url = server.url(name);
        let (code, said, errors) = run(&[&url, "--", "sh", "-c", "printf %s \"$HOLDLOCK_LOCK\""]);
        assert_eq!((code, errors.as_str()), (Some(0), ""));
        assert_eq!(said.split_once('#').expect("a name").1, name);
    }
}

#[test]
fn a_note_is_shown_to_those_who_find_the_lock_held() {
    let _dog = watchdog::watch(60);
    for server in engines() {
        let url = server.url("noted");
        let _holder = start(&[&["--note", "import of May", url.as_str()], &STAY[..]].concat());
        let (code, _, errors) = run(&["-n", &url, "--", "true"]);
        assert_eq!(code, Some(75));
        assert!(errors.contains("import of May"), "{errors}");
    }
}

#[test]
fn a_wait_names_the_holder_and_the_place_in_the_queue() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let url = server.url("progress");
    let holder = start(&[&[url.as_str()], &STAY[..]].concat());
    let pid = holder.pid();
    let mut first = holdlock(&["run", &url, "--", "true"]);
    let first = std::thread::spawn(move || said(&mut first));
    let two_wait = |number: usize| {
        let document = crate::output(&["who", "--json", &url]).1;
        let document: serde_json::Value = serde_json::from_str(&document).expect("JSON");
        document["files"][0]["waiters"].as_array().map(Vec::len) == Some(number)
    };
    eventually("one waits", || two_wait(1));
    let words = ["run", "--progress", "always", &url, "--", "true"];
    let mut second = holdlock(&words);
    let mut second = second.stderr(Stdio::piped()).spawn().expect("starts");
    let mut lines = BufReader::new(second.stderr.take().expect("a pipe")).lines();
    let line = lines.next().expect("a line").expect("UTF-8");
    assert!(line.contains("place 2 of 2"), "{line}");
    assert!(line.contains(&format!("held by pid {pid} (")), "{line}");
    holder.end();
    assert_eq!(first.join().expect("ends").0, Some(0));
    lines.for_each(drop);
    assert!(second.wait().expect("ends").success());
}

#[test]
fn no_line_of_a_wait_has_the_password() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    // Short: a line has only the end of a long URL.
    let url = server.url("s");
    let holder = start(&[&[url.as_str()], &STAY[..]].concat());
    let place = url.split_once('?').expect("options").0;
    let with_password = format!("{}#s", place.replace("boss@", "boss:hidden@"));
    let words = ["run", "--progress", "always", &with_password, "--", "true"];
    let mut command = holdlock(&words);
    let mut waiter = command.stderr(Stdio::piped()).spawn().expect("starts");
    let mut lines = BufReader::new(waiter.stderr.take().expect("a pipe")).lines();
    let mut said = Vec::new();
    // The holder ends only after the wait is shown, so there is a last line, too.
    while !said.iter().any(|line: &String| line.contains("waiting")) {
        said.push(lines.next().expect("a line").expect("UTF-8"));
    }
    holder.end();
    said.extend(lines.map(|line| line.expect("UTF-8")));
    assert!(waiter.wait().expect("ends").success(), "{said:?}");
    let last = said.last().expect("a line");
    assert!(last.contains("acquired") && last.contains("#s"), "{said:?}");
    let has_login = |line: &String| line.contains("hidden") || line.contains("boss");
    assert!(!said.iter().any(has_login), "{said:?}");
}

#[test]
fn a_lock_for_which_descriptors_are_missing_is_given_back() {
    let _dog = watchdog::watch(60);
    for server in engines() {
        let url = server.url("descriptors");
        for limit in 4..=16 {
            let script = format!("ulimit -n {limit}; exec \"$0\" run -w 5 \"$1\" -- true");
            let mut command = Command::new("sh");
            let program = env!("CARGO_BIN_EXE_holdlock");
            command.args(["-c", &script, program, &url]);
            let (code, _, errors) = said(&mut command);
            assert!(code == Some(0) || errors.contains("open files"), "{errors}");
            let (code, _, errors) = run(&["-n", &url, "--", "true"]);
            assert_eq!(code, Some(0), "after a limit of {limit}: {errors}");
        }
    }
}

#[test]
fn a_killed_holdlock_takes_its_command_with_it() {
    let _dog = watchdog::watch(60);
    for server in engines() {
        let url = server.brief("killed");
        let mut holder = start(&[&url, "--", "sh", "-c", "trap '' TERM; echo runs; read line"]);
        holder.child.kill().expect("killed");
        // The command has the other end of the pipe.
        let mut rest = Vec::new();
        let read = holder.stdout.read_to_end(&mut rest);
        read.expect("the command has ended");
        eventually("the lock is free", || {
            run(&["-n", &url, "--", "true"]).0 == Some(0)
        });
    }
}

#[test]
fn what_is_wrong_with_the_engine_has_an_exit_code() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let url = server.url("codes");
    let reserved = Port::new();
    let port = reserved.number();
    for (url, code, part) in [
        ("postgres://h/d".to_owned(), 64, "#name"),
        ("nothing://h/d#n".to_owned(), 64, "no engine"),
        (format!("postgres://127.0.0.1:{port}/d#n"), 69, "refused"),
        (url.replace("boss@", "nobody-here@"), 77, "nobody-here"),
        (url.replace("/postgres?", "/nowhere?"), 78, "nowhere"),
    ] {
        let (exit, _, said) = run(&[&url, "--", "true"]);
        assert_eq!(exit, Some(code), "{said}");
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn options_that_make_no_sense_with_an_engine_are_errors() {
    for words in [
        &["--exec", "postgres://h/d#n"][..],
        &["--reentrant", "postgres://h/d#n"],
        &["--slots", "2", "postgres://h/d#n"],
        &["--system", "postgres://h/d#n"],
        &["--lock", "postgres://h/d#n", "--lock", "x"],
        &["--lock", "x", "--lock", "postgres://h/d#n"],
    ] {
        let (code, _, errors) = run(&[words, &["--", "true"][..]].concat());
        assert_eq!(code, Some(64), "{words:?}: {errors}");
        assert_eq!(errors.lines().count(), 1, "{words:?}: {errors}");
    }
    let (code, _, errors) = crate::output(&["demo", "postgres://h/d"]);
    assert_eq!(code, Some(64), "{errors}");
    assert!(errors.contains("lock files only"), "{errors}");
}
