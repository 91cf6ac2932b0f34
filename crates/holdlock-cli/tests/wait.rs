//! `holdlock wait`: waits until locks are free, and does not acquire them.

mod support;

use holdlock_test_support::watchdog;
use serde_json::Value;
use support::{Place, Running, is_gone, peers, wait_for};

#[test]
fn a_wait_for_several_locks_ends_when_all_are_free() {
    let place = Place::new();
    let (one, other) = (place.hold(&["A"]), place.hold(&["B"]));
    let waiting = Running::start(place.holdlock(["wait", "A", "B", "free"]));
    let pid = waiting.pid();
    // The end of a holder wakes it. It has looked again, and sleeps, when it waits only for the
    // other.
    wait_for("it to watch both holders", || {
        (pidfds(pid) == 2).then_some(())
    });
    assert_eq!(one.finish().code(), 0);
    wait_for("it to watch one holder", || {
        (pidfds(pid) == 1).then_some(())
    });
    assert!(!is_gone(pid.into()), "B is held");
    assert_eq!(other.finish().code(), 0);
    let finished = waiting.finish();
    assert_eq!(finished.code(), 0, "{finished:?}");
    assert_eq!((finished.text(), finished.stderr.as_str()), ("", ""));
}

/// The number of processes that it watches.
fn pidfds(pid: u32) -> usize {
    let Ok(files) = std::fs::read_dir(format!("/proc/{pid}/fd")) else {
        return 0;
    };
    let links = files
        .flatten()
        .filter_map(|file| file.path().read_link().ok());
    links
        .filter(|link| link.to_string_lossy().contains("pidfd"))
        .count()
}

#[test]
fn a_wait_that_runs_out_is_75_and_names_the_holder() {
    let place = Place::new();
    let holder = place.hold(&["L"]);
    let finished = place.run(["wait", "-w", "20ms", "free", "L"]);
    assert_eq!(finished.code(), 75, "{finished:?}");
    assert!(
        finished.stderr.contains("L.lock: still held after "),
        "{finished:?}"
    );
    let by = format!(", by pid {} ", holder.pid());
    assert!(finished.stderr.contains(&by), "{finished:?}");
    let quiet = place.run(["wait", "-q", "--wait=0", "L"]);
    assert_eq!((quiet.code(), quiet.stderr.as_str()), (75, ""));
    let document = place.run(["wait", "-J", "-w", "0", "L", "free"]);
    let document: Value = serde_json::from_slice(&document.stdout).unwrap();
    assert_eq!(
        (&document["version"], &document["free"]),
        (&1.into(), &false.into())
    );
    let lock = &document["locks"][0];
    assert_eq!(lock["held"], true);
    let process = &lock["files"][0]["locks"][0]["holders"][0]["process"];
    assert_eq!(process["pid"], holder.pid());
    assert_eq!(document["locks"][1]["held"], false);
}

#[test]
fn a_free_lock_is_0_at_once_and_nothing_is_created() {
    let place = Place::new();
    assert_eq!(place.run(["wait", "L", "./missing"]).code(), 0);
    assert!(!place.locks().exists() && !place.join("missing").exists());
    for words in [&["wait"][..], &["wait", "-w", "soon", "L"], &["wait", ""]] {
        assert_eq!(place.run(words).code(), 64, "{words:?}");
    }
    std::fs::write(place.join("file"), "").unwrap();
    assert_eq!(place.run(["wait", "./file/below"]).code(), 71);
}

#[test]
fn a_wait_of_the_job_that_holds_the_lock_is_an_error() {
    let place = Place::new();
    for waiting in ["wait L", "who --wait L"] {
        let inner = format!("\"$HOLDLOCK\" {waiting}");
        let script = format!("\"$HOLDLOCK\" run L -- sh -c '{inner}; echo $?'");
        let finished = Running::start(place.shell(&script)).finish();
        assert_eq!(finished.text().lines().last(), Some("65"), "{finished:?}");
        assert!(
            finished
                .stderr
                .contains("L.lock: waiting would be a deadlock"),
            "{finished:?}"
        );
    }
    // With a limit, the limit ends it.
    let script = "\"$HOLDLOCK\" run L -- sh -c '\"$HOLDLOCK\" wait -w 50ms L; echo $?'";
    let finished = Running::start(place.shell(script)).finish();
    assert_eq!(finished.text(), "75\n", "{finished:?}");
}

/// The lock of the removed file is free when the job ends, and not before.
#[test]
fn a_wait_of_the_job_that_holds_a_removed_file_is_an_error() {
    let _dog = watchdog::watch(60);
    let place = Place::new();
    for then in ["rm r.lock; touch r.lock", "rm r.lock", "mv r.lock other"] {
        let inner = format!("{then}; \"$HOLDLOCK\" wait ./r.lock; echo $?");
        let script = format!("\"$HOLDLOCK\" run ./r.lock -- sh -c '{inner}'");
        let finished = Running::start(place.shell(&script)).finish();
        let expected = if then.starts_with("mv") { "0" } else { "65" };
        assert_eq!(finished.text().trim(), expected, "{then}: {finished:?}");
    }
}

/// A process that has a lease on the file, and waits for the end of a command of holdlock.
const HAS_A_LEASE: &str = "
import fcntl, os, subprocess, sys
file = open('x')
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
print('leased', flush=True)
sys.exit(subprocess.call([os.environ['HOLDLOCK']] + sys.argv[1:]))
";

#[test]
fn a_lease_of_the_job_that_waits_is_no_deadlock() {
    let Some(python) = peers::interpreter() else {
        return peers::skipped("python3 is not installed");
    };
    let place = Place::new();
    std::fs::write(place.join("x"), "data").unwrap();
    for words in [&["who", "--wait", "./x"][..], &["wait", "./x"]] {
        // It has the file open for reading only: otherwise there could be no such lease.
        let holder = place.hold(&["./x"]);
        let mut command = place.command(python);
        command.args(["-c", HAS_A_LEASE]).args(words);
        let mut job = Running::start(command);
        job.expect_line("leased");
        let children = format!("/proc/{0}/task/{0}/children", job.pid());
        wait_for("it to look and to watch the holder", || {
            let children = std::fs::read_to_string(&children).unwrap();
            let waiting = children.trim().parse().ok()?;
            (pidfds(waiting) == 1).then_some(())
        });
        holder.finish();
        let done = job.finish();
        assert_eq!(done.code(), 0, "{words:?}: {done:?}");
    }
}
