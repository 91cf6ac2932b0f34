//! `holdlock who` that waits until a lock is free, or sends a signal to its holders.

mod support;

use std::time::{Duration, Instant};

use serde_json::Value;
use support::peers::{has, python};
use support::terminal::Terminal;
use support::{Place, Running, is_gone, wait_for};

#[test]
fn a_wait_ends_with_the_release_and_is_in_no_queue() {
    if !has("python3") {
        return;
    }
    let place = Place::new();
    let mut holder = python(&place, "flock", "x");
    let mut waiting = Running::start(place.holdlock(["who", "--wait", "./x"]));
    assert!(waiting.read_line().ends_with("x: held, exclusive flock"));
    let locks = std::fs::read_to_string("/proc/locks").unwrap();
    let pid = waiting.pid().to_string();
    assert!(!locks.split_whitespace().any(|word| word == pid));
    // The holder lives on.
    holder.say("unlock\n");
    holder.expect_line("unlocked");
    let finished = waiting.finish();
    assert_eq!(finished.code(), 0, "{finished:?}");
    assert!(finished.text().contains("x: free after "), "{finished:?}");
}

#[test]
fn a_wait_notices_the_end_of_the_holder_at_once() {
    let place = Place::new();
    // On a busy machine even an immediate reaction takes time, but not in every round.
    let quickest = (0..20)
        .map(|_| {
            let holder = place.hold(&["L"]);
            let mut waiting = Running::start(place.holdlock(["who", "--wait", "L"]));
            waiting.read_line();
            let look = after_a_look(waiting.pid());
            holder.finish();
            assert_eq!(waiting.finish().code(), 0);
            look.elapsed()
        })
        .find(|took| *took < Duration::from_millis(800));
    assert!(quickest.is_some(), "it waited for the next look each time");
}

/// Waits until a process looks once a second, and has just looked; returns when that was.
fn after_a_look(pid: u32) -> Instant {
    // Each sleep between two looks is a voluntary context switch.
    let sleeps = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("voluntary"));
        line.map(str::to_owned)
    };
    let mut last = (sleeps(), Instant::now());
    wait_for("looks to become rare", || {
        let now = sleeps();
        if now == last.0 {
            return None;
        }
        let rare = last.1.elapsed() > Duration::from_millis(800);
        last = (now, Instant::now());
        rare.then_some(last.1)
    })
}

#[test]
fn a_wait_that_runs_out_is_75() {
    let place = Place::new();
    let holder = place.hold(&["L"]);
    let begin = Instant::now();
    let finished = place.run(["who", "--wait", "300ms", "L"]);
    assert_eq!(finished.code(), 75);
    assert!(begin.elapsed() >= Duration::from_millis(300));
    assert!(
        finished.text().contains("still held after "),
        "{finished:?}"
    );
    let by = format!(", by pid {} ", holder.pid());
    assert!(finished.text().contains(&by), "{finished:?}");
    let document = place.run(["who", "--wait=10ms", "--json", "L"]);
    let document: Value = serde_json::from_slice(&document.stdout).unwrap();
    assert!(document["waited_s"].as_f64() >= Some(0.01), "{document}");
}

#[test]
fn without_a_terminal_a_signal_needs_a_yes() {
    if !has("setsid") {
        return;
    }
    let place = Place::new();
    let holder = place.hold(&["L"]);
    let script = "setsid -w \"$HOLDLOCK\" who --signal TERM L";
    let finished = Running::start(place.shell(script)).finish();
    assert_eq!(finished.code(), 64);
    assert!(finished.stderr.contains("--yes"), "{finished:?}");
    assert!(finished.text().contains("holds"), "shown nevertheless");
    let ended = holder.finish();
    assert_eq!(ended.code(), 0, "nobody has ended it: {ended:?}");
}

#[test]
fn a_signal_reaches_holders_and_no_waiters() {
    let place = Place::new();
    let holder = place.hold(&["L"]);
    let waiter = Running::start(place.holdlock(["run", "L", "echo", "ran"]));
    waiter.expect_waiting();
    let words = [
        "who", "--signal", "sigterm", "--yes", "--wait", "--json", "L",
    ];
    let finished = place.run(words);
    assert_eq!(finished.code(), 0, "{finished:?}");
    let document: Value = serde_json::from_slice(&finished.stdout).unwrap();
    assert_eq!(document["signalled"], serde_json::json!([holder.pid()]));
    assert!(
        finished.stderr.contains("TERM sent to pid "),
        "{finished:?}"
    );
    let waiter = waiter.finish();
    assert_eq!((waiter.code(), waiter.text()), (0, "ran\n"));
    assert_eq!(holder.finish().code(), 128 + 15);
}

#[test]
fn on_a_terminal_who_asks_before_it_sends_a_signal() {
    let place = Place::new();
    let holder = place.hold(&["L"]);
    for (answer, sent) in [("n\n", false), ("\n", false), ("y\n", true)] {
        let wait = if sent { "--wait" } else { "" };
        let script = format!("\"$HOLDLOCK\" who {wait} --signal TERM L; echo code $?");
        let mut terminal = Terminal::start(&place, &script);
        terminal.expect("send TERM to pid ");
        terminal.expect("[y/N]");
        terminal.press(answer);
        terminal.expect(if sent {
            "TERM sent to pid "
        } else {
            "nothing sent"
        });
        terminal.expect("code 0");
        terminal.finish();
    }
    assert_eq!(holder.finish().code(), 128 + 15);
}

#[test]
fn a_process_that_has_released_meanwhile_gets_no_signal() {
    if !has("python3") {
        return;
    }
    let place = Place::new();
    let mut holder = python(&place, "flock", "x");
    let script = "\"$HOLDLOCK\" who --signal KILL --wait ./x; echo code $?";
    let mut terminal = Terminal::start(&place, script);
    terminal.expect("[y/N]");
    holder.say("unlock\n");
    holder.expect_line("unlocked");
    // Another process holds the lock now, about which the user was not asked.
    let other = python(&place, "flock", "x");
    terminal.press("y\n");
    terminal.expect("no longer holds the lock: nothing sent to it");
    assert_eq!(other.finish().code(), 0);
    terminal.expect("code 0");
    assert_eq!(holder.finish().code(), 0);
}

#[test]
fn our_ancestors_get_no_signal() {
    let place = Place::new();
    let script = "\"$HOLDLOCK\" who --signal KILL --yes L; echo $?";
    let finished = place.run(["run", "L", "sh", "-c", script]);
    assert_eq!(finished.code(), 0, "{finished:?}");
    assert!(finished.text().ends_with("\n0\n"), "{finished:?}");
    assert!(
        finished.stderr.contains("has started this command"),
        "{finished:?}"
    );
}

/// A process that keeps what `holdlock run` has acquired with these words, which has ended.
fn heir(place: &Place, words: &[&str]) -> (Running, u32) {
    let script = "exec 9<&0; sh -c 'echo $$; read line <&9' & exit 0";
    let mut command = place.holdlock(["run", "--exec"]);
    command.args(words).args(["--", "sh", "-c", script]);
    let mut taker = Running::start_with_stdin(command);
    let heir = taker.read_line().parse().expect("a pid");
    wait_for("the taker to end", || {
        is_gone(taker.pid().into()).then_some(())
    });
    (taker, heir)
}

#[test]
fn a_living_holder_stands_for_its_children_also_where_an_heir_keeps_another_share() {
    let place = Place::new();
    for words in [["-s", "share"].as_slice(), &["--slots", "2", "slots"]] {
        let (left, heir) = heir(&place, words);
        let holder = place.hold(words);
        let lock = words[words.len() - 1];
        let asked = place.run(["who", lock]);
        let inherited = |line: &&str| line.starts_with("  inherited ");
        let inherited: Vec<&str> = asked.text().lines().filter(inherited).collect();
        assert_eq!(inherited.len(), 1, "{asked:?}");
        assert!(inherited[0].contains(&format!(" {heir} ")), "{asked:?}");
        let sent = place.run(["who", "--json", "--signal", "CONT", "--yes", lock]);
        let document: Value = serde_json::from_slice(&sent.stdout).unwrap();
        let signalled = document["signalled"].as_array().expect("numbers");
        let mut signalled: Vec<Option<u64>> = signalled.iter().map(Value::as_u64).collect();
        signalled.sort_unstable();
        let mut expected = [Some(heir.into()), Some(holder.pid().into())];
        expected.sort_unstable();
        assert_eq!(signalled, expected, "{words:?}");
        holder.finish();
        left.finish();
    }
}

/// Acquires the lock, hands the descriptor to another process, and ends. The other process reports
/// that, and keeps the lock until its standard input ends.
const HANDED_OVER: &str = r#"
import fcntl, os, socket, struct, sys
ours, theirs = socket.socketpair()
if os.fork() == 0:
    file = open(sys.argv[1], 'a')
    if sys.argv[2:] == ['ofd']:
        fcntl.fcntl(file, 37, struct.pack('hhqqi4x', fcntl.F_WRLCK, 0, 0, 0, 0))
    else:
        fcntl.flock(file, fcntl.LOCK_EX)
    socket.send_fds(theirs, [b'x'], [file.fileno()])
    os._exit(0)
message, received, flags, address = socket.recv_fds(ours, 1, 1)
os.wait()
if sys.argv[2:] == ['lease']:
    fcntl.fcntl(received[0], fcntl.F_SETLEASE, fcntl.F_WRLCK)
print('held', flush=True)
sys.stdin.read()
"#;

/// A process that holds a lock which it did not acquire itself.
fn was_handed(place: &Place, path: &str, more: &[&str]) -> Running {
    let mut command = place.command("python3");
    command.args(["-c", HANDED_OVER, path]).args(more);
    let mut victim = Running::start_with_stdin(command);
    victim.expect_line("held");
    victim
}

#[test]
fn a_holder_that_did_not_take_the_lock_is_marked() {
    if !has("python3") {
        return;
    }
    let place = Place::new();
    let victim = was_handed(&place, "x", &[]);
    let pid = victim.pid();
    let asked = place.run(["who", "./x"]);
    let line = format!("  inherited  {pid}");
    assert!(asked.text().contains(&line), "{asked:?}");
    let holder = |path| {
        let asked = place.run(["who", "--json", path]);
        let document: Value = serde_json::from_slice(&asked.stdout).unwrap();
        document["files"][0]["locks"][0]["holders"][0].clone()
    };
    assert_eq!(holder("./x")["inherited"], true);
    victim.finish();
    let taker = place.hold(&["./x"]);
    let asked = place.run(["who", "./x"]);
    assert!(asked.text().contains("  holds "), "{asked:?}");
    assert_eq!(holder("./x")["inherited"], false);
    taker.finish();
}

#[test]
fn a_process_that_was_handed_a_lock_is_signalled_only_where_it_was_shown() {
    if !has("python3") {
        return;
    }
    let place = Place::new();
    let victim = was_handed(&place, "x", &[]);
    // No process is shown before, so the user has not agreed to this one.
    for form in ["-q", "--json"] {
        let asked = place.run(["who", form, "--signal", "KILL", "--yes", "./x"]);
        assert_eq!(asked.code(), 0, "{asked:?}");
        let refused = "only inherited the lock, and was not shown: nothing is sent to it";
        assert!(asked.stderr.contains(refused), "{asked:?}");
        if form == "--json" {
            let document: Value = serde_json::from_slice(&asked.stdout).unwrap();
            assert_eq!(document["signalled"], serde_json::json!([]));
        }
    }
    // The question says that it only inherited the lock.
    let script = "\"$HOLDLOCK\" who --signal KILL ./x; echo code $?";
    let mut terminal = Terminal::start(&place, script);
    terminal.expect("send KILL to pid ");
    terminal.expect("(which only inherited the lock)? [y/N]");
    terminal.press("n\n");
    terminal.expect("nothing sent");
    terminal.finish();
    assert_eq!(victim.finish().code(), 0, "it lives");

    let victim = was_handed(&place, "x", &[]);
    let sent = place.run(["who", "--signal", "TERM", "--yes", "--wait", "./x"]);
    assert_eq!(sent.code(), 0, "{sent:?}");
    assert!(sent.text().contains("inherited"), "shown: {sent:?}");
    assert_eq!(victim.finish().signal(), Some(15));
}

/// A lease is no lock, and taking one is not taking the lock.
#[test]
fn a_process_that_was_handed_a_lock_and_has_a_lease_did_not_take_the_lock() {
    if !has("python3") {
        return;
    }
    let place = Place::new();
    let victim = was_handed(&place, "x", &["lease"]);
    let asked = place.run(["who", "-q", "--signal", "KILL", "--yes", "./x"]);
    let refused = "only inherited the lock, and was not shown: nothing is sent to it";
    assert!(asked.stderr.contains(refused), "{asked:?}");
    assert_eq!(victim.finish().code(), 0, "it lives");
}

/// The kernel does not say which process took an OFD lock: the holder may have been handed it.
#[test]
fn a_holder_of_an_ofd_lock_is_signalled_only_where_it_was_shown() {
    if !has("python3") {
        return;
    }
    let place = Place::new();
    let victim = was_handed(&place, "x", &["ofd"]);
    for form in ["-q", "--json"] {
        let asked = place.run(["who", form, "--signal", "KILL", "--yes", "./x"]);
        assert_eq!(asked.code(), 0, "{asked:?}");
        let refused = "may have only inherited the lock (the kernel does not name the taker of an \
                       OFD lock), and was not shown: nothing is sent to it";
        assert!(asked.stderr.contains(refused), "{asked:?}");
    }
    let script = "\"$HOLDLOCK\" who --signal KILL ./x; echo code $?";
    let mut terminal = Terminal::start(&place, script);
    terminal.expect("(which may have only inherited the OFD lock)? [y/N]");
    terminal.press("n\n");
    terminal.expect("nothing sent");
    terminal.finish();
    assert_eq!(victim.finish().code(), 0, "it lives");

    let victim = was_handed(&place, "x", &["ofd"]);
    let sent = place.run(["who", "--signal", "TERM", "--yes", "--wait", "./x"]);
    assert_eq!(sent.code(), 0, "{sent:?}");
    assert_eq!(victim.finish().signal(), Some(15));

    // No other user can open the file of this name.
    place.run(["run", "L", "true"]);
    let holder = python(&place, "ofd", "locks/L.lock");
    let words = ["who", "-q", "--signal", "TERM", "--yes", "--wait", "L"];
    assert_eq!(place.run(words).code(), 0);
    assert_eq!(holder.finish().signal(), Some(15));
}

#[test]
fn what_a_job_has_left_behind_is_signalled_by_its_name_without_being_shown() {
    if !has("python3") {
        return;
    }
    // No other user can open the file, so no other user can have handed it to this process.
    let place = Place::new();
    place.run(["run", "L", "true"]);
    let left = was_handed(&place, "locks/L.lock", &[]);
    let words = ["who", "-q", "--signal", "TERM", "--yes", "--wait", "L"];
    assert_eq!(place.run(words).code(), 0);
    assert_eq!(left.finish().signal(), Some(15));
}
