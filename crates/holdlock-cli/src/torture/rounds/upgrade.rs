//! A lock of whose readers one at a time may upgrade.

use std::sync::atomic::Ordering;

use holdlock::{Error, FileLock, Request, UpgradeableGuard};

use super::Taker;
use super::limit::Limit;
use super::lock::{self, ask_by, ended, limited, released};
use crate::torture::board::Outcome;
use crate::torture::event::What;
use crate::torture::fault::Fault;
use crate::torture::finding::Kind;
use crate::torture::mark::{Inside, Members};
use crate::torture::mode::Mode;

/// The data is part 0, and the right to upgrade is part 1.
const MAY_UPGRADE: Inside = Inside::Members(Members {
    exclusive: 0b10,
    shared: 0b01,
});
const UPGRADED: Inside = Inside::Members(Members {
    exclusive: 0b11,
    shared: 0,
});

pub(super) fn round(taker: &mut Taker, mode: Mode) {
    // Readers and writers.
    if taker.random.u32(..3) != 0 {
        return lock::round(taker, mode);
    }
    let limit = Limit::choose(&mut taker.random);
    let Some(lock) = taker.lock(mode) else {
        return;
    };
    let request = |limit: &Limit| lock.acquire_upgradeable(limit.apply(Request::shared()));
    let Some(mut guard) = ask_by(taker, mode, MAY_UPGRADE, &limit, request) else {
        return;
    };
    let section = taker.me.enter(mode, MAY_UPGRADE);
    taker.linger();
    let before = data(taker, mode);
    // An upgrade that waits has no mark: it may be one of those that sleep for ever.
    section.leave();
    if taker.strikes(Fault::Upgrade) {
        return not_atomic(taker, mode, &lock, guard, before);
    }
    if taker.random.bool() && !upgrade(taker, mode, &mut guard, before) {
        return;
    }
    released(taker, mode, guard.release());
}

/// Whether the lock is still held.
fn upgrade(taker: &mut Taker, mode: Mode, guard: &mut UpgradeableGuard<'_>, before: u64) -> bool {
    let limit = Limit::choose(&mut taker.random);
    taker.me.ask(UPGRADED, mode, limit.nanos());
    taker.me.note(What::Upgrade, mode, 0);
    let stopped = taker.me.board.stopped_until_now();
    let answer = limited(taker, &limit, |limit| {
        guard.upgrade(limit.apply(Request::exclusive()))
    });
    let inside = match &answer {
        Ok(()) => UPGRADED,
        // A killed reader loses its byte before its share of flock(2).
        Err(Error::NotAtomic(_)) if taker.me.board.has_death_since(taker.me.asked()) => {
            taker.me.ends(mode, Outcome::Lost);
            return false;
        }
        // It still has the right.
        Err(error) => {
            ended(taker, mode, &limit, stopped, error);
            MAY_UPGRADE
        }
    };
    check(taker, mode, before);
    let section = taker.me.enter(mode, inside);
    taker.linger();
    section.leave();
    true
}

/// What was read is still there, whether or not the upgrade succeeded.
fn check(taker: &Taker, mode: Mode, before: u64) {
    let now = data(taker, mode);
    if now != before {
        let text = format!("the counter was {before} before an upgrade, and is {now} after it");
        taker.me.find(Kind::Conversion, mode, None, text);
    }
}

fn data(taker: &Taker, mode: Mode) -> u64 {
    let words = taker.me.board.mode(mode);
    words.counters[0].load(Ordering::SeqCst)
}

/// The fault: releases the lock in order to acquire the exclusive one.
fn not_atomic(
    taker: &mut Taker,
    mode: Mode,
    lock: &FileLock,
    guard: UpgradeableGuard<'_>,
    before: u64,
) {
    drop(guard);
    if let Some(guard) = lock::ask(taker, lock, mode, Inside::Exclusive, &Limit::Nothing) {
        check(taker, mode, before);
        lock::release(taker, mode, guard);
    }
}
