//! Other code of the process closes descriptors of the library: the library does not lock, unlock
//! or close the file of a stranger, and does not claim a lock that it has lost.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use holdlock_conformance::{Scratch, skipped, watchdog};

/// Runs one scene of `closer`.
#[track_caller]
fn scene(name: &str) {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let status = Command::new(env!("CARGO_BIN_EXE_closer"))
        .arg(name)
        .arg(scratch.lock())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .expect("runs");
    assert!(status.success(), "{name}: {status}");
}

#[test]
fn a_closed_descriptor_is_opened_anew_and_no_strangers_file_is_locked() {
    scene("free");
}

#[test]
fn a_helper_thread_that_was_just_started_is_about_to_open_nothing() {
    scene("note");
}

#[test]
fn a_lock_whose_descriptor_was_closed_is_not_believed_to_be_held() {
    scene("held");
}

#[test]
fn a_strangers_descriptor_is_not_closed_with_the_lock() {
    scene("dropped");
}

#[test]
fn a_descriptor_closed_during_the_wait_gives_no_lock() {
    scene("waiting");
}

#[test]
fn a_descriptor_closed_while_a_fair_request_waits_for_its_turn_gives_no_lock() {
    scene("waiting-turn");
}

#[test]
fn a_helper_thread_whose_descriptor_was_closed_gives_no_lock() {
    scene("waiting-thread");
}

#[test]
fn a_helper_thread_whose_descriptor_was_closed_unlocks_no_strangers_file() {
    scene("abandoned-thread");
}

#[test]
fn an_interrupted_wait_does_not_go_on_with_a_strangers_file() {
    scene("interrupted");
}

#[test]
fn a_lock_is_not_passed_on_by_a_closed_descriptor() {
    scene("passed-on");
}

#[test]
fn a_closed_descriptor_is_not_converted() {
    scene("converted");
}

#[test]
fn a_number_that_went_to_the_same_file_is_not_ours_either() {
    scene("held-same-file");
    scene("held-by-std");
    if holdlock_conformance::has("flock") {
        scene("waiting-same-file");
    }
}

#[test]
fn a_lost_lock_is_no_reason_to_refuse_another_one() {
    scene("asked-again");
}

#[test]
fn what_a_helper_thread_reads_may_be_closed_and_its_number_is_not_closed_then() {
    let scratch = Scratch::new();
    let program = [env!("CARGO_BIN_EXE_closer"), "head-look"];
    with_slow_calls(
        "pread64",
        "delay_exit",
        Path::new("/proc/locks"),
        &program,
        &scratch.lock(),
    );
}

#[test]
fn a_number_that_another_thread_has_for_the_same_file_is_not_ours() {
    let scratch = Scratch::new();
    let path = scratch.lock();
    let program = [env!("CARGO_BIN_EXE_number-taken")];
    with_slow_calls("fstat,newfstatat", "delay_exit", &path, &program, &path);
}

#[test]
fn a_directory_that_is_closed_before_it_is_read_hides_no_holder() {
    search_whose_listing_is_closed("delay_enter");
}

#[test]
fn a_directory_that_is_closed_after_it_was_read_causes_no_panic() {
    search_whose_listing_is_closed("delay_exit");
}

#[track_caller]
fn search_whose_listing_is_closed(delay: &str) {
    let scratch = Scratch::new();
    let path = scratch.lock();
    // The search tries the usual numbers first, and lists the directory only for higher ones.
    let _lower: Vec<File> = (0..10).flat_map(|_| File::open("/dev/null")).collect();
    let holder = File::create(&path).expect("created");
    holder.try_lock().expect("free");
    std::fs::remove_file(&path).expect("removed");
    let directory = format!("/proc/{}/fd", std::process::id());
    let program = [env!("CARGO_BIN_EXE_listing-closed")];
    with_slow_calls("getdents64", delay, Path::new(&directory), &program, &path);
}

/// Runs a program with the path of a lock. Its calls for the file `slow` begin or end 0.3 s late.
fn with_slow_calls(calls: &str, delay: &str, slow: &Path, program: &[&str], lock: &Path) {
    let _dog = watchdog::watch(60);
    let slowly = || {
        let mut command = Command::new("strace");
        command.args(["-f", "-o", "/dev/null", "-e"]);
        command.arg(format!("trace={calls}"));
        command.arg("-e");
        command.arg(format!("inject={calls}:{delay}=300000"));
        command.arg("-P").arg(slow);
        command
    };
    let works = slowly().arg("true").status();
    if !works.is_ok_and(|status| status.success()) {
        return skipped("needs strace and the right to trace");
    }
    let status = slowly().args(program).arg(lock).status();
    assert!(status.expect("runs").success());
}
