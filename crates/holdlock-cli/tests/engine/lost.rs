//! What becomes of a command whose lock is lost.

use holdlock_test_support::servers::Server as _;
use holdlock_test_support::watchdog;

use crate::{server, start};

fn end_session(server: &server::Server, name: &str) {
    server.sql(&format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE application_name = 'holdlock:{name}'"
    ));
}

#[test]
fn a_command_whose_lock_is_lost_is_ended() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let url = server.url("lost");
    // The command's child goes on after TERM, and KILL gets it.
    let stubborn = "(trap '' TERM; while :; do sleep 0.1; done) & echo runs; wait";
    let running = start(&[&url, "--", "sh", "-c", stubborn]);
    end_session(server, "lost");
    let (code, _, said) = running.ended();
    assert_eq!(code, Some(74), "{said}");
    assert!(
        said.contains("the lock was lost") && said.contains("ending the command"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn a_command_can_be_killed_at_once() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let url = server.url("lost-kill");
    let says = "trap 'echo TERM' TERM; echo runs; while :; do sleep 0.1; done";
    let running = start(&["--on-lost", "kill", &url, "--", "sh", "-c", says]);
    end_session(server, "lost-kill");
    let (code, out, said) = running.ended();
    assert_eq!((code, out.as_str()), (Some(74), ""), "{said}");

    // As a control: with TERM first, the same command hears it.
    let running = start(&["--on-lost", "term", &url, "--", "sh", "-c", says]);
    end_session(server, "lost-kill");
    let (code, out, said) = running.ended();
    assert_eq!((code, out.as_str()), (Some(74), "TERM\n"), "{said}");
}

#[test]
fn a_command_can_go_on_without_its_lock() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let url = server.url("lost-warn");
    let stays = "echo runs; read line; exit 7";
    let mut running = start(&["--on-lost", "warn", &url, "--", "sh", "-c", stays]);
    end_session(server, "lost-warn");
    let warning = running.warning();
    assert!(
        warning.contains("the lock was lost") && warning.contains("continues without the lock"),
        "{warning}"
    );
    let (code, _, said) = running.end();
    assert_eq!(code, Some(7), "{said}");
}

#[test]
fn a_silent_server_ends_the_command_before_the_lock_is_free() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::own("") else {
        return;
    };
    let url = server.url("still");
    let running = start(&[&url, "--", "sh", "-c", "echo runs; sleep 100"]);
    let session =
        server.sql("SELECT pid FROM pg_stat_activity WHERE application_name = 'holdlock:still'");
    server.signal_all(&[session], rustix::process::Signal::STOP);
    let (code, _, said) = running.ended();
    assert_eq!(code, Some(74), "{said}");
    assert!(said.contains("does not answer"), "{said}");
}
