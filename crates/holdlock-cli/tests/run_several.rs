//! `holdlock run`: several locks at once.

mod support;

use support::{Place, Running};

#[test]
fn all_are_taken_or_none() {
    let place = Place::new();
    let both = ["run", "-n", "--lock", "A", "--lock", "B", "echo", "ran"];
    for (held, free) in [("A", "B"), ("B", "A")] {
        let holder = place.hold(&[held]);
        let finished = place.run(both);
        assert_eq!((finished.code(), finished.text()), (75, ""));
        assert_eq!(place.run(["run", "-n", free, "true"]).code(), 0);
        holder.finish();
    }
    let holder = place.hold(&["--lock", "A", "--lock", "B"]);
    for lock in ["A", "B"] {
        assert_eq!(place.run(["run", "-n", lock, "true"]).code(), 75);
    }
    holder.finish();
    assert_eq!(place.run(both).text(), "ran\n");
}

#[test]
fn opposite_orders_do_not_deadlock() {
    let place = Place::new();
    let script = |first: &str, second: &str| {
        format!(
            "i=0; while [ $i -lt 30 ]; do i=$((i+1)); \
             \"$HOLDLOCK\" run -w 20s --lock {first} --lock {second} true || exit 9; done"
        )
    };
    let one = Running::start(place.shell(&script("A", "B")));
    let two = Running::start(place.shell(&script("B", "A")));
    for running in [one, two] {
        assert_eq!(running.finish().code(), 0);
    }
}

#[test]
fn the_order_is_that_of_the_files_and_not_of_the_words() {
    use std::os::unix::fs::MetadataExt;
    let place = Place::new();
    assert_eq!(
        place
            .run(["run", "--lock", "A", "--lock", "B", "true"])
            .code(),
        0
    );
    let inode = |name: &str| {
        let file = place.locks().join(format!("{name}.lock"));
        std::fs::metadata(file).expect("it was made").ino()
    };
    let (first, second) = if inode("A") < inode("B") {
        ("A", "B")
    } else {
        ("B", "A")
    };
    for words in [[first, second], [second, first]] {
        let holder = place.hold(&[first]);
        let both = ["run", "--lock", words[0], "--lock", words[1], "echo", "ran"];
        let waiter = Running::start(place.holdlock(both));
        waiter.expect_waiting();
        // A run that waits for the first lock has not acquired the second.
        assert_eq!(place.run(["run", "-n", second, "true"]).code(), 0);
        holder.finish();
        assert_eq!(waiter.finish().text(), "ran\n");
    }
}

#[test]
fn one_file_by_two_names_is_one_lock() {
    let place = Place::new();
    std::fs::write(place.join("one"), "").unwrap();
    std::fs::hard_link(place.join("one"), place.join("two")).unwrap();
    let finished = place.run([
        "run", "-w", "5s", "--lock", "./one", "--lock", "./two", "--lock", "./one", "--", "true",
    ]);
    assert_eq!(finished.code(), 0, "{finished:?}");
}

#[test]
fn one_time_limit_is_for_all() {
    let place = Place::new();
    let _one = place.hold(&["A"]);
    let _two = place.hold(&["B"]);
    let begin = std::time::Instant::now();
    let finished = place.run(["run", "-w", "200ms", "--lock", "A", "--lock", "B", "true"]);
    assert_eq!(finished.code(), 75);
    assert!(begin.elapsed().as_millis() >= 200);
}

#[test]
fn skip_is_silence_and_success() {
    let place = Place::new();
    let holder = place.hold(&["L"]);
    for options in [
        &["--skip"][..],
        &["--skip", "-w", "50ms"],
        &["--skip", "-s"],
    ] {
        let words = ["run"].iter().chain(options).chain(&["L", "echo", "ran"]);
        let finished = place.run(words);
        let all = (finished.code(), finished.text(), finished.stderr.as_str());
        assert_eq!(all, (0, "", ""), "{options:?}");
    }
    holder.finish();
    let finished = place.run(["run", "--skip", "L", "sh", "-c", "echo ran; exit 3"]);
    assert_eq!((finished.code(), finished.text()), (3, "ran\n"));
}

#[test]
fn quiet_gives_up_without_a_word() {
    let place = Place::new();
    let _holder = place.hold(&["L"]);
    let finished = place.run(["run", "-q", "-n", "L", "true"]);
    assert_eq!((finished.code(), finished.stderr.as_str()), (75, ""));
}

/// The progress line names the lock that is busy at that time, and other processes can acquire the
/// free lock.
#[test]
fn a_wait_names_the_lock_that_is_in_the_way() {
    let place = Place::new();
    let one = place.hold(&["A"]);
    let run = "\"$HOLDLOCK\" run --progress always --lock A --lock B -- echo ran 2> said";
    let waiter = Running::start(place.shell(run));
    let said = || std::fs::read_to_string(place.join("said")).unwrap_or_default();
    let is_said = |text: &str| {
        support::wait_for(text, || said().contains(text).then_some(()));
    };
    is_said(" for A; held by pid");
    let two = place.hold(&["B"]);
    one.finish();
    // Each line comes later than the one before: the first one after half a second, the second one
    // after a minute. So ask the kernel.
    let path = place.locks().join("B.lock");
    support::wait_for("the wait for B", || {
        let snapshot = holdlock::inspect::file(&path).ok()?;
        let waits = snapshot.files.iter().any(|file| !file.waiters.is_empty());
        waits.then_some(())
    });
    assert_eq!(place.run(["run", "-n", "A", "true"]).code(), 0);
    two.finish();
    assert_eq!(waiter.finish().text(), "ran\n");
    is_said("acquired A, B after");
}

#[test]
fn giving_up_names_the_lock_that_is_in_the_way_and_its_holder() {
    let place = Place::new();
    for busy in ["A", "B"] {
        let holder = place.hold(&[busy]);
        for patience in [&["-n"][..], &["-w", "100ms"]] {
            let mut words = vec!["run"];
            words.extend(patience);
            words.extend(["--lock", "A", "--lock", "B", "true"]);
            let finished = place.run(words);
            assert_eq!(finished.code(), 75);
            let named = finished.stderr.contains(&format!("/{busy}.lock: "));
            assert!(
                named && finished.stderr.contains("held by pid"),
                "{finished:?}"
            );
        }
        holder.finish();
    }
}
