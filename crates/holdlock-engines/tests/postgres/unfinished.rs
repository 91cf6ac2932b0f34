//! Answers whose end never comes, although the connection lasts: each request has an end, and the
//! session ends with it, and with the session the lock.

use std::thread::scope;
use std::time::{Duration, Instant};

use holdlock_engines::{Error, open};
use holdlock_test_support::servers::Server as _;
use holdlock_test_support::watchdog;

use crate::support::lost::{is_lost, wait_for_loss};
use crate::support::order::wait_for_waiters;
use crate::support::unfinished::{End, LONG, Unfinished, comes_free, is_given_up};
use crate::{name, server};

/// Without ReadyForQuery.
const NOT_READY: End = End {
    length: 6,
    instead: b"",
};
/// With NoData in the place of ReadyForQuery: the client gives the statement up, and waits for the
/// rest of the answer all the same.
const OUT_OF_PLACE: End = End {
    length: 6,
    instead: b"n\0\0\0\x04",
};

const TRY: &str = "pg_try_advisory_lock(";
const TOKEN: &str = "pg_logical_emit_message(";
const RENEWAL: &str = "*/ SELECT 1";
const UNLOCK: &str = "SELECT pg_advisory_unlock(";

#[test]
fn a_request_whose_answer_never_ends_is_given_up_and_leaves_nothing() {
    let _dog = watchdog::watch(90);
    let Some(server) = server::shared() else {
        return;
    };
    let steps = [
        ("", NOT_READY, "SET tcp_keepalives_idle"),
        ("", NOT_READY, TRY),
        ("", OUT_OF_PLACE, TRY),
        ("", NOT_READY, TOKEN),
        ("", OUT_OF_PLACE, TOKEN),
        ("&slots=1", NOT_READY, "generate_series(0"),
        ("&slots=1", OUT_OF_PLACE, "generate_series(0"),
    ];
    scope(|scope| {
        for (number, (options, end, step)) in steps.into_iter().enumerate() {
            let (name, options) = (name(&format!("request{number}")), format!("ttl=6{options}"));
            scope.spawn(move || {
                is_given_up(server, (&options, &name), (step, end), None);
            });
        }
    });
}

#[test]
fn a_waiter_whose_answer_never_ends_is_given_up_and_leaves_no_ticket() {
    let _dog = watchdog::watch(90);
    let Some(server) = server::shared() else {
        return;
    };
    let steps = [
        ("", NOT_READY, "a.usename"),
        ("", NOT_READY, "| t.n)"),
        ("", OUT_OF_PLACE, "| t.n)"),
        ("", NOT_READY, "SELECT max("),
        ("", OUT_OF_PLACE, "SELECT max("),
        ("&slots=1", OUT_OF_PLACE, "LISTEN "),
    ];
    scope(|scope| {
        for (number, (options, end, step)) in steps.into_iter().enumerate() {
            let (name, options) = (name(&format!("waiter{number}")), format!("ttl=6{options}"));
            scope.spawn(move || {
                let near = open(&server.with(&options, &name)).expect("a lock");
                // The next request would stand behind a ticket that was left.
                let holder = near.lock().expect("free");
                is_given_up(server, (&options, &name), (step, end), Some(holder));
            });
        }
    });
}

#[test]
fn a_waiter_that_is_granted_the_lock_and_never_hears_it_leaves_it_at_its_deadline() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("granted");
    let near = open(&server.url(&name)).expect("a lock");
    let holder = near.lock().expect("free");
    let wire = Unfinished::start(server.port(), "PERFORM pg_advisory_lock(", NOT_READY);
    let far = wire.lock(server, server.patient(), &name);
    scope(|scope| {
        // It includes the connection.
        let limit = Duration::from_secs(10);
        let waiter = scope.spawn(move || far.try_lock_for(limit));
        wait_for_waiters(&near, 1);
        holder.release().expect("ours");
        let error = waiter.join().expect("no panic").expect_err("not heard");
        assert!(matches!(error, Error::TimedOut(_)), "{error:?}");
    });
    comes_free(server, &near, &name);
}

#[test]
fn a_lock_whose_renewal_is_never_answered_to_its_end_is_lost_in_time_and_freed_by_the_release() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    for end in [NOT_READY, OUT_OF_PLACE] {
        let name = name("renewal");
        let near = open(&server.url(&name)).expect("a lock");
        let wire = Unfinished::start(server.port(), RENEWAL, end);
        let far = wire.lock(server, server.patient(), &name);
        let guard = far.lock().expect("free");
        let loss = wait_for_loss(&guard);
        assert!(!guard.is_valid(), "{loss}");
        if !loss.is_definite() {
            // The session holds the lock: the answers may still come.
            assert!(near.try_lock().expect_err("held").is_conflict());
            assert!(is_lost(guard.release()));
        }
        comes_free(server, &near, &name);
    }
}

#[test]
fn a_release_whose_answer_never_ends_is_given_up_and_ends_the_session() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    for end in [NOT_READY, OUT_OF_PLACE] {
        let name = name("unlock");
        let near = open(&server.url(&name)).expect("a lock");
        let wire = Unfinished::start(server.port(), UNLOCK, end);
        let far = wire.lock(server, server.patient(), &name);
        let guard = far.lock().expect("free");
        let began = Instant::now();
        let error = guard.release().expect_err("no answer").to_string();
        assert!(error.contains("may have been lost"), "{error}");
        assert!(began.elapsed() < LONG, "{:?}", began.elapsed());
        comes_free(server, &near, &name);
    }
}
