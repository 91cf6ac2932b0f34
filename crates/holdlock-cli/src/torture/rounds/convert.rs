//! Conversions between exclusive and shared.

use holdlock::{Continuity, Guard, Request};
use std::sync::atomic::Ordering;

use super::Taker;
use super::limit::Limit;
use super::lock::{ended, limited, release};
use crate::torture::event::What;
use crate::torture::finding::Kind;
use crate::torture::mark::Inside;
use crate::torture::mode::Mode;
use crate::torture::section::Section;

/// Atomic: an exclusive holder that gets in between finds the mark.
pub(super) fn to_shared(taker: &mut Taker, mode: Mode, mut section: Section, guard: Guard<'_>) {
    // Before the call: other shared holders may enter while it returns.
    section.becomes_shared();
    match guard.downgrade() {
        Ok(guard) => {
            taker.linger();
            section.leave();
            release(taker, mode, guard);
        }
        Err(error) => {
            section.leave();
            let text = format!("downgrading: {error}");
            taker.me.find(Kind::Failed, mode, None, text);
            taker.me.released(mode);
        }
    }
}

/// Not atomic, but says whether it was.
pub(super) fn to_exclusive(taker: &mut Taker, mode: Mode, section: Section, guard: Guard<'_>) {
    let before = exclusive_entries(taker, mode);
    section.leave();
    let limit = Limit::choose(&mut taker.random);
    if let Limit::Try = limit {
        return release(taker, mode, guard);
    }
    taker.me.ask(Inside::Exclusive, mode, limit.nanos());
    taker.me.note(What::Upgrade, mode, 0);
    let stopped = taker.me.board.stopped_until_now();
    let answer = limited(taker, &limit, |limit| {
        guard.upgrade_not_atomic(limit.apply(Request::exclusive()))
    });
    match answer {
        Ok((guard, continuity)) => {
            upgraded(taker, mode, continuity, before);
            let section = taker.me.enter(mode, Inside::Exclusive);
            taker.linger();
            section.leave();
            release(taker, mode, guard);
        }
        Err(error) => ended(taker, mode, &limit, stopped, &error),
    }
}

/// Checks what an upgrade says, before this participant enters. `before` was read with the shared
/// lock.
pub(super) fn upgraded(taker: &Taker, mode: Mode, continuity: Continuity, before: u64) {
    let others = exclusive_entries(taker, mode) - before;
    if continuity == Continuity::Kept && others > 0 {
        let text = format!("an upgrade kept the lock, but {others} others were inside meanwhile");
        taker.me.find(Kind::Conversion, mode, None, text);
    }
}

pub(super) fn exclusive_entries(taker: &Taker, mode: Mode) -> u64 {
    let words = taker.me.board.mode(mode);
    words.exclusive_entries.load(Ordering::SeqCst)
}
