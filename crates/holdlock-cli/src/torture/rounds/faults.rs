//! Rounds with a fault: what the checker has to notice.

use std::fs::File;
use std::sync::atomic::Ordering;
use std::time::Duration;

use holdlock::{Continuity, Request};
use rustix::fs::{FlockOperation, Mode as Permissions, OFlags, flock};

use super::Taker;
use super::acts;
use super::convert;
use super::flock::{lock_current, uninterrupted};
use super::limit::Limit;
use super::lock::{ask, ended, release, sleep_for_ever};
use crate::sys::thread;
use crate::torture::board::Outcome;
use crate::torture::fault::Fault;
use crate::torture::mark::Inside;
use crate::torture::mode::Mode;

/// Does a faulty round, if the fault strikes now. False: it does not.
pub(super) fn round(taker: &mut Taker, mode: Mode) -> bool {
    let Some(fault) = taker.fault else {
        return false;
    };
    if !suits(fault, mode) || !taker.strikes(fault) {
        return false;
    }
    match fault {
        Fault::Skip => without_the_lock(taker, mode),
        Fault::Unmarked => unmarked(taker, mode),
        Fault::Share => shared_for_exclusive(taker, mode),
        Fault::Stale => stale(taker, mode),
        Fault::Early => early(taker, mode),
        Fault::Asleep => {
            taker.me.ask(Inside::Exclusive, mode, None);
            sleep_for_ever()
        }
        Fault::Keep => keep(taker, mode),
        Fault::Downgrade => downgrade(taker, mode),
        Fault::Upgrade => upgrade(taker, mode),
        Fault::Fork => unlocked_by_child(taker, mode),
        Fault::Late => {
            let limit = Duration::from_millis(1).as_nanos() as u64;
            taker.me.ask(Inside::Exclusive, mode, Some(limit));
            sleep_for_ever()
        }
        Fault::Hasty => hasty(taker, mode),
        Fault::Inherit => inherited(taker, mode),
        Fault::Starve => starve(taker, mode),
        // In the rounds of their modes.
        Fault::Token | Fault::Forget | Fault::Half | Fault::Slot => return false,
        // Of locks that can be lost.
        Fault::Deaf | Fault::Gate => return false,
    }
    true
}

fn suits(fault: Fault, mode: Mode) -> bool {
    match fault {
        Fault::Stale => matches!(mode, Mode::Removal | Mode::Deletion),
        Fault::Share | Fault::Downgrade | Fault::Upgrade => mode == Mode::Shared,
        Fault::Starve => mode == Mode::Fair,
        Fault::Keep | Fault::Fork | Fault::Inherit => mode == Mode::Exclusive,
        Fault::Token | Fault::Forget | Fault::Half | Fault::Slot => false,
        Fault::Deaf | Fault::Gate => false,
        _ => true,
    }
}

fn without_the_lock(taker: &mut Taker, mode: Mode) {
    taker.me.ask(Inside::Exclusive, mode, None);
    let section = taker.me.enter(mode, Inside::Exclusive);
    a_while();
    section.leave();
    taker.me.released(mode);
}

/// Only the data of the section shows it.
fn unmarked(taker: &mut Taker, mode: Mode) {
    let counter = &taker.me.board.mode(mode).counters[0];
    let before = counter.load(Ordering::SeqCst);
    taker.linger();
    counter.store(before + 1, Ordering::SeqCst);
}

fn shared_for_exclusive(taker: &mut Taker, mode: Mode) {
    let Some(lock) = taker.lock(mode) else { return };
    let Some(guard) = ask(taker, &lock, mode, Inside::Shared, &Limit::Nothing) else {
        return;
    };
    let section = taker.me.enter(mode, Inside::Exclusive);
    a_while();
    section.leave();
    release(taker, mode, guard);
}

fn stale(taker: &mut Taker, mode: Mode) {
    taker.me.ask(Inside::Exclusive, mode, None);
    let path = mode.lock_file(&taker.directory);
    let Ok(file) = File::options().write(true).open(path) else {
        return taker.me.ends(mode, Outcome::Refused);
    };
    // Time for the file to be removed.
    a_while();
    if uninterrupted(|| flock(&file, FlockOperation::LockExclusive)).is_ok() {
        let section = taker.me.enter(mode, Inside::Exclusive);
        a_while();
        section.leave();
    }
    taker.me.released(mode);
}

fn early(taker: &mut Taker, mode: Mode) {
    let Some(lock) = taker.lock(mode) else { return };
    let Some(guard) = ask(taker, &lock, mode, Inside::Exclusive, &Limit::Nothing) else {
        return;
    };
    let section = taker.me.enter(mode, Inside::Exclusive);
    drop(guard);
    a_while();
    section.leave();
    taker.me.released(mode);
}

/// As a request that was given up and takes the lock later.
fn keep(taker: &mut Taker, mode: Mode) {
    taker.me.ask(Inside::Exclusive, mode, None);
    let path = mode.lock_file(&taker.directory);
    if let Ok(file) = lock_current(&path, FlockOperation::LockExclusive) {
        std::mem::forget(file);
    }
    taker.me.ends(mode, Outcome::TimedOut);
}

fn downgrade(taker: &mut Taker, mode: Mode) {
    let Some(lock) = taker.lock(mode) else { return };
    let Some(guard) = ask(taker, &lock, mode, Inside::Exclusive, &Limit::Nothing) else {
        return;
    };
    let mut section = taker.me.enter(mode, Inside::Exclusive);
    section.becomes_shared();
    drop(guard);
    let guard = lock.lock_shared();
    section.leave();
    drop(guard);
    taker.me.released(mode);
}

fn upgrade(taker: &mut Taker, mode: Mode) {
    let Some(lock) = taker.lock(mode) else { return };
    let Some(guard) = ask(taker, &lock, mode, Inside::Shared, &Limit::Nothing) else {
        return;
    };
    let section = taker.me.enter(mode, Inside::Shared);
    let before = convert::exclusive_entries(taker, mode);
    section.leave();
    taker.me.ask(Inside::Exclusive, mode, None);
    let Ok((guard, _)) = guard.upgrade_not_atomic(Request::exclusive()) else {
        return taker.me.released(mode);
    };
    convert::upgraded(taker, mode, Continuity::Kept, before);
    let section = taker.me.enter(mode, Inside::Exclusive);
    section.leave();
    release(taker, mode, guard);
}

/// With a descriptor of our own: the library's are not open in the child.
fn unlocked_by_child(taker: &mut Taker, mode: Mode) {
    taker.me.ask(Inside::Exclusive, mode, None);
    let path = mode.lock_file(&taker.directory);
    let Ok(file) = lock_current(&path, FlockOperation::LockExclusive) else {
        return taker.me.ends(mode, Outcome::Refused);
    };
    let section = taker.me.enter(mode, Inside::Exclusive);
    match thread::fork() {
        Ok(None) => {
            let _ = flock(&file, FlockOperation::Unlock);
            thread::leave(0)
        }
        Ok(Some(child)) => acts::reap(child),
        Err(_) => {}
    }
    a_while();
    section.leave();
    taker.me.released(mode);
}

fn hasty(taker: &mut Taker, mode: Mode) {
    let Some(lock) = taker.lock(mode) else { return };
    let limit = Limit::Time(Duration::from_secs(60));
    taker.me.ask(Inside::Exclusive, mode, limit.nanos());
    match lock.try_lock_for(Duration::from_micros(1)) {
        Ok(guard) => release(taker, mode, guard),
        Err(error) => ended(taker, mode, &limit, 0, &error),
    }
}

/// The others mostly have the lock when it asks.
fn starve(taker: &mut Taker, mode: Mode) {
    let Some(lock) = taker.lock(mode) else { return };
    taker.me.ask(Inside::Exclusive, mode, None);
    let guard = loop {
        match lock.try_lock() {
            Ok(guard) => break guard,
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    };
    let section = taker.me.enter(mode, Inside::Exclusive);
    section.leave();
    release(taker, mode, guard);
}

fn inherited(taker: &mut Taker, mode: Mode) {
    let path = mode.lock_file(&taker.directory);
    let file = rustix::fs::open(path, OFlags::RDWR, Permissions::empty());
    acts::execute(taker, mode);
    drop(file);
}

/// Long enough that another participant gets in.
fn a_while() {
    std::thread::sleep(Duration::from_millis(2));
}
