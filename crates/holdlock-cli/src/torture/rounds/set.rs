//! A request for some of several locks: all of them, or none.

use std::fs::File;

use holdlock::{LockSet, Mode as Sharing, Request};
use rustix::fs::{FlockOperation, flock};

use super::Taker;
use super::limit::Limit;
use super::lock::{ask_by, released};
use crate::torture::fault::Fault;
use crate::torture::finding::Kind;
use crate::torture::mark::{Inside, Members};
use crate::torture::mode::{Mode, SET};

/// Every so many sections the kernel is asked whether all locks are held.
const SECTIONS: u32 = 16;

pub(super) fn round(taker: &mut Taker, mode: Mode) {
    let mut members = Members::default();
    let mut locks = Vec::new();
    let mut order: Vec<usize> = (0..SET).collect();
    taker.random.shuffle(&mut order);
    for member in order.into_iter().take(taker.random.usize(1..=3)) {
        let Some(lock) = taker.member(mode, member) else {
            return;
        };
        let (bits, sharing) = if taker.random.bool() {
            (&mut members.shared, Sharing::Shared)
        } else {
            (&mut members.exclusive, Sharing::Exclusive)
        };
        *bits |= 1 << member;
        locks.push((lock, sharing));
    }
    let inside = Inside::Members(members);
    let limit = Limit::choose(&mut taker.random);
    let set = LockSet::new(locks);
    let request = |limit: &Limit| set.acquire(limit.apply(Request::exclusive()));
    let Some(guard) = ask_by(taker, mode, inside, &limit, request) else {
        return;
    };
    let section = taker.me.enter(mode, inside);
    if taker.strikes(Fault::Half) {
        let mut guards = guard.into_guards();
        drop(guards.pop());
        check(taker, mode, inside);
        section.leave();
        drop(guards);
        return taker.me.released(mode);
    }
    taker.linger();
    if taker.random.u32(..SECTIONS) == 0 {
        check(taker, mode, inside);
    }
    section.leave();
    released(taker, mode, guard.release());
}

/// Asks the kernel for each lock in a way that the holder excludes.
fn check(taker: &Taker, mode: Mode, inside: Inside) {
    for (member, exclusive) in inside.parts() {
        let operation = if exclusive {
            FlockOperation::NonBlockingLockShared
        } else {
            FlockOperation::NonBlockingLockExclusive
        };
        let path = mode.member_file(&taker.directory, member);
        let locked = File::open(path).is_ok_and(|file| flock(&file, operation).is_ok());
        if locked {
            let set = inside.named(mode.part_name());
            let text = format!("the kernel gave lock {member} of {set} to another process");
            taker.me.find(Kind::HalfSet, mode, None, text);
        }
    }
}
