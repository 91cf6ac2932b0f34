//! A request for a lock with a record: its token, and the news of the death of the last holder.

use std::sync::atomic::Ordering;

use super::Taker;
use super::limit::Limit;
use super::lock::{ask, release};
use crate::torture::fault::Fault;
use crate::torture::finding::Kind;
use crate::torture::kernel;
use crate::torture::mark::Inside;
use crate::torture::mode::Mode;

pub(super) fn round(taker: &mut Taker, mode: Mode) {
    let inside = taker.inside(mode);
    let limit = Limit::choose(&mut taker.random);
    let Some(lock) = taker.lock(mode) else { return };
    let Some(guard) = ask(taker, &lock, mode, inside, &limit) else {
        return;
    };
    let section = taker.me.enter(mode, inside);
    if inside == Inside::Shared {
        taker.linger();
        section.leave();
        return release(taker, mode, guard);
    }
    let mut token = guard.token().unwrap_or(0);
    let mut abandoned = guard.abandoned().map(|last| last.token);
    if taker.strikes(Fault::Token) {
        token = taker.me.board.mode(mode).last_token.load(Ordering::SeqCst);
    }
    if taker.fault == Some(Fault::Forget) {
        abandoned = None;
    }
    check(taker, mode, token, abandoned);
    taker.linger();
    let words = taker.me.board.mode(mode);
    words.token_inside.store(0, Ordering::SeqCst);
    section.leave();
    release(taker, mode, guard);
    let own = &taker.me.words().released_token;
    own.store(token, Ordering::SeqCst);
}

/// Checks what the guard says, in the section.
fn check(taker: &Taker, mode: Mode, token: u64, abandoned: Option<u64>) {
    let words = taker.me.board.mode(mode);
    let last = words.last_token.load(Ordering::SeqCst);
    if token <= last {
        let text = format!("token {token} after {last}");
        taker.me.find(Kind::Token, mode, None, text);
    }
    words.last_token.store(token, Ordering::SeqCst);
    let dead = words.token_inside.swap(token, Ordering::SeqCst);
    let text = match abandoned {
        None if dead != 0 => format!("the holder with token {dead} has died"),
        Some(told) if was_released(taker, told) => {
            format!("the holder with token {told} has released the lock")
        }
        _ => return,
    };
    taker.me.find(Kind::Abandoned, mode, None, text);
}

/// Whether a participant has released the lock with this token, and its process lives. The lock of
/// a process that was killed may have been on the way to another thread of it.
fn was_released(taker: &Taker, token: u64) -> bool {
    let mut all = taker.me.board.participants.iter();
    all.any(|other| {
        other.released_token.load(Ordering::SeqCst) == token
            && kernel::is_alive(other.pid.load(Ordering::SeqCst) as u32)
    })
}
