//! `holdlock run`: waits that could never end are noticed.

mod support;

use std::time::{Duration, Instant};

use support::{Place, Running};

#[test]
fn a_nested_run_is_refused_at_once() {
    let place = Place::new();
    let nested = "\"$HOLDLOCK\" run L -- sh -c '\"$HOLDLOCK\" run L -- echo ran; exit $?'";
    let exec = "\"$HOLDLOCK\" run --exec L -- sh -c '\"$HOLDLOCK\" run L -- echo ran; exit $?'";
    // The limit would end the inner run as well.
    let limited = &nested.replacen("run L", "run --max-hold 1h L", 1);
    for script in [nested, exec, limited] {
        let begin = Instant::now();
        let finished = Running::start(place.shell(script)).finish();
        assert_eq!((finished.code(), finished.text()), (65, ""), "{script}");
        assert!(begin.elapsed() < Duration::from_secs(20));
        assert!(finished.stderr.contains("deadlock"), "{finished:?}");
        // With --exec both are true; which one is seen first depends on whether the shell already
        // waits.
        let inherited = script == exec && finished.stderr.contains("has inherited");
        let named = finished.stderr.contains("held by pid");
        assert!(named || inherited, "{finished:?}");
    }
}

#[test]
fn a_lock_that_was_inherited_is_noticed() {
    let place = Place::new();
    let holdlock = env!("CARGO_BIN_EXE_holdlock");
    let words = ["run", "--exec", "L", holdlock, "run", "L", "true"];
    let running = Running::start(place.holdlock(words));
    // What the library's watcher says, if it was first.
    let named = format!("held by pid {}", running.pid());
    let finished = running.finish();
    assert_eq!(finished.code(), 65);
    let said = &finished.stderr;
    assert!(
        said.contains("inherited") || said.contains(&named),
        "{said}"
    );
}

#[test]
fn nesting_that_cannot_deadlock_is_allowed() {
    let place = Place::new();
    for (outer, inner) in [("L", "M"), ("-s L", "-s L")] {
        let script = format!("\"$HOLDLOCK\" run {outer} -- \"$HOLDLOCK\" run {inner} -- echo ran");
        let finished = Running::start(place.shell(&script)).finish();
        assert_eq!((finished.code(), finished.text()), (0, "ran\n"));
    }
    let script = "\"$HOLDLOCK\" run L -- sh -c '\"$HOLDLOCK\" run -n L -- echo ran; exit $?'";
    let finished = Running::start(place.shell(script)).finish();
    assert_eq!(finished.code(), 75, "who does not wait cannot deadlock");
}

#[test]
fn an_ancestor_that_does_not_wait_for_us_is_no_deadlock() {
    let place = Place::new();
    assert_eq!(place.run(["run", "L", "true"]).code(), 0);
    // This test holds the lock and is not in wait(2): it could release the lock at any time.
    let lock = holdlock::FileLock::open(place.locks().join("L.lock")).expect("opens");
    let held = lock.lock().expect("locked");
    // Long enough for both looks, when the wait begins and a moment later.
    let finished = place.run(["run", "-w", "900ms", "L", "true"]);
    assert_eq!(finished.code(), 75, "{finished:?}");
    let waiter = Running::start(place.holdlock(["run", "L", "echo", "ran"]));
    waiter.expect_waiting();
    drop(held);
    let finished = waiter.finish();
    assert_eq!((finished.code(), finished.text()), (0, "ran\n"));
}

/// The shell waits for another child, and ends while this one is waiting.
#[test]
fn a_command_in_the_background_is_not_waited_for() {
    let place = Place::new();
    let inner = "\"$HOLDLOCK\" run L -- echo inner ran";
    for outer in ["\"$HOLDLOCK\" run L --", "flock -o locks/L.lock"] {
        if outer.starts_with("flock") && !support::peers::has("flock") {
            continue;
        }
        let script = format!("{outer} sh -c '{inner} & sleep 1.5; echo outer ends'");
        let finished = Running::start(place.shell(&script)).finish();
        assert_eq!(finished.text(), "outer ends\ninner ran\n", "{script}");
    }
}

/// While the shell has another child, it is not known for which one it waits.
#[test]
fn what_is_only_possible_is_a_warning_and_the_wait_goes_on() {
    let place = Place::new();
    for quiet in ["", "-q"] {
        let inner = format!("\"$HOLDLOCK\" run {quiet} L -- echo ran");
        let script = format!(
            "\"$HOLDLOCK\" run L -- sh -c '{inner} 2> said & echo held; cat; echo outer ends'; \
             \"$HOLDLOCK\" run L true"
        );
        let mut running = Running::start_with_stdin(place.shell(&script));
        running.expect_line("held");
        if quiet.is_empty() {
            support::wait_for("the warning", || {
                let said = std::fs::read_to_string(place.join("said")).unwrap_or_default();
                said.contains("may be a deadlock").then_some(())
            });
        } else {
            // At least as long as the first one took.
            std::thread::sleep(Duration::from_millis(1500));
        }
        running.let_go();
        let finished = running.finish();
        assert_eq!(finished.text(), "outer ends\nran\n", "{finished:?}");
        let said = std::fs::read_to_string(place.join("said")).unwrap();
        // On a slow machine the wait is long enough to be reported as well.
        let warnings = said
            .lines()
            .filter(|line| line.contains("may be a deadlock"));
        assert_eq!(warnings.count(), usize::from(quiet.is_empty()), "{said}");
        assert!(quiet.is_empty() || said.is_empty(), "{said}");
    }
}

/// A program with that name may be another program.
#[test]
fn a_name_proves_nothing() {
    let place = Place::new();
    for name in ["flock", "holdlock"] {
        // It holds the lock, starts a command and does not wait for it.
        let script = "#!/bin/sh\nexec 9>>locks/L.lock; \"$HOLDLOCK\" flock 9; \"$@\" 9>&- & \
                      sleep 1.5; echo outer ends; exec 9>&-; wait\n";
        place.write_program(name, script);
        assert_eq!(place.run(["run", "L", "true"]).code(), 0);
        let words = [
            &*format!("./{name}"),
            env!("CARGO_BIN_EXE_holdlock"),
            "run",
            "L",
            "echo",
            "ran",
        ];
        let mut command = place.command(words[0]);
        command.args(&words[1..]);
        let finished = Running::start(command).finish();
        assert_eq!(finished.text(), "outer ends\nran\n", "{name}: {finished:?}");
    }
}

#[test]
fn a_cycle_over_two_locks_is_broken_by_the_one_that_closes_it() {
    let place = Place::new();
    let script = |own: &str, other: &str| {
        format!(
            "echo held; read line; \"$HOLDLOCK\" run {other} -- echo {own} has both; \
             code=$?; echo {own} $code; exit $code"
        )
    };
    let start = |own: &str, other: &str| {
        let words = ["run", own, "--", "sh", "-c", &script(own, other)];
        let mut running = Running::start_with_stdin(place.holdlock(words));
        running.expect_line("held");
        running
    };
    for _ in 0..5 {
        let mut first = start("A", "B");
        let second = start("B", "A");
        first.let_go();
        support::wait_for("the first to queue for the second's lock", || {
            let locks = std::fs::read_to_string("/proc/locks").unwrap();
            let inode = inode(&place, "B");
            let waits = |line: &str| line.contains("->") && line.contains(&inode);
            locks.lines().any(waits).then_some(())
        });
        // Start times have a hundredth of a second.
        std::thread::sleep(Duration::from_millis(20));
        let begin = Instant::now();
        let second = second.finish();
        let first = first.finish();
        // If the second one stands still for a second, the first one gives way.
        if first.code() == 65 && begin.elapsed() >= Duration::from_secs(1) {
            continue;
        }
        assert_eq!((second.code(), second.text()), (65, "B 65\n"), "{second:?}");
        assert!(second.stderr.contains("deadlock"), "{second:?}");
        assert_eq!((first.code(), first.text()), (0, "A has both\nA 0\n"));
        assert!(begin.elapsed() < Duration::from_secs(20));
        return;
    }
    panic!("it was late in every round");
}

fn inode(place: &Place, name: &str) -> String {
    use std::os::unix::fs::MetadataExt;
    let file = place.locks().join(format!("{name}.lock"));
    format!(":{} ", std::fs::metadata(file).unwrap().ino())
}

#[test]
fn a_reentrant_run_goes_on_at_once_under_the_lock_of_its_own_job() {
    let place = Place::new();
    let inner = "\"$HOLDLOCK\" run --reentrant L -- sh -c \"exit 3\"; echo inner $?";
    for outer in [
        "run L",
        "run --exec L",
        "run --tree L",
        "flock locks/L.lock",
    ] {
        place.run(["run", "L", "true"]);
        let script = format!("\"$HOLDLOCK\" {outer} sh -c '{inner}; exit 4'; echo outer $?");
        let finished = Running::start(place.shell(&script)).finish();
        assert_eq!(
            finished.text(),
            "inner 3\nouter 4\n",
            "{outer}: {finished:?}"
        );
        assert_eq!(finished.stderr, "");
    }
    // --exec turns the process that took the lock into the inner one.
    let script =
        r#""$HOLDLOCK" run --exec L "$HOLDLOCK" run --reentrant L sh -c 'exit 3'; echo $?"#;
    let finished = Running::start(place.shell(script)).finish();
    assert_eq!(finished.text(), "3\n", "{finished:?}");
    // The lock belongs to the outer run, which continues to hold it.
    let script = r#"
        "$HOLDLOCK" run L sh -c '
            "$HOLDLOCK" run --reentrant --lock L --lock M true
            setsid -w "$HOLDLOCK" run -n L true; echo held $?
            setsid -w "$HOLDLOCK" run -n M true; echo free $?'
    "#;
    let finished = Running::start(place.shell(script)).finish();
    assert_eq!(finished.text(), "held 75\nfree 0\n", "{finished:?}");
}

/// The shell that has acquired the lock reads, and waits for a child a moment later.
#[test]
fn a_reentrant_run_gives_an_ancestor_time_until_it_waits() {
    let place = Place::new();
    let script =
        "\"$HOLDLOCK\" run --reentrant L -- echo ran & echo $!; read line; sleep 2; echo over";
    // On a slow machine the shell is too late.
    let is_in_time = (0..5).any(|_| {
        let words = ["run", "--exec", "L", "--", "sh", "-c", script];
        let mut running = Running::start_with_stdin(place.holdlock(words));
        let inner = running.read_line();
        support::wait_for("the inner run to look again, or to wait", || {
            let place = std::fs::read_to_string(format!("/proc/{inner}/wchan")).unwrap();
            let names = ["nanosleep", "lock"];
            names.iter().any(|name| place.contains(name)).then_some(())
        });
        running.let_go();
        running.finish().text() == "ran\nover\n"
    });
    assert!(is_in_time);
}

#[test]
fn a_reentrant_run_sees_that_a_shell_waits_for_its_job() {
    let place = Place::new();
    let script = "\"$HOLDLOCK\" run --reentrant L -- echo ran & wait; echo over";
    let finished = place.run(["run", "--exec", "L", "--", "sh", "-c", script]);
    assert_eq!(finished.text(), "ran\nover\n", "{finished:?}");
}

#[test]
fn a_reentrant_run_proves_that_its_job_holds_the_lock() {
    let place = Place::new();
    // A shared lock is no exclusive one; a descriptor that was closed is no proof; a detached job
    // outlives the lock; and another process holds it.
    for (outer, what) in [
        ("run -s L", "a shared lock"),
        ("run --close L", "no descriptor"),
    ] {
        let inner = "\"$HOLDLOCK\" run --reentrant -n L true; echo $?";
        let script = format!("\"$HOLDLOCK\" {outer} sh -c '{inner}'");
        let finished = Running::start(place.shell(&script)).finish();
        assert_eq!(finished.text(), "75\n", "{what}: {finished:?}");
    }
    let holder = place.hold(&["L"]);
    let finished = place.run(["run", "--reentrant", "-n", "L", "true"]);
    assert_eq!(finished.code(), 75, "{finished:?}");
    holder.finish();
    // The file was replaced meanwhile: the new file at the path is not locked.
    let script = r#"
        "$HOLDLOCK" run L sh -c 'rm locks/L.lock; : >locks/L.lock
            "$HOLDLOCK" run --reentrant L sh -c "setsid -w \"\$HOLDLOCK\" run -n L true"; echo $?'
    "#;
    let finished = Running::start(place.shell(script)).finish();
    assert_eq!(finished.text(), "75\n", "{finished:?}");
}

#[test]
fn a_detached_reentrant_run_waits_for_its_turn() {
    let place = Place::new();
    let script = r#"
        # As long as its parent has not ended, it is not detached.
        cat >later <<'END'
            until test -e detached; do sleep 0.02; done
            echo $$ >pid
            exec "$HOLDLOCK" run --reentrant L sh -c 'test -e over; echo over $? >ran'
END
        cat >job <<'END'
            setsid -f sh later
            : >detached
            until test -s pid && grep -q -e "-> .* $(cat pid) " /proc/locks || test -s ran; do
                sleep 0.02
            done
            : >over
END
        "$HOLDLOCK" run L sh job
        until test -s ran; do sleep 0.02; done
        cat ran
    "#;
    let finished = Running::start(place.shell(script)).finish();
    assert_eq!(finished.text(), "over 0\n", "{finished:?}");
}
