//! Which files get a record, and what becomes of options that need one.

use std::fs;

use holdlock_test_support::skipped;

use crate::intervals;
use crate::runs::{PRINT, print, told};
use crate::support::{Place, Running};

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
    let content = intervals::sealed(lines);
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
fn the_log_of_the_run_gets_no_record() {
    let place = Place::new();
    for _ in 0..2 {
        let done = place.run(["run", "--log", "log", "./log", "--", "true"]);
        assert_eq!(done.code(), 0, "{done:?}");
    }
    let log = fs::read_to_string(place.join("log")).unwrap();
    assert_eq!(log.lines().count(), 2, "{log}");
    assert!(log.lines().all(|line| line.starts_with('{')), "{log}");
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
fn a_run_that_learns_late_that_there_is_no_record_has_waited_once() {
    let place = Place::new();
    fs::write(place.join("x"), "").unwrap();
    let script = "exec \"$HOLDLOCK\" flock ./locks/x.lock sh -c 'echo held; read line'";
    fs::create_dir(place.locks()).unwrap();
    fs::set_permissions(
        place.locks(),
        std::os::unix::fs::PermissionsExt::from_mode(0o700),
    )
    .unwrap();
    let mut command = place.shell(script);
    command.stdin(std::process::Stdio::piped());
    let mut holder = Running::start_with_stdin(command);
    holder.expect_line("held");
    // The name is also that of a file, which is a warning.
    let words = ["run", "-w", "1h", "--log", "log", "x", "--", "true"];
    let waiter = Running::start(place.holdlock(words));
    waiter.expect_waiting();
    let while_ = std::time::Duration::from_millis(500);
    std::thread::sleep(while_);
    fs::write(place.locks().join("x.lock"), "data").unwrap();
    holder.finish();
    let done = waiter.finish();
    assert_eq!(done.code(), 0, "{done:?}");
    assert_eq!(done.stderr.matches("warning: ").count(), 1, "{done:?}");
    let log = fs::read_to_string(place.join("log")).unwrap();
    let log: serde_json::Value = serde_json::from_str(&log).unwrap();
    let waited = log["waited_s"].as_f64().unwrap();
    assert!(waited >= while_.as_secs_f64(), "{log}");
    let data = fs::read(place.locks().join("x.lock")).unwrap();
    assert_eq!(data, b"data");
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
    let done = place.run(["run", "--note", "x", "./", "--", "true"]);
    assert_eq!(done.code(), 66);
    assert!(
        done.stderr
            .contains("(--note needs a record, and a directory")
    );
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
    assert_eq!((done.code(), done.text()), (66, ""), "{done:?}");
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
        ("/proc/no-such", "no file can be created there"),
        ("/proc/self/no-such", "(file system: proc)"),
        ("/sys/no-such", "(file system: sysfs)"),
        ("/proc/no-such/lock", "create its directory"),
    ] {
        let done = place.run(["run", lock, "--", "true"]);
        assert_eq!(done.code(), 73, "{done:?}");
        assert!(done.stderr.contains(remedy), "{}", done.stderr);
    }
}
