//! `holdlock run`: the command, the exit codes, and exclusion.

mod support;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use holdlock::{FileLock, LockOptions};
use support::{Place, Running, peers};

#[test]
fn the_status_of_the_command_is_ours() {
    let place = Place::new();
    for code in [0, 1, 7, 75, 255] {
        assert_eq!(
            place
                .run(["run", "L", "--", "sh", "-c", &format!("exit {code}")])
                .code(),
            code
        );
    }
    for signal in [9, 15] {
        let script = format!("kill -{signal} $$");
        assert_eq!(
            place.run(["run", "L", "sh", "-c", &script]).code(),
            128 + signal
        );
    }
}

#[test]
fn a_command_that_was_meant_otherwise_gets_a_hint() {
    let place = Place::new();
    for (words, hint) in [
        (
            ["run", "L", "--no-wait"],
            "options of holdlock go before LOCK",
        ),
        (["run", "L", "echo hi"], "sh -c 'echo hi'"),
    ] {
        let finished = place.run(words);
        assert_eq!(finished.code(), 127);
        assert!(finished.stderr.contains(hint), "{finished:?}");
    }
}

#[test]
fn a_command_that_cannot_run_is_126_or_127() {
    let place = Place::new();
    std::fs::write(place.join("plain"), "no program").unwrap();
    for (command, code) in [
        ("./missing", 127),
        ("no-such-command-anywhere", 127),
        ("./plain", 126),
        ("/", 126),
    ] {
        let finished = place.run(["run", "L", command]);
        assert_eq!(finished.code(), code, "{command}");
        assert!(
            finished
                .stderr
                .starts_with(&format!("holdlock: cannot run {command}: ")),
            "{finished:?}"
        );
    }
    assert_eq!(
        place.run(["run", "-n", "L", "true"]).code(),
        0,
        "released after the failure"
    );
}

#[test]
fn a_script_without_an_interpreter_line_is_run_by_the_shell() {
    let place = Place::new();
    let script = place.write_program("script", "echo \"$0 $1\"; exit 4\n");
    let finished = place.run(["run", "L", "./script", "x"]);
    assert_eq!((finished.code(), finished.text()), (4, "./script x\n"));
    let mut command = place.holdlock(["run", "L", "script", "x"]);
    command.env(
        "PATH",
        format!("/nowhere:{}", script.parent().unwrap().display()),
    );
    let finished = Running::start(command).finish();
    assert_eq!(
        (finished.code(), finished.text()),
        (4, format!("{} x\n", script.display()).as_str())
    );
}

#[test]
fn wrong_usage_is_64_on_stderr() {
    let place = Place::new();
    for words in [
        &[][..],
        &["runn"],
        &["run"],
        &["run", "L"],
        &["run", "-z", "L", "true"],
        &["run", "-w", "soon", "L", "true"],
        &["run", "-w", "-3", "L", "true"],
        &["run", "-E", "256", "L", "true"],
        &["run", "-n", "-w", "1", "L", "true"],
        &["run", "", "true"],
        &["run", "..", "true"],
        &["run", &"n".repeat(300), "true"],
    ] {
        let finished = place.run(words);
        assert_eq!(finished.code(), 64, "{words:?}");
        assert!(finished.stdout.is_empty(), "{words:?}");
        assert!(
            finished.stderr.starts_with("holdlock: "),
            "{words:?}: {}",
            finished.stderr
        );
    }
    assert!(!place.locks().exists(), "created for wrong usage");
}

#[test]
fn help_and_version_are_on_stdout() {
    let place = Place::new();
    for words in [
        &["--help"][..],
        &["help"],
        &["help", "run"],
        &["run", "--help"],
        &["demo", "-h"],
        &["path", "--help"],
    ] {
        let finished = place.run(words);
        assert_eq!(
            (finished.code(), finished.stderr.as_str()),
            (0, ""),
            "{words:?}"
        );
        assert!(finished.text().contains("Usage: holdlock"), "{words:?}");
    }
    assert_eq!(
        place.run(["--version"]).text(),
        format!("holdlock {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn a_conflict_is_exit_code_75_or_that_of_the_option() {
    let place = Place::new();
    let holder = place.hold(&["L"]);
    let file = place.locks().join("L.lock");
    for (options, code) in [
        (&["-n"][..], 75),
        (&["-n", "-E", "3"], 3),
        (&["-w", "0"], 75),
        (&["-s", "-n", "-E0"], 0),
    ] {
        let words = ["run"].iter().chain(options).chain(&["L", "echo", "ran"]);
        let finished = place.run(words);
        assert_eq!(
            (finished.code(), finished.text()),
            (code, ""),
            "{options:?}"
        );
        assert!(
            finished.stderr.contains(file.to_str().unwrap()),
            "{}",
            finished.stderr
        );
    }
    assert_eq!(holder.finish().code(), 0);
    assert_eq!(place.run(["run", "-n", "L", "true"]).code(), 0);
}

#[test]
fn a_timeout_waits_as_long_as_it_says() {
    let place = Place::new();
    let _holder = place.hold(&["L"]);
    let begin = Instant::now();
    let finished = place.run(["run", "-w", "150ms", "-E", "9", "L", "echo", "ran"]);
    assert!(begin.elapsed() >= Duration::from_millis(150));
    assert_eq!((finished.code(), finished.text()), (9, ""));
}

#[test]
fn a_waiter_runs_when_the_holder_is_done() {
    let place = Place::new();
    let holder = place.hold(&["L"]);
    let endless = Running::start(place.holdlock(["run", "L", "echo", "ran"]));
    let patient = Running::start(place.holdlock(["run", "-w", "1m", "L", "echo", "ran"]));
    endless.expect_waiting();
    holder.finish();
    for waiter in [endless, patient] {
        let finished = waiter.finish();
        assert_eq!((finished.code(), finished.text()), (0, "ran\n"));
    }
}

#[test]
fn shared_holders_are_together_and_keep_exclusive_ones_out() {
    let place = Place::new();
    let one = place.hold(&["-s", "L"]);
    let two = place.hold(&["--shared", "--no-wait", "L"]);
    assert_eq!(place.run(["run", "-n", "L", "true"]).code(), 75);
    one.finish();
    assert_eq!(place.run(["run", "-n", "L", "true"]).code(), 75);
    two.finish();
    assert_eq!(place.run(["run", "-n", "L", "true"]).code(), 0);
}

#[test]
fn a_fair_reader_does_not_pass_a_fair_writer() {
    let place = Place::new();
    let reader = place.hold(&["-s", "--fair", "./L"]);
    let options = LockOptions::new().fair(true);
    let lock = options.open(place.join("L")).expect("opens");
    let late = |fair: &[&str]| {
        let words = [&["run", "-s", "-n"], fair, &["./L", "true"]].concat();
        place.run(words).code()
    };
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| drop(lock.lock().expect("its turn")));
        support::wait_for("the writer waits", || {
            lock.waiters().expect("readable").pop()
        });
        assert_eq!(late(&["--fair"]), 75);
        assert_eq!(late(&[]), 0);
        reader.finish();
        writer.join().expect("no panic");
    });
    assert_eq!(late(&["--fair"]), 0);
}

#[test]
fn options_after_the_lock_belong_to_the_command() {
    let place = Place::new();
    let finished = place.run(["run", "-s", "./L", "echo", "-n", "--help", "--", "-w"]);
    assert_eq!((finished.code(), finished.text()), (0, "--help -- -w"));
    assert_eq!(
        place.run(["run", "./L", "--", "echo", "--", "x"]).text(),
        "-- x\n"
    );
}

#[test]
fn bytes_that_are_no_text_go_through() {
    let place = Place::new();
    let odd = OsStr::from_bytes(b"odd-\xff\xfe");
    for lock in [odd.to_owned(), place.join(odd).into()] {
        let finished = place.run([
            OsStr::new("run"),
            &lock,
            OsStr::new("printf"),
            OsStr::new("%s"),
            odd,
        ]);
        assert_eq!(
            (finished.code(), finished.stdout.as_slice()),
            (0, odd.as_bytes())
        );
    }
    assert!(place.join(odd).exists());
    assert!(
        place
            .locks()
            .join(OsStr::from_bytes(b"odd-\xff\xfe.lock"))
            .exists()
    );
}

#[test]
fn what_stays_in_the_background_does_not_keep_the_lock() {
    let place = Place::new();
    let script = "sleep 1000 >/dev/null 2>&1 & echo $!";
    let finished = place.run(["run", "L", "sh", "-c", script]);
    let pid: u64 = finished.text().trim().parse().unwrap();
    assert!(!support::is_gone(pid));
    let next = place.run(["run", "-n", "L", "true"]);
    Running::start(place.shell(&format!("kill {pid}"))).finish();
    assert_eq!(next.code(), 0);
}

#[test]
fn what_keeps_the_lock_file_from_being_has_codes() {
    let place = Place::new();
    std::fs::write(place.join("file"), "").unwrap();
    assert_eq!(place.run(["run", "./missing/L", "true"]).code(), 73);
    assert_eq!(place.run(["run", "./file/L", "true"]).code(), 66);
}

#[test]
fn the_lock_file_stays_and_is_not_written() {
    let place = Place::new();
    std::fs::write(place.join("L"), "precious").unwrap();
    assert_eq!(place.run(["run", "./L", "true"]).code(), 0);
    assert_eq!(
        std::fs::read_to_string(place.join("L")).unwrap(),
        "precious"
    );
}

#[test]
fn a_lock_of_the_other_family_is_warned_of() {
    if !peers::has("python3") {
        return;
    }
    let place = Place::new();
    let path = place.join("L");
    let ours = FileLock::open(&path).expect("opens");
    let run = || place.run(["run", "./L", "echo", "ran"]);
    let warns = |finished: &support::Finished| finished.stderr.contains("fcntl(2)");
    assert!(!warns(&run()), "nobody holds anything");

    // Held by a process of its own: what this one starts has all its files open for a moment.
    let held = peers::python(&place, "ofd", &path);
    let finished = run();
    assert_eq!((finished.code(), finished.text()), (0, "ran\n"));
    assert!(warns(&finished), "{finished:?}");
    let holder = format!("pid {}", held.pid());
    assert!(finished.stderr.contains(&holder), "{finished:?}");
    assert_eq!(place.run(["run", "-q", "./L", "true"]).stderr, "");
    held.finish();

    let _held = ours.lock_shared().expect("locked");
    let finished = place.run(["run", "-s", "./L", "echo", "ran"]);
    assert!(!warns(&finished), "of the same family: {finished:?}");
}

#[test]
fn the_short_help_fits_on_a_screen_and_the_long_one_has_all() {
    let place = Place::new();
    for subcommand in ["run", "who"] {
        let short = place.run([subcommand, "-h"]);
        let long = place.run([subcommand, "--help"]);
        assert_eq!((short.code(), long.code()), (0, 0));
        let lines = |text: &str| text.lines().count();
        assert!(lines(short.text()) <= 40, "{}", short.text());
        assert!(lines(long.text()) > 60, "{}", long.text());
        for option in ["--quiet", "Exit codes", "Examples", "--help"] {
            assert!(short.text().contains(option), "{option}: {}", short.text());
        }
        assert!(long.text().contains("--system") && !short.text().contains("--system"));
    }
    // After LOCK, the option belongs to the command.
    assert_eq!(place.run(["run", "L", "echo", "-h"]).text(), "-h\n");
}

#[test]
fn errors_are_in_words() {
    let place = Place::new();
    for words in [
        &["run", "-E", "many", "L", "true"][..],
        &["run", "./no/such/L", "true"],
        &["run", "--log", "no/such/log", "L", "true"],
        &["run", "L", "./missing"],
        &["run", "L", "./"],
        &["path", ""],
    ] {
        let finished = place.run(words);
        assert!(finished.stderr.starts_with("holdlock: "), "{finished:?}");
        for jargon in ["os error", "invalid digit"] {
            assert!(!finished.stderr.contains(jargon), "{finished:?}");
        }
    }
    let holder = place.hold(&["L"]);
    let timed_out = place.run(["run", "-w", "1100ms", "L", "true"]);
    let said = format!(
        "L.lock: timed out after 1.1 s; held by pid {} ",
        holder.pid()
    );
    assert!(timed_out.stderr.contains(&said), "{timed_out:?}");
    let refused = place.run(["run", "-n", "L", "true"]);
    let said = format!(
        "L.lock: already locked; held by pid {} (sh -c ",
        holder.pid()
    );
    assert!(
        refused.stderr.contains(&said),
        "the job is named: {refused:?}"
    );
}

#[test]
fn the_help_lists_every_subcommand() {
    let place = Place::new();
    let help = place.run(["--help"]);
    for subcommand in ["run", "who", "wait", "path", "flock", "completions", "man"] {
        let line = format!("\n  {subcommand} ");
        assert!(help.text().contains(&line), "{subcommand}: {}", help.text());
    }
    let flock = place.run(["help", "flock"]);
    assert_eq!(flock.code(), 0);
    assert!(flock.text().contains("--conflict-exit-code"), "{flock:?}");
}

#[test]
fn standard_streams_that_are_closed_are_no_lock_files() {
    let place = Place::new();
    // Otherwise the lock would have the number 0, 1 or 2, and the command would read or write the
    // file.
    let script = r#"
        "$HOLDLOCK" run L sh -c 'for fd in 0 1; do
            test /proc/$$/fd/$fd -ef /dev/null && echo $fd >&2; done' <&- >&-
        "$HOLDLOCK" run L sh -c 'test /proc/$$/fd/2 -ef /dev/null && echo 2' 2>&-
    "#;
    let finished = Running::start(place.shell(script)).finish();
    assert_eq!(finished.stderr, "0\n1\n", "{finished:?}");
    assert_eq!(finished.text(), "2\n");
}

#[test]
fn a_reader_that_has_gone_ends_a_command_as_ever() {
    let place = Place::new();
    // We ignore SIGPIPE; the command must not.
    let script = r#"{ "$HOLDLOCK" run L sh -c 'kill -PIPE $$'; echo $? >&2; } | true"#;
    let finished = Running::start(place.shell(script)).finish();
    assert_eq!(finished.stderr, "141\n", "{finished:?}");
}

#[test]
fn a_token_of_an_outer_run_is_not_for_the_command_even_if_it_is_the_only_variable() {
    let place = Place::new();
    let lock = place.join("x.lock");
    for options in [&["-s"][..], &["-s", "--exec"]] {
        let mut command = place.holdlock(["run"]);
        command.args(options).arg(&lock).arg("/usr/bin/env");
        command.env_clear().env("HOLDLOCK_TOKEN", "5");
        let finished = Running::start(command).finish();
        assert_eq!((finished.code(), finished.text()), (0, ""), "{finished:?}");
    }
}
