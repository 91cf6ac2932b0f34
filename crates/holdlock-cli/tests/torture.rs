//! `holdlock torture`: finds nothing where locks work, and finds each fault that is put into its
//! workers.

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use holdlock_test_support::{Scratch, has, skipped, watchdog};
use rustix::process::{Signal, geteuid};
use serde_json::Value;
use support::terminal::{INTERRUPT, Terminal};
use support::{Finished, Place, Running, wait_for};

/// One at a time: each run keeps the whole machine busy.
static ONE: Mutex<()> = Mutex::new(());

fn json(finished: &Finished) -> Value {
    serde_json::from_slice(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"))
}

/// Runs the command to its end, which may come later than that of others.
fn finish(mut command: Command) -> Finished {
    let _dog = watchdog::watch(200);
    let output = command.output().unwrap();
    Finished {
        status: output.status,
        stdout: output.stdout,
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Tortures in this directory, and checks that nothing is left in it.
fn torture(place: &Place, directory: &Path, words: &[&str]) -> (i32, Value) {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut command = place.holdlock(["torture", "--json"]);
    command
        .args(words)
        .arg(directory)
        .env("TMPDIR", place.join(""));
    let finished = finish(command);
    let left = fs::read_dir(directory).unwrap().flatten();
    let mut left = left.filter(|file| file.file_name().to_string_lossy().contains("torture-"));
    assert!(directory == place.join("") || left.next().is_none());
    (finished.code(), json(&finished))
}

/// A run that ends at once has tried few of the modes.
#[test]
fn modes_without_a_section_are_named() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let place = Place::new();
    let memory = Scratch::in_memory();
    let mut command = place.holdlock(["torture", "--sections", "1"]);
    command
        .arg(memory.directory())
        .env("TMPDIR", place.join(""));
    let finished = finish(command);
    let text = String::from_utf8(finished.stdout.clone()).unwrap();
    let row = |line| str::split_whitespace(line).collect::<Vec<_>>();
    let rows: Vec<Vec<&str>> = text.lines().map(row).collect();
    let untried = rows.iter().filter(|row| row.len() > 5 && row[1] == "0");
    let untried: Vec<&str> = untried.map(|row| row[0]).collect();
    let verdict = format!("Nothing found; run longer to try {}\n", untried.join(", "));
    assert!(!untried.is_empty() && text.ends_with(&verdict), "{text}");
}

/// So many sections find nothing. A busy machine may not get that far.
fn must_hold(modes: &str, sections: u64) -> Value {
    let place = Place::new();
    let memory = Scratch::in_memory();
    let number = sections.to_string();
    let words = ["--modes", modes, "--sections", &number];
    let (code, report) = torture(&place, memory.directory(), &words);
    println!("{report:#}");
    assert_eq!((code, &report["found"]), (0, &Value::Null), "{report:#}");
    assert_eq!(report["left_out"], Value::Array(Vec::new()));
    for mode in report["modes"].as_array().unwrap() {
        assert!(mode["sections"].as_u64().unwrap() > 0, "{mode:#}");
    }
    report
}

#[test]
fn a_million_sections_find_nothing() {
    let place = Place::new();
    let memory = Scratch::in_memory();
    let dist = std::env::var_os("HOLDLOCK_DIST");
    let program = dist.unwrap_or_else(|| env!("CARGO_BIN_EXE_holdlock").into());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut command = place.command(program.to_str().unwrap());
    command.args(["torture", "--json", "--for", "10m", "--sections", "1000000"]);
    command.arg(memory.directory());
    let finished = finish(command);
    let report = json(&finished);
    println!("{report:#}");
    assert_eq!((finished.code(), &report["found"]), (0, &Value::Null));
    assert!(report["sections"].as_u64().unwrap() >= 1_000_000);
    assert!(report["kills"].as_u64().unwrap() > 0);
}

/// As [`must_hold`], until there was a run in which processes were killed and stopped: a quick
/// machine may be done before.
fn must_hold_among_deaths(modes: &str, sections: u64) {
    let has_deaths = |report: &Value| {
        let number = |field: &str| report[field].as_u64().unwrap();
        number("kills") > 0 && number("stops") > 0
    };
    let mut runs = (0..50).map(|_| must_hold(modes, sections));
    assert!(runs.any(|report| has_deaths(&report)), "nobody was killed");
}

#[test]
fn requests_exclude_each_other_while_processes_are_killed_and_stopped() {
    must_hold_among_deaths("exclusive,shared", 60_000);
}

#[test]
fn fair_requests_exclude_each_other_and_nobody_starves() {
    must_hold("fair", 30_000);
}

#[test]
fn open_file_description_locks_exclude_users_of_fcntl() {
    must_hold("ofd", 60_000);
}

#[test]
fn deletion_on_release_by_everybody_never_lets_two_in() {
    must_hold("deletion", 20_000);
}

#[test]
fn holders_that_remove_rename_or_replace_the_file_never_let_two_in() {
    must_hold("removal", 20_000);
}

#[test]
fn tokens_rise_and_deaths_are_told_while_holders_are_killed() {
    must_hold_among_deaths("record", 20_000);
}

#[test]
fn sets_of_locks_are_held_as_a_whole_while_holders_are_killed() {
    must_hold("set", 20_000);
}

#[test]
fn no_slot_is_held_twice_and_slots_exclude_the_whole_file() {
    must_hold("slots", 20_000);
}

#[test]
fn upgrades_are_atomic_while_readers_and_upgrading_holders_are_killed() {
    must_hold("upgrade", 20_000);
}

/// tmpfs is the one of the other tests.
#[test]
fn locks_work_on_the_file_system_of_the_build() {
    let place = Place::new();
    let build = place.join("");
    let mut above = build.ancestors();
    if geteuid().is_root() && above.any(|path| fs::metadata(path).unwrap().uid() != 0) {
        return skipped("root does not torture below a directory of another user");
    }
    let (code, report) = torture(&place, &place.join(""), &["--for", "3s"]);
    if report["file_system"] == "tmpfs" {
        skipped("the build is on tmpfs as well");
    }
    assert_eq!((code, &report["found"]), (0, &Value::Null), "{report:#}");
}

/// A fault, the mode in which it strikes, and what it must be found as.
#[track_caller]
fn must_be_found(fault: &str, modes: &str, kinds: &[&str]) -> Place {
    let place = Place::new();
    let memory = Scratch::in_memory();
    let words = ["--for", "5m", "--modes", modes, "--fault", fault];
    let (code, report) = torture(&place, memory.directory(), &words);
    assert_eq!(code, 1, "{report:#}");
    let found = report["found"]["kind"].as_str().unwrap();
    assert!(kinds.contains(&found), "{report:#}");
    // What happened is kept.
    let history = fs::read_to_string(report["history"].as_str().unwrap()).unwrap();
    assert!(
        history.contains(found) && history.contains(" enter "),
        "{history}"
    );
    place
}

#[test]
fn a_section_without_the_lock_is_found() {
    must_be_found("skip", "exclusive", &["overlap", "lost-update"]);
}

#[test]
fn a_writer_without_lock_and_mark_is_found_by_its_data() {
    must_be_found("unmarked", "exclusive", &["lost-update"]);
}

#[test]
fn a_release_before_the_end_of_the_section_is_found() {
    must_be_found("early", "fair", &["overlap", "lost-update"]);
}

#[test]
fn a_shared_lock_for_an_exclusive_section_is_found() {
    must_be_found("share", "shared", &["overlap", "lost-update"]);
}

#[test]
fn a_lock_on_a_file_that_was_removed_is_found() {
    must_be_found("stale", "removal", &["overlap", "lost-update"]);
    must_be_found("stale", "deletion", &["overlap", "lost-update"]);
}

#[test]
fn a_waiter_that_is_never_woken_is_found() {
    must_be_found("asleep", "exclusive,fair,ofd", &["lost-wakeup"]);
}

#[test]
fn a_lock_that_nobody_has_is_found() {
    must_be_found("keep", "exclusive", &["kept"]);
}

#[test]
fn a_starved_waiter_is_found() {
    must_be_found("starve", "fair", &["starved"]);
}

#[test]
fn a_conversion_that_is_not_atomic_is_found() {
    must_be_found("downgrade", "shared", &["overlap", "lost-update"]);
    must_be_found("upgrade", "shared", &["conversion"]);
    must_be_found("upgrade", "upgrade", &["conversion"]);
}

#[test]
fn a_child_that_releases_the_lock_of_its_parent_is_found() {
    must_be_found("fork", "exclusive", &["overlap", "lost-update"]);
}

#[test]
fn a_program_that_inherits_the_lock_file_is_found() {
    must_be_found("inherit", "exclusive", &["inherited"]);
}

#[test]
fn a_limit_that_is_not_kept_is_found() {
    must_be_found("late", "exclusive", &["overdue"]);
    must_be_found("hasty", "exclusive", &["early"]);
}

#[test]
fn a_token_that_does_not_rise_is_found() {
    must_be_found("token", "record", &["token"]);
}

#[test]
fn a_death_that_is_not_told_is_found() {
    must_be_found("forget", "record", &["abandoned"]);
}

#[test]
fn a_slot_that_is_held_twice_is_found() {
    must_be_found("slot", "slots", &["overlap", "lost-update"]);
}

#[test]
fn half_a_set_is_found() {
    must_be_found("half", "set", &["half-set", "overlap"]);
}

#[test]
fn a_signal_ends_the_run_with_its_report_and_leaves_nothing() {
    let place = Place::new();
    let memory = Scratch::in_memory();
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut command = place.holdlock(["torture", "--for", "10m"]);
    command.arg(memory.directory());
    let running = Running::start(command);
    let lock_files = || {
        let directory = fs::read_dir(memory.directory()).unwrap().flatten().next()?;
        let files = fs::read_dir(directory.path()).ok()?;
        (files.count() > 3).then_some(())
    };
    wait_for("the lock files", lock_files);
    running.signal(Signal::TERM);
    let finished = running.finish();
    assert_eq!(finished.code(), 0, "{finished:?}");
    assert!(finished.text().contains("\nNothing found"), "{finished:?}");
    assert_eq!(fs::read_dir(memory.directory()).unwrap().count(), 0);
}

#[test]
fn a_terminal_shows_progress_and_ctrl_c_ends_with_the_report() {
    let place = Place::new();
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let script = "\"$HOLDLOCK\" torture --for 10m --modes exclusive .; echo status $?";
    let mut terminal = Terminal::start(&place, script);
    terminal.expect("of 10 min");
    terminal.press(INTERRUPT);
    terminal.expect("Nothing found");
    terminal.expect("status 0");
}

#[test]
fn a_supervisor_that_is_killed_leaves_no_workers() {
    let place = Place::new();
    let memory = Scratch::in_memory();
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut command = place.holdlock(["torture", "--for", "10m"]);
    command.arg(memory.directory());
    let running = Running::start(command);
    let pid = running.pid();
    let children = format!("/proc/{pid}/task/{pid}/children");
    let workers = wait_for("the workers", || {
        let children = fs::read_to_string(&children).ok()?;
        let children: Vec<u64> = children.split_whitespace().flat_map(str::parse).collect();
        (children.len() > 3).then_some(children)
    });
    running.signal(Signal::KILL);
    drop(running);
    for worker in workers {
        wait_for("the end of a worker", || {
            support::is_gone(worker).then_some(())
        });
    }
}

#[test]
fn a_place_that_does_not_exist_is_a_clear_error() {
    let place = Place::new();
    let finished = place.run(["torture", "missing/"]);
    assert_eq!(finished.code(), 66);
    let expected = "holdlock: cannot create a directory in missing/: No such file or directory; \
                    give a directory in which you can create files\n";
    assert_eq!(finished.stderr, expected);
}

/// Its owner could put another directory in the place of the new one.
#[test]
fn root_works_in_no_directory_that_another_user_could_replace() {
    if !geteuid().is_root() {
        return skipped("needs root");
    }
    let place = Place::new();
    let memory = Scratch::in_memory();
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let foreign = memory.path("foreign");
    let below = foreign.join("below");
    fs::create_dir_all(&below).unwrap();
    chown(&foreign, Some(65_531), None).unwrap();
    let open = memory.path("open");
    fs::create_dir(&open).unwrap();
    mode(&open, 0o777);
    for (path, why) in [
        (&foreign, "user 65531 owns"),
        (&below, "user 65531 owns"),
        (&open, "other users can write to"),
    ] {
        let finished = place.run(["torture", "--for=1s", path.to_str().unwrap()]);
        assert_eq!(finished.code(), 73, "{finished:?}");
        assert!(finished.stderr.contains(why), "{}", finished.stderr);
    }
    assert_eq!(fs::read_dir(&below).unwrap().count(), 0);
    mode(&open, 0o1777);
    let words = ["--modes", "exclusive", "--sections", "1"];
    assert_eq!(torture(&place, &open, &words).0, 0);
}

/// The machine is to blame, and not the locks: no finding, and no panic.
#[test]
fn a_run_that_has_too_few_files_or_processes_says_so_and_finds_nothing() {
    let place = Place::new();
    let memory = Scratch::in_memory();
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let must_give_up = |limited: &[&str], modes: &str, why: &str| {
        let mut command = place.command(limited[0]);
        command
            .args(&limited[1..])
            .arg(env!("CARGO_BIN_EXE_holdlock"));
        command.args(["torture", "--for", "1m", "--modes", modes]);
        command.arg(memory.directory());
        let finished = finish(command);
        assert_eq!(finished.code(), 71, "{finished:?}");
        assert!(finished.stdout.is_empty(), "{finished:?}");
        let cause = finished.stderr.lines().next().unwrap_or_default();
        assert!(
            cause.starts_with("holdlock: ") && cause.contains(why),
            "{finished:?}"
        );
        assert!(!finished.stderr.contains("panicked"), "{finished:?}");
        let left = fs::read_dir(memory.directory()).unwrap();
        assert_eq!(left.count(), 0);
    };
    if !has("prlimit") {
        return;
    }
    // Enough for the start, and too few for the sets of four threads.
    must_give_up(&["prlimit", "--nofile=18"], "set", "too many files open");
    let other = [
        "setpriv",
        "--reuid=65533",
        "--clear-groups",
        "prlimit",
        "--nproc=8",
    ];
    let mut can = place.command(other[0]);
    can.args(&other[1..])
        .arg(env!("CARGO_BIN_EXE_holdlock"))
        .arg("--version");
    if !can.output().is_ok_and(|output| output.status.success()) {
        return skipped("the limit of processes needs another user, and therefore root");
    }
    let user = rustix::fs::Uid::from_raw(65533);
    rustix::fs::chown(memory.directory(), Some(user), None).unwrap();
    // A worker, or one of its threads.
    must_give_up(&other, "exclusive", "cannot start a");
}

#[test]
fn a_run_without_time_is_refused() {
    let finished = Place::new().run(["torture", "--for", "0"]);
    assert_eq!(finished.code(), 64, "{finished:?}");
    assert!(finished.stderr.contains("a time above 0"), "{finished:?}");
}

#[test]
fn the_picture_shows_the_waits_and_the_finding() {
    let place = Place::new();
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let words = ["torture", "--svg", "-", "--modes", "exclusive", "--for"];
    let calm = place.run([&words[..], &["1s"]].concat());
    assert_eq!(calm.code(), 0, "{calm:?}");
    assert!(calm.text().starts_with("<svg") && calm.text().contains("exclusive"));
    let mut command = place.holdlock([&words[..], &["5m", "--fault", "skip"]].concat());
    command.env("TMPDIR", place.join(""));
    let found = finish(command);
    assert_eq!(found.code(), 1, "{found:?}");
    assert!(found.text().contains("overlap"), "{}", found.text());
}
