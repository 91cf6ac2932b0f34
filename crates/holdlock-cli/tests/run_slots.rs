//! `holdlock run --slots`: up to N commands at a time, each with the number of its slot.

mod support;

use holdlock_test_support::queue;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::{Place, Running, wait_for};

const HOLD: &str = "echo $HOLDLOCK_SLOT; read line; exit 0";

/// A command under `--slots`, which prints its slot and stays until it is let go.
fn start(place: &Place, slots: &str) -> Running {
    let words = ["run", "--slots", slots, "L", "--", "sh", "-c", HOLD];
    Running::start_with_stdin(place.holdlock(words))
}

/// The same, and the number of its slot.
fn hold(place: &Place, slots: &str) -> (Running, String) {
    let mut running = start(place, slots);
    let slot = running.read_line();
    (running, slot)
}

/// Waits until so many requests wait, where the one at the head counts once for each slot.
fn until_waiting(place: &Place, number: usize) {
    let file = place.locks().join("L.lock");
    queue::eventually("requests wait", || queue::length(&file) == number);
}

/// The JSON of the one file.
fn who(place: &Place) -> Value {
    let seen = place.run(["who", "--json", "L"]);
    let document: Value = serde_json::from_str(seen.text()).expect("JSON");
    document["files"][0].clone()
}

#[test]
fn commands_have_slots_of_their_own_and_the_next_one_waits_for_any() {
    let place = Place::new();
    let (first, one) = hold(&place, "2");
    let (second, two) = hold(&place, "2");
    assert_eq!([&*one, &*two], ["0", "1"]);
    let mut third = start(&place, "2");
    until_waiting(&place, 2);
    assert_eq!(second.finish().code(), 0);
    third.expect_line("1");
    assert_eq!(first.finish().code(), 0);
    // The numbers are used again.
    assert_eq!(hold(&place, "2").1, "0");
    third.finish();
}

#[test]
fn who_list_and_the_log_show_the_slots_and_the_queue() {
    let place = Place::new();
    let (first, _) = hold(&place, "2");
    let (second, _) = hold(&place, "2");
    let third = start(&place, "2");
    until_waiting(&place, 2);
    let fourth = start(&place, "2");
    until_waiting(&place, 3);

    let file = who(&place);
    assert_eq!(file["slots"], 2);
    let locks = file["locks"].as_array().expect("locks");
    let mut slots: Vec<(u64, u64)> = locks
        .iter()
        .map(|lock| {
            let pid = &lock["holders"][0]["process"]["pid"];
            (
                lock["slot"].as_u64().expect("a slot"),
                pid.as_u64().expect("a pid"),
            )
        })
        .collect();
    slots.sort_unstable();
    assert_eq!(slots, [(0, first.pid().into()), (1, second.pid().into())]);
    let waiters = file["waiters"].as_array().expect("waiters");
    let queue: Vec<u64> = waiters
        .iter()
        .filter(|waiter| waiter["for_slot"] == true)
        .filter_map(|waiter| waiter["process"]["pid"].as_u64())
        .collect();
    assert_eq!(queue, [u64::from(third.pid()), fourth.pid().into()]);

    let text = place.run(["who", "L"]).text().to_owned();
    assert!(text.contains("held, 2 of 2 slots; 2 wait"), "{text}");
    assert!(text.contains("slot 0") && text.contains("slot 1"), "{text}");
    assert!(text.contains("any slot"), "{text}");
    let mut job = text.lines().filter(|line| line.contains("  job "));
    assert!(job.all(|line| !line.contains(" all ")), "{text}");
    let path = place.locks().join("L.lock");
    let words = ["list", "-o", "pid,slot,blocker", "--no-headings"];
    let list = place.run(
        words
            .map(Into::into)
            .into_iter()
            .chain([path.into_os_string()]),
    );
    let list: Vec<Vec<&str>> = list
        .text()
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let pid = |running: &Running| running.pid().to_string();
    assert!(list.contains(&vec![&pid(&first), "0", "-"]), "{list:?}");
    let waits = list
        .iter()
        .find(|line| line[0] == pid(&third))
        .expect("a line");
    assert_eq!(waits[1], "-");
    assert!(
        [pid(&first), pid(&second)].contains(&waits[2].to_owned()),
        "{list:?}"
    );
    for running in [first, second, third, fourth] {
        assert_eq!(running.finish().code(), 0);
    }
    let words = ["run", "--slots", "2", "--log", "log", "L", "true"];
    assert_eq!(place.run(words).code(), 0);
    let line = std::fs::read_to_string(place.join("log")).expect("a log");
    let line: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(
        (&line["slot"], &line["outcome"]),
        (&0.into(), &"ran".into())
    );
}

#[test]
fn a_conflict_says_that_all_slots_are_taken_and_by_which_processes() {
    let place = Place::new();
    let (first, _) = hold(&place, "2");
    let (second, _) = hold(&place, "2");
    let refused = place.run(["run", "-n", "--slots", "2", "L", "true"]);
    assert_eq!(refused.code(), 75);
    assert!(
        refused
            .stderr
            .contains("all 2 slots are taken; held by pid"),
        "{refused:?}"
    );
    for running in [&first, &second] {
        let pid = format!("pid {} ", running.pid());
        assert!(refused.stderr.contains(&pid), "{refused:?}");
    }
    let late = place.run(["run", "-w", "50ms", "--slots", "2", "L", "true"]);
    assert_eq!(late.code(), 75);
    let wanted = "timed out after 50 ms waiting for one of 2 slots; held by pid";
    assert!(late.stderr.contains(wanted), "{late:?}");
    assert_eq!(
        place
            .run(["run", "--skip", "--slots", "2", "L", "true"])
            .code(),
        0
    );
}

#[test]
fn another_number_of_slots_is_refused_aloud_and_accepted_when_none_is_held() {
    let place = Place::new();
    let (first, _) = hold(&place, "2");
    for options in [&["--slots", "3"][..], &["--skip", "--slots", "3"]] {
        let words = ["run"].iter().chain(options).chain(&["L", "true"]);
        let refused = place.run(words);
        assert_eq!(refused.code(), 75);
        let pid = first.pid();
        let wanted = format!("the file is in use with 2; held by pid {pid} (sh -c echo");
        assert!(refused.stderr.contains(&wanted), "{refused:?}");
        assert!(
            refused.stderr.contains("use the same number"),
            "{refused:?}"
        );
    }
    first.finish();
    assert_eq!(place.run(["run", "--slots", "3", "L", "true"]).code(), 0);
}

#[test]
fn a_lock_and_the_slots_exclude_each_other() {
    let place = Place::new();
    let holder = place.hold(&["L"]);
    let refused = place.run(["run", "-n", "--slots", "2", "L", "true"]);
    assert_eq!(refused.code(), 75);
    assert!(
        refused.stderr.contains("already locked; held by"),
        "{refused:?}"
    );
    let mut waiting = start(&place, "2");
    waiting.expect_waiting();
    holder.finish();
    waiting.expect_line("0");
    assert_eq!(place.run(["run", "-n", "L", "true"]).code(), 75);
    waiting.finish();
    assert_eq!(place.run(["run", "-n", "L", "true"]).code(), 0);
}

#[test]
fn requests_for_slots_are_no_lock_of_another_family() {
    let place = Place::new();
    let holder = place.hold(&["L"]);
    // On a slow machine the wait may be long enough to be reported.
    let next = Running::start(place.holdlock(["run", "--progress", "never", "L", "true"]));
    next.expect_waiting();
    // The second one has a ticket.
    let mut slots = Vec::new();
    for waiting in [2, 3] {
        slots.push(start(&place, "2"));
        until_waiting(&place, waiting);
    }
    holder.finish();
    let finished = next.finish();
    assert_eq!((finished.code(), finished.stderr.as_str()), (0, ""));
}

#[test]
fn bad_numbers_and_options_are_refused_and_create_nothing() {
    let place = Place::new();
    for number in ["0", "-1", "257", "many", "99999999999", ""] {
        let refused = place.run(["run", "--slots", number, "L", "true"]);
        assert_eq!(refused.code(), 64, "{refused:?}");
        assert!(
            refused.stderr.contains("a lock has 1 to 256 slots"),
            "{refused:?}"
        );
    }
    for other in ["-s", "--reentrant", "--lock=M"] {
        assert_eq!(
            place
                .run(["run", "--slots", "2", other, "L", "true"])
                .code(),
            64
        );
    }
    assert!(!place.locks().exists());
}

#[test]
fn what_a_killed_command_leaves_at_work_keeps_the_slot() {
    let place = Place::new();
    let script = "sleep 1000 & echo $!; wait";
    let words = ["run", "--slots", "1", "L", "--", "sh", "-c", script];
    let mut running = Running::start(place.holdlock(words));
    let left: i32 = running.read_line().parse().expect("a pid");
    // holdlock and the shell die, and what the shell has started goes on.
    running.signal(Signal::KILL);
    let refused = wait_for("the shell has ended", || {
        let refused = place.run(["run", "-n", "--slots", "1", "L", "true"]);
        refused
            .stderr
            .contains(&format!("pid {left} "))
            .then_some(refused)
    });
    assert_eq!(refused.code(), 75, "{refused:?}");
    assert!(
        refused.stderr.contains("the only slot is taken"),
        "{refused:?}"
    );
    kill_process(Pid::from_raw(left).expect("a pid"), Signal::KILL).expect("killed");
    let words = [
        "run",
        "--slots",
        "1",
        "L",
        "--",
        "sh",
        "-c",
        "echo $HOLDLOCK_SLOT",
    ];
    assert_eq!(place.run(words).text(), "0\n");
}

#[test]
fn max_hold_ends_the_command_and_frees_the_slot() {
    let place = Place::new();
    let words = [
        "run",
        "--slots",
        "1",
        "--max-hold",
        "100ms",
        "L",
        "sleep",
        "1000",
    ];
    assert_eq!(place.run(words).code(), 124);
    assert_eq!(
        place.run(["run", "-n", "--slots", "1", "L", "true"]).code(),
        0
    );
}

#[test]
fn a_command_that_becomes_the_program_hands_it_the_slot() {
    let place = Place::new();
    let words = ["run", "--exec", "--slots", "1", "L", "--", "sh", "-c", HOLD];
    let mut running = Running::start_with_stdin(place.holdlock(words));
    running.expect_line("0");
    assert_eq!(
        place.run(["run", "-n", "--slots", "1", "L", "true"]).code(),
        75
    );
    running.finish();
    assert_eq!(
        place.run(["run", "-n", "--slots", "1", "L", "true"]).code(),
        0
    );
}

#[test]
fn a_job_that_needs_a_slot_of_its_own_job_is_told() {
    let place = Place::new();
    let script = "\"$HOLDLOCK\" run --slots 1 L -- true";
    let words = ["run", "--slots", "1", "L", "--", "sh", "-c", script];
    let told = place.run(words);
    assert_eq!(told.code(), 65, "{told:?}");
    assert!(told.stderr.contains("would be a deadlock"), "{told:?}");
    // With a second slot there is none.
    let words = words.map(|word| if word == "1" { "2" } else { word });
    let script = script.replace("1 L", "2 L");
    let words = words.map(|word| {
        if word.contains("HOLDLOCK") {
            &*script
        } else {
            word
        }
    });
    assert_eq!(place.run(words).code(), 0);
}

#[test]
fn the_command_keeps_its_environment() {
    let place = Place::new();
    let words = [
        "run",
        "--slots",
        "2",
        "L",
        "--",
        "sh",
        "-c",
        "echo $A $HOLDLOCK_SLOT",
    ];
    let mut command = place.holdlock(words);
    command.env("A", "b c").env("HOLDLOCK_SLOT", "7");
    assert_eq!(Running::start(command).finish().text(), "b c 0\n");
}
