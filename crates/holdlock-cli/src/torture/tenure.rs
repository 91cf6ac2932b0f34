//! The checker of locks that can be lost: a section whose participant is a holder only while its
//! guard says so.
//!
//! A holder that has lost its lock may still be inside when the next one enters: it was stopped, or
//! is about to notice. That is no finding. It is one if both guards are valid at the same moment.
//! No participant can read the guard of another, so a newcomer that is valid tells the others whom
//! it has met. A participant that reads this later, and whose guard is valid then, was valid at the
//! moment of the meeting, too: a guard that was lost is never valid again in the same tenure,
//! unless the engine has proven that the lock was held all the time. It witnesses against itself.
//!
//! When the run itself breaks a hold, its holder needs a moment to learn it. Such a tenure neither
//! witnesses nor accuses; it must learn of its loss.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::board::{Board, Doing, Outcome, PARTICIPANTS};
use super::event::What;
use super::fault::Fault;
use super::finding::Kind;
use super::held::Held;
use super::mark::{Inside, Mark, OUTSIDE};
use super::mode::{Mode, SLOTS};
use super::section::Me;

/// How often a participant looks at its guard.
const LOOK: Duration = Duration::from_millis(1);
/// A longer time between two looks was a stop, or a machine that is too busy.
const GAP: Duration = Duration::from_millis(50);
/// For so long, without gaps, the deadline of a guard may have passed before its signal fires: the
/// helper thread asks the engine once more if it was late itself.
const NOTICE: Duration = Duration::from_secs(3);
/// How long ending a hold at the engine takes at most, mostly.
const BREAKING: Duration = Duration::from_secs(1);

/// A participant inside, with its guard.
#[must_use = "the participant is inside until `end`"]
pub(super) struct Tenure {
    pub(super) me: Me,
    pub(super) mode: Mode,
    held: Held,
    token: u64,
    number: u64,
    fault: Option<Fault>,
    looked: Instant,
    /// For how long, without gaps, it was neither valid nor told of a loss.
    doubtful: Duration,
    /// The same since the run has broken it.
    broken: Duration,
    noted: bool,
}

/// What the run does to a tenure, in `Participant::broken`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// It is about to break it, or has tried to.
    Perhaps = 1,
    Certainly = 2,
}

impl Broken {
    pub(super) fn word(self, tenure: u64) -> u64 {
        tenure << 2 | self as u64
    }
}

/// The pair of a tenure and another number, in one word.
fn pair(tenure: u64, other: u64) -> u64 {
    tenure << 32 | other & u64::from(u32::MAX)
}

impl Tenure {
    pub(super) fn begin(
        me: Me,
        mode: Mode,
        inside: Inside,
        held: Held,
        fault: Option<Fault>,
    ) -> Tenure {
        let words = me.words();
        let number = words.tenure.load(Ordering::SeqCst) + 1;
        let mut token = held.token().unwrap_or(0);
        if fault == Some(Fault::Token) {
            token = me.board.mode(mode).last_token.load(Ordering::SeqCst);
        }
        words.witnesses.store(pair(number, 0), Ordering::SeqCst);
        words.broken.store(0, Ordering::SeqCst);
        words.token.store(token, Ordering::SeqCst);
        words.tenure.store(number, Ordering::SeqCst);
        let tenure = Tenure {
            me,
            mode,
            held,
            token,
            number,
            fault,
            looked: Instant::now(),
            doubtful: Duration::ZERO,
            broken: Duration::ZERO,
            noted: false,
        };
        tenure.meet(inside);
        me.entered(mode);
        tenure.check_token(inside);
        tenure
    }

    pub(super) fn token(&self) -> u64 {
        self.token
    }

    pub(super) fn ttl(&self) -> Duration {
        self.held.ttl()
    }

    fn is_deaf(&self) -> bool {
        self.fault == Some(Fault::Deaf)
    }

    /// Whether the holder was told that the lock is lost.
    fn is_told(&self) -> bool {
        self.held.is_lost() && !self.is_deaf()
    }

    /// Whether the participant may act as a holder.
    pub(super) fn is_valid(&self) -> bool {
        self.held.is_valid() || self.is_deaf()
    }

    /// Whether it is a holder for certain, and the run does not break its hold.
    pub(super) fn is_undisturbed(&self) -> bool {
        self.is_valid() && self.how_broken().is_none()
    }

    fn how_broken(&self) -> Option<Broken> {
        let word = self.me.words().broken.load(Ordering::SeqCst);
        [Broken::Perhaps, Broken::Certainly]
            .into_iter()
            .find(|broken| broken.word(self.number) == word)
    }

    /// Marks the participant as inside, and tells the others there that it has met them.
    fn meet(&self, inside: Inside) {
        let (me, mode) = (&self.me, self.mode);
        let mark = Mark {
            inside,
            mode,
            incarnation: me.incarnation,
        };
        me.place(mark, self.token);
        for (id, other) in me.board.participants.iter().enumerate() {
            let tenure = other.tenure.load(Ordering::SeqCst);
            let Some(seen) = Mark::of(me.board.marks[id].load(Ordering::SeqCst)) else {
                continue;
            };
            let is_same = other.tenure.load(Ordering::SeqCst) == tenure;
            if id != me.id && is_same && mark.excludes(seen) && self.is_undisturbed() {
                other.met[me.id].store(pair(tenure, self.number), Ordering::SeqCst);
            }
        }
    }

    /// Tokens rise from one exclusive holder to the next. A shared holder comes after an exclusive
    /// one. Slots have no order.
    fn check_token(&self, inside: Inside) {
        let words = self.me.board.mode(self.mode);
        if self.token == 0 || self.mode == Mode::Slots {
            return;
        }
        let (seen, order) = match inside {
            Inside::Shared => (&words.token_inside, "an exclusive holder with"),
            _ => (&words.last_token, "a holder with"),
        };
        let before = seen.load(Ordering::SeqCst);
        if self.token <= before && self.is_undisturbed() {
            let text = format!("token {} after {order} {before}", self.token);
            self.me.find(Kind::Token, self.mode, None, text);
        }
        words.last_token.fetch_max(self.token, Ordering::SeqCst);
        if inside.is_exclusive() {
            words.token_inside.fetch_max(self.token, Ordering::SeqCst);
        }
    }

    /// Looks at the guard, and at what others have said of this participant. False: the lock is
    /// lost, or may be.
    pub(super) fn look(&mut self) -> bool {
        self.witness();
        let passed = std::mem::replace(&mut self.looked, Instant::now()).elapsed();
        let broken = self.how_broken();
        if self.is_told() {
            self.note_loss();
            return false;
        }
        let add = |sum: &mut Duration, is_true: bool| {
            *sum = match is_true {
                true if passed < GAP => *sum + passed,
                true => *sum,
                false => Duration::ZERO,
            };
        };
        let is_valid = self.is_valid();
        add(&mut self.doubtful, !is_valid);
        add(&mut self.broken, broken == Some(Broken::Certainly));
        let limit = NOTICE + self.held.ttl();
        if self.doubtful > NOTICE {
            let text = format!("its deadline passed {} s ago", self.doubtful.as_secs());
            self.me.find(Kind::Unnoticed, self.mode, None, text);
        } else if self.broken > limit {
            let text = format!("its hold was ended {} s ago", self.broken.as_secs());
            self.me.find(Kind::Unnoticed, self.mode, None, text);
        }
        is_valid
    }

    fn note_loss(&mut self) {
        if !self.noted {
            self.noted = true;
            self.me.note(What::Lost, self.mode, self.token);
            self.me.count(self.mode, Outcome::Lost);
        }
    }

    /// Whether the holder was told that the lock is lost.
    pub(super) fn was_lost(&self) -> bool {
        self.noted
    }

    /// Answers those that have met this participant, if it is valid still.
    fn witness(&self) {
        for (id, word) in self.me.words().met.iter().enumerate() {
            let met = word.load(Ordering::SeqCst);
            if met == 0 {
                continue;
            }
            // In this order: the guard is read after the meeting.
            if met >> 32 == self.number & u64::from(u32::MAX) && self.is_undisturbed() {
                self.accuse(id, met);
            }
            let _ = word.compare_exchange(met, 0, Ordering::SeqCst, Ordering::SeqCst);
        }
    }

    fn accuse(&self, other: usize, met: u64) {
        let words = &self.me.board.participants[other].witnesses;
        let theirs = met & u64::from(u32::MAX);
        let counted = words.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |word| {
            (word >> 32 == theirs).then_some(word + 1)
        });
        let seen = counted.map_or(0, |before| (before & u64::from(u32::MAX)) + 1);
        let (allowed, what) = match self.mode {
            Mode::Slots => (
                u64::from(SLOTS),
                format!("{} holders of {SLOTS} slots", seen + 1),
            ),
            _ => (1, "two valid holders".to_owned()),
        };
        if seen >= allowed {
            let token = |id: usize| get(&self.me.board.participants[id].token);
            let text = format!(
                "{what}; tokens {} and, later, {}",
                token(self.me.id),
                token(other)
            );
            self.me.find(Kind::Overlap, self.mode, Some(other), text);
        }
    }

    /// Stays inside for this long, unless the lock is lost or the run ends.
    pub(super) fn stay(&mut self, time: Duration) {
        let begin = Instant::now();
        while self.look() && !self.me.board.is_ending() {
            let rest = time.saturating_sub(begin.elapsed());
            if rest.is_zero() {
                break;
            }
            std::thread::sleep(rest.min(LOOK));
        }
    }

    /// Gives the lock up, and stays inside without it: a fault.
    pub(super) fn pretend(&mut self) {
        drop(std::mem::replace(&mut self.held, Held::Pretended));
    }

    /// Forgets the guard, so that nobody releases the lock: a fault.
    pub(super) fn forget(mut self) {
        std::mem::forget(std::mem::replace(&mut self.held, Held::Pretended));
        self.leave();
        self.me.released(self.mode);
    }

    fn leave(&self) {
        self.me.note(What::Leave, self.mode, 0);
        self.me.board.marks[self.me.id].store(OUTSIDE, Ordering::SeqCst);
        self.me.words().token.store(0, Ordering::SeqCst);
        self.me.doing(Doing::Releasing, self.mode);
    }

    /// Leaves, and releases the lock. An error is that of the release.
    pub(super) fn end(mut self) -> Result<(), (String, Option<i32>)> {
        // One that is being broken stays until that is done.
        let begin = Instant::now();
        while self.how_broken() == Some(Broken::Perhaps) && begin.elapsed() < BREAKING {
            self.look();
            std::thread::sleep(LOOK);
        }
        // A hold that was broken has to learn it; what takes too long is found.
        while self.how_broken() == Some(Broken::Certainly) && !self.is_told() {
            if self.me.board.has_finding() || self.me.board.is_ending() {
                break;
            }
            self.look();
            std::thread::sleep(LOOK);
        }
        self.look();
        self.leave();
        // For those that saw the mark a moment ago.
        self.witness();
        let (me, mode) = (self.me, self.mode);
        let lost = self.is_told();
        let held = std::mem::replace(&mut self.held, Held::Pretended);
        let released = held.release();
        if lost || matches!(released, Ok(false)) {
            self.note_loss();
        }
        me.released(mode);
        released.map(drop)
    }
}

/// A tenure that can be ended by its token.
pub(super) struct Holder {
    pub(super) id: usize,
    pub(super) mode: Mode,
    pub(super) tenure: u64,
    pub(super) token: u64,
}

impl Holder {
    /// Whether the same tenure lasts.
    pub(super) fn is_inside(&self, board: &Board) -> bool {
        let words = &board.participants[self.id];
        get(&words.tenure) == self.tenure && get(&words.token) == self.token
    }
}

/// The first participant from this one on that is inside with a token.
pub(super) fn holder_after(board: &Board, from: usize) -> Option<Holder> {
    let holder = |id: usize| {
        let words = &board.participants[id];
        let tenure = get(&words.tenure);
        let mark = Mark::of(get(&board.marks[id]))?;
        let token = get(&words.token);
        let is_same = get(&words.tenure) == tenure;
        (is_same && token != 0).then_some(Holder {
            id,
            mode: mark.mode,
            tenure,
            token,
        })
    };
    (from..PARTICIPANTS).chain(0..from).find_map(holder)
}

fn get(word: &AtomicU64) -> u64 {
    word.load(Ordering::SeqCst)
}
