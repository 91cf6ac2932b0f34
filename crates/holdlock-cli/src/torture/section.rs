//! The checker of the sections: each participant looks for others when it enters, and at the data
//! of the section when it leaves.
//!
//! A participant that enters first writes its mark and then reads all others. Of two participants
//! that overlap, the one whose mark came later therefore sees the other. Marks say nothing when
//! their participant is dead: the kernel frees the lock of a process that was killed, and a
//! successor may enter before the supervisor has noticed the death.

use std::sync::atomic::{AtomicU64, Ordering};

use super::board::{Board, Doing, Outcome, Participant, now};
use super::event::{Event, What};
use super::finding::{Finding, Kind};
use super::kernel;
use super::mark::{Inside, Mark, OUTSIDE, PARTS};
use super::mode::Mode;

/// A participant, as it sees itself.
#[derive(Clone, Copy)]
pub(super) struct Me {
    pub(super) board: &'static Board,
    pub(super) id: usize,
    pub(super) incarnation: u32,
    pub(super) round: u32,
    /// When the request began.
    asked: u64,
}

impl Me {
    pub(super) fn new(board: &'static Board, id: usize, pid: u32, thread: i32) -> Me {
        let words = &board.participants[id];
        words.released_token.store(0, Ordering::SeqCst);
        words.pid.store(pid.into(), Ordering::SeqCst);
        words.thread.store(thread as u64, Ordering::SeqCst);
        Me {
            board,
            id,
            incarnation: words.incarnation.load(Ordering::SeqCst) as u32,
            round: 0,
            asked: now(),
        }
    }

    /// A command of the participant, which writes none of its words.
    pub(super) fn of_command(board: &'static Board, id: usize) -> Me {
        Me {
            board,
            id,
            incarnation: 0,
            round: 0,
            asked: now(),
        }
    }

    pub(super) fn words(&self) -> &'static Participant {
        &self.board.participants[self.id]
    }

    pub(super) fn note(&self, what: What, mode: Mode, detail: u64) {
        self.words().note(&Event {
            at: now(),
            what,
            mode,
            round: self.round,
            detail,
        });
    }

    pub(super) fn doing(&self, doing: Doing, mode: Mode) {
        let word = doing.word(mode, self.round);
        self.words().doing.store(word, Ordering::SeqCst);
    }

    /// A request begins. `limit` is in nanoseconds.
    pub(super) fn ask(&mut self, inside: Inside, mode: Mode, limit: Option<u64>) {
        self.round = self.round.wrapping_add(1);
        self.asked = now();
        let until = limit.map_or(0, |limit| self.asked.saturating_add(limit));
        self.words().until.store(until, Ordering::SeqCst);
        let what = match inside {
            Inside::Shared => What::AskShared,
            _ => What::Ask,
        };
        self.note(what, mode, limit.unwrap_or(0));
        self.doing(Doing::Waiting, mode);
    }

    /// When the current request began.
    pub(super) fn asked(&self) -> u64 {
        self.asked
    }

    /// The request ended without the lock.
    pub(super) fn ends(&self, mode: Mode, outcome: Outcome) {
        let what = match outcome {
            Outcome::Entered => What::Enter,
            Outcome::Refused => What::Refused,
            Outcome::TimedOut => What::TimedOut,
            Outcome::Cancelled => What::Cancelled,
            Outcome::Unreachable => What::Unreachable,
            Outcome::Lost => What::Lost,
            Outcome::Fenced => What::Fenced,
        };
        self.note(what, mode, 0);
        self.count(mode, outcome);
        self.doing(Doing::Nothing, mode);
    }

    /// The participant has released the lock.
    pub(super) fn released(&self, mode: Mode) {
        self.note(What::Release, mode, 0);
        self.doing(Doing::Nothing, mode);
    }

    pub(super) fn count(&self, mode: Mode, outcome: Outcome) {
        Participant::add(&self.words().outcomes[mode.index()][outcome as usize], 1);
    }

    /// The participant has the lock: it enters its section.
    pub(super) fn enter(&self, mode: Mode, inside: Inside) -> Section {
        let section = Section {
            me: *self,
            mode,
            inside,
            before: self.board.mode(mode).counters.each_ref().map(get),
        };
        section.mark(inside);
        self.entered(mode);
        section
    }

    /// Counts an entry, and how long it took to get there.
    pub(super) fn entered(&self, mode: Mode) {
        self.doing(Doing::Inside, mode);
        let words = self.words();
        let waited = now().saturating_sub(self.asked);
        let length = (u64::BITS - waited.leading_zeros()) as usize;
        let waits = &words.waits[mode.index()];
        Participant::add(&waits[length.min(waits.len() - 1)], 1);
        let longest = &words.longest_wait[mode.index()];
        longest.store(
            longest.load(Ordering::Relaxed).max(waited),
            Ordering::Relaxed,
        );
        self.count(mode, Outcome::Entered);
    }

    /// Writes the mark of a participant that enters. `detail` is for the history.
    pub(super) fn place(&self, mark: Mark, detail: u64) {
        let words = self.board.mode(mark.mode);
        words.entries.fetch_add(1, Ordering::SeqCst);
        if mark.inside.is_exclusive() {
            words.exclusive_entries.fetch_add(1, Ordering::SeqCst);
        }
        let what = match mark.inside {
            Inside::Shared => What::EnterShared,
            _ => What::Enter,
        };
        self.board.marks[self.id].store(mark.word(), Ordering::SeqCst);
        self.note(what, mark.mode, detail);
    }

    pub(super) fn find(&self, kind: Kind, mode: Mode, other: Option<usize>, text: String) {
        self.board.find(&Finding {
            kind,
            mode,
            participant: self.id,
            other,
            at: now(),
            text,
        });
    }
}

/// A participant that is inside.
#[must_use = "the participant is inside until `leave`"]
pub(super) struct Section {
    me: Me,
    mode: Mode,
    inside: Inside,
    /// The mode's counters when the section began.
    before: [u64; PARTS],
}

impl Section {
    /// Writes the mark and looks for others that must not be inside now.
    fn mark(&self, inside: Inside) {
        let Section { me, mode, .. } = self;
        let mark = Mark {
            inside,
            mode: *mode,
            incarnation: me.incarnation,
        };
        me.place(mark, 0);
        for (id, word) in me.board.marks.iter().enumerate() {
            let Some(other) = Mark::of(word.load(Ordering::SeqCst)) else {
                continue;
            };
            if id != me.id && mark.excludes(other) && is_alive(me.board, id, other) {
                let [own, theirs] = [mark, other].map(|mark| mark.inside.named(mode.part_name()));
                let text = format!("{own} beside {theirs}");
                me.find(Kind::Overlap, *mode, Some(id), text);
            }
        }
    }

    /// The lock is about to become shared.
    pub(super) fn becomes_shared(&mut self) {
        self.count();
        self.me.note(What::Downgrade, self.mode, 0);
        self.inside = Inside::Shared;
        let mark = Mark {
            inside: Inside::Shared,
            mode: self.mode,
            incarnation: self.me.incarnation,
        };
        self.me.board.marks[self.me.id].store(mark.word(), Ordering::SeqCst);
        self.before[0] += 1;
    }

    /// The end of the section, before the lock is released.
    pub(super) fn leave(self) {
        self.count();
        let me = self.me;
        me.note(What::Leave, self.mode, 0);
        me.board.marks[me.id].store(OUTSIDE, Ordering::SeqCst);
        me.doing(Doing::Releasing, self.mode);
    }

    /// Whether the data is as it was at the beginning; then counts in what the holder may write.
    fn count(&self) {
        let words = self.me.board.mode(self.mode);
        let counted = &self.me.words().counted[self.mode.index()];
        for (part, may_write) in self.inside.parts() {
            let (before, now) = (self.before[part], get(&words.counters[part]));
            if now != before {
                let text = format!("the counter was {before} and is {now}");
                self.me.find(Kind::LostUpdate, self.mode, None, text);
            }
            if may_write {
                words.counters[part].store(before + 1, Ordering::SeqCst);
                Participant::add(counted, 1);
            }
        }
    }
}

fn get(word: &AtomicU64) -> u64 {
    word.load(Ordering::SeqCst)
}

/// Whether the participant with this mark can still be inside. The supervisor raises the
/// incarnation before it clears a place for another process, so the pid that was read belonged to
/// the mark if the incarnation is still the same afterwards.
fn is_alive(board: &Board, id: usize, mark: Mark) -> bool {
    let words = &board.participants[id];
    let alive = kernel::is_alive(words.pid.load(Ordering::SeqCst) as u32);
    alive && words.incarnation.load(Ordering::SeqCst) as u32 == mark.incarnation
}
