//! An administrator ends a session (`pg_terminate_backend`) at each step of a request: the request
//! says so, a guard knows that its lock is lost, and nothing is left behind.

use std::thread::{ScopedJoinHandle, scope};

use holdlock_engines::{EngineGuard, EngineLock, Error, open};
use holdlock_test_support::servers::Server as _;
use holdlock_test_support::{eventually, watchdog};

use crate::server::Server;
use crate::support::actor::Actor;
use crate::support::lost::{is_lost, wait_for_loss};
use crate::support::order::wait_for_waiters;
use crate::tripwire::{At, Then, Tripwire};
use crate::{name, server};

type Request<'a> = ScopedJoinHandle<'a, Result<EngineGuard, Error>>;

/// Ends all sessions of this lock but that of the holder, and waits until they are gone.
fn end_sessions(server: &Server, name: &str, holder: Option<&str>) {
    let holder = holder.unwrap_or("0");
    let rows = format!(
        "FROM pg_stat_activity WHERE application_name = 'holdlock:{name}' AND pid <> {holder}"
    );
    server.sql(&format!("SELECT pg_terminate_backend(pid) {rows}"));
    eventually("the sessions end", || {
        server.sql(&format!("SELECT count(*) {rows}")) == "0"
    });
}

fn session_of_holder(lock: &EngineLock) -> String {
    let holders = lock.members().expect("answers").holders;
    holders[0].session.clone().expect("a session")
}

/// Whether a machine is so slow that the request has given up before its session was ended. Then
/// the step is repeated: a request that does not notice the end says so each time.
fn is_slow(error: &Error) -> bool {
    error.to_string().contains("did not answer within")
}

/// The session has ended while the wire holds something back. False on a slow machine.
fn says_that_the_session_ended(wire: &Tripwire, request: Request<'_>, at: At, step: &str) -> bool {
    // If it is the statement, the server's last words end the request. The end of the connection
    // would be faster than they are.
    if at == At::Answer {
        wire.go_on(Then::Drop);
    }
    let error = request.join().expect("no panic").expect_err(step);
    wire.go_on(Then::Drop);
    assert!(
        matches!(error, Error::Unreachable { .. }),
        "{step}: {error:?}"
    );
    if is_slow(&error) {
        return false;
    }
    let said = error.to_string();
    // The server's last words were held back with its answer.
    let why = match at {
        At::Statement => "administrator command",
        At::Answer => "the connection ended",
    };
    assert!(
        said.contains(why) && said.contains("try again"),
        "{step}: {said}"
    );
    true
}

#[test]
fn a_request_for_a_free_lock_whose_session_is_ended_says_so_and_holds_nothing() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("free");
    let near = open(&server.url(&name)).expect("a lock");
    for (at, step) in [
        (At::Statement, "SET tcp_keepalives_idle"),
        (At::Statement, "pg_try_advisory_lock("),
        (At::Answer, "pg_try_advisory_lock("),
        (At::Statement, "pg_logical_emit_message("),
        (At::Answer, "pg_logical_emit_message("),
    ] {
        let says_so = || {
            let wire = Tripwire::start(server.port(), at, step);
            let far = open(&server.url_at(wire.port(), &name)).expect("a lock");
            scope(|scope| {
                let request = scope.spawn(|| far.lock());
                wire.wait();
                end_sessions(server, &name, None);
                says_that_the_session_ended(&wire, request, at, step)
            })
        };
        assert!((0..3).any(|_| says_so()), "{step}");
        server.nothing_left(&name);
        near.try_lock().expect(step).release().expect("ours");
    }
}

#[test]
fn a_request_whose_session_is_ended_on_its_way_to_sleep_leaves_no_ticket() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("held");
    for (options, at, step) in [
        ("", At::Statement, "a.usename"),
        ("", At::Statement, "| t.n)"),
        ("", At::Answer, "| t.n)"),
        ("", At::Statement, "SELECT max("),
        ("", At::Statement, "PERFORM pg_advisory_lock("),
        ("&slots=1", At::Statement, "LISTEN "),
        ("&slots=1", At::Statement, "generate_series(0"),
    ] {
        let options = format!("ttl=10{options}");
        let near = open(&server.with(&options, &name)).expect("a lock");
        let guard = near.lock().expect("free");
        let holder = session_of_holder(&near);
        let says_so = || {
            let wire = Tripwire::start(server.port(), at, step);
            let far = server.url_by(&[wire.port()], &options, &name);
            let far = open(&far).expect("a lock");
            scope(|scope| {
                let request = scope.spawn(|| far.lock());
                wire.wait();
                end_sessions(server, &name, Some(&holder));
                says_that_the_session_ended(&wire, request, at, step)
            })
        };
        assert!((0..3).any(|_| says_so()), "{step}");
        let members = near.members().expect("answers");
        assert_eq!(members.waiters.len(), 0, "{step}: {members:?}");
        guard.check().expect("held");
        guard.release().expect("ours");
        server.nothing_left(&name);
    }
}

#[test]
fn a_sleeping_waiter_whose_session_is_ended_says_so_and_those_behind_it_go_on() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    for (options, ended) in [("ttl=10", 0), ("ttl=10", 1), ("ttl=10&slots=1", 0)] {
        let name = name("asleep");
        let url = server.with(options, &name);
        let lock = open(&url).expect("a lock");
        let holder = lock.lock().expect("free");
        let mut waiters = [(); 3].map(|()| Actor::start(&url));
        for (number, waiter) in waiters.iter_mut().enumerate() {
            waiter.tell("lock");
            wait_for_waiters(&lock, number + 1);
        }
        let members = lock.members().expect("answers");
        let session = members.waiters[ended].session.clone().expect("a session");
        server.sql(&format!("SELECT pg_terminate_backend({session})"));
        let said = waiters[ended].answer();
        assert!(
            said.starts_with("Unreachable") && said.contains("administrator"),
            "{said}"
        );
        wait_for_waiters(&lock, 2);
        holder.release().expect("ours");
        for (number, waiter) in waiters.iter_mut().enumerate() {
            if number != ended {
                assert!(waiter.answer().starts_with("held"));
                assert_eq!(waiter.ask("release"), "released");
            }
        }
        server.nothing_left(&name);
    }
}

#[test]
fn a_lock_whose_session_is_ended_right_after_the_grant_is_lost_at_once() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("granted");
    let near = open(&server.url(&name)).expect("a lock");
    for (at, step) in [
        (At::Answer, "pg_logical_emit_message("),
        // The first renewal.
        (At::Statement, "*/ SELECT 1"),
    ] {
        let is_lost_at_once = || {
            let wire = Tripwire::start(server.port(), at, step);
            let far = open(&server.url_at(wire.port(), &name)).expect("a lock");
            scope(|scope| {
                let request = scope.spawn(|| far.lock());
                wire.wait();
                end_sessions(server, &name, None);
                wire.go_on(Then::PassOn);
                let guard = match request.join().expect("no panic") {
                    Err(error) if is_slow(&error) => return false,
                    granted => granted.expect("granted"),
                };
                assert!(wait_for_loss(&guard).is_definite(), "{step}");
                assert!(!guard.is_valid() && is_lost(guard.check()), "{step}");
                let next = near.try_lock().expect(step);
                assert!(is_lost(guard.release()), "{step}");
                next.release().expect("ours");
                true
            })
        };
        assert!((0..3).any(|_| is_lost_at_once()), "{step}");
        server.nothing_left(&name);
    }
}

/// The result of a release that is held back at this point, and what the test does meanwhile.
fn released(
    server: &Server,
    name: &str,
    at: At,
    meanwhile: impl FnOnce() -> Then,
) -> Option<Error> {
    let wire = Tripwire::start(server.port(), at, "SELECT pg_advisory_unlock(");
    // What the test does meanwhile is over before the lock counts as lost.
    let far = server.url_by(&[wire.port()], "ttl=12", name);
    let far = open(&far).expect("a lock");
    let guard = far.lock().expect("free");
    scope(|scope| {
        let release = scope.spawn(|| guard.release());
        wire.wait();
        wire.go_on(meanwhile());
        release.join().expect("no panic").err()
    })
}

#[test]
fn a_release_whose_session_is_ended_says_what_it_knows() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("release");
    let near = open(&server.url(&name)).expect("a lock");
    let is_free = || eventually("it is free", || near.try_lock().is_ok());

    let unheard = released(server, &name, At::Statement, || {
        end_sessions(server, &name, None);
        Then::Drop
    });
    // The session may have ended before the work under the lock was done.
    let unheard = unheard.expect("not released").to_string();
    assert!(unheard.contains("may have been lost"), "{unheard}");
    is_free();

    let unanswered = released(server, &name, At::Answer, || {
        is_free();
        Then::Drop
    });
    let unanswered = unanswered.expect("no answer").to_string();
    assert!(
        unanswered.contains("may have been lost") && unanswered.contains("the release"),
        "{unanswered}"
    );

    let answered = released(server, &name, At::Answer, || {
        is_free();
        end_sessions(server, &name, None);
        Then::PassOn
    });
    assert!(answered.is_none(), "{answered:?}");
    server.nothing_left(&name);
}
