//! Answers whose end never comes, although the connection lasts: each request has an end, and what
//! it leaves behind ends with its lease.

use std::thread::scope;
use std::time::Instant;

use holdlock_engines::open;
use holdlock_test_support::servers::Server as _;
use holdlock_test_support::{eventually, watchdog};

use crate::support::lost::{is_lost, wait_for_loss};
use crate::support::unfinished::{End, LONG, Unfinished, comes_free, is_given_up};
use crate::{name, server};

/// The last two bytes: HTTP counts them, and Redis ends each message with them.
const CUT: End = End {
    length: 2,
    instead: b"",
};

/// A short lease, and a short limit for endpoints.
const BRIEF: &str = "ttl=6&connect_timeout=3";

/// What the requests of an engine contain.
struct Steps {
    /// On the way to the lock.
    acquire: &'static [&'static str],
    /// Of a waiter, and whether it waits all the same.
    wait: &'static [(&'static str, bool)],
    renew: &'static str,
    release: &'static str,
}

fn steps(engine: &str) -> Steps {
    match engine {
        "etcd" => Steps {
            acquire: &["GET /version", "POST /v3/lease/grant ", "POST /v3/kv/txn "],
            wait: &[
                ("POST /v3/watch ", true),
                // It queues again.
                ("POST /v3/lease/keepalive ", true),
            ],
            renew: "POST /v3/lease/keepalive ",
            release: "request_delete_range",
        },
        _ => Steps {
            acquire: &["HELLO", "SUBSCRIBE", "\nstep\r"],
            wait: &[("\nstep\r", false), ("\nmembers\r", true)],
            renew: "\nrenew\r",
            release: "\nleave\r",
        },
    }
}

#[test]
fn a_request_whose_answer_never_ends_is_given_up_and_leaves_at_most_its_lease() {
    let _dog = watchdog::watch(90);
    let Some(server) = server::shared() else {
        return;
    };
    scope(|scope| {
        for (number, step) in steps(server.engine()).acquire.iter().enumerate() {
            let name = name(&format!("acquire{number}"));
            scope.spawn(move || {
                is_given_up(server, (BRIEF, &name), (step, CUT), None);
            });
        }
    });
}

#[test]
fn a_waiter_whose_answers_never_end_waits_on_or_gives_its_place_up() {
    let _dog = watchdog::watch(90);
    let Some(server) = server::shared() else {
        return;
    };
    scope(|scope| {
        for (number, &(step, waits)) in steps(server.engine()).wait.iter().enumerate() {
            let name = name(&format!("wait{number}"));
            scope.spawn(move || {
                // Its lease is long, so that a slow machine keeps the lock.
                let near = open(&server.url(&name)).expect("a lock");
                let holder = near.lock().expect("free");
                if !waits {
                    return is_given_up(server, (BRIEF, &name), (step, CUT), Some(holder));
                }
                let wire = Unfinished::start(server.port(), step, CUT);
                let far = wire.lock(server, BRIEF, &name);
                let waiter = std::thread::spawn(move || far.lock());
                eventually("the step was reached", || wire.requests() > 0);
                holder.release().expect("ours");
                let guard = waiter.join().expect("no panic").expect(step);
                guard.release().expect("ours");
                comes_free(server, &near, &name);
            });
        }
    });
}

#[test]
fn a_lock_whose_renewal_is_never_answered_to_its_end_is_lost_in_time() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("renewal");
    let near = open(&server.with(BRIEF, &name)).expect("a lock");
    let wire = Unfinished::start(server.port(), steps(server.engine()).renew, CUT);
    let far = wire.lock(server, BRIEF, &name);
    let guard = far.lock().expect("free");
    // The renewals are heard by the engine: the lock is kept, but the guard does not know it.
    let loss = wait_for_loss(&guard);
    assert!(!loss.is_definite() && !guard.is_valid(), "{loss}");
    assert!(is_lost(guard.check()));
    let _ = guard.release();
    comes_free(server, &near, &name);
}

#[test]
fn a_release_whose_answer_never_ends_is_given_up_and_the_lock_is_free() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("release");
    let near = open(&server.with(BRIEF, &name)).expect("a lock");
    let wire = Unfinished::start(server.port(), steps(server.engine()).release, CUT);
    let far = wire.lock(server, BRIEF, &name);
    let guard = far.lock().expect("free");
    let began = Instant::now();
    assert!(is_lost(guard.release()));
    assert!(wire.requests() > 0);
    assert!(began.elapsed() < LONG, "{:?}", began.elapsed());
    comes_free(server, &near, &name);
}
