//! What all participants did, by mode.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::board::{Board, LENGTHS, Outcome, now};
use super::crew::THREADS_EACH;
use super::finding::{Finding, Kind};
use super::mode::Mode;

/// The numbers of one mode.
pub(super) struct Counts {
    pub(super) mode: Mode,
    pub(super) sections: u64,
    pub(super) refused: u64,
    pub(super) timed_out: u64,
    pub(super) cancelled: u64,
    pub(super) unreachable: u64,
    pub(super) lost: u64,
    pub(super) fenced: u64,
    pub(super) longest: Duration,
    /// Waits, the n-th number those of up to 2^n nanoseconds.
    pub(super) waits: [u64; LENGTHS],
    /// Exclusive sections by the counter in them, and by their participants.
    counter: u64,
    counted: u64,
}

pub(super) struct Tally(pub(super) Vec<Counts>);

impl Tally {
    pub(super) fn of(board: &Board, modes: &[Mode]) -> Tally {
        Tally(modes.iter().map(|mode| Counts::of(board, *mode)).collect())
    }

    pub(super) fn sections(&self) -> u64 {
        self.0.iter().map(|counts| counts.sections).sum()
    }

    /// A finding if counts are missing that no killed process explains. A thread may be
    /// killed between the counter and the count of its participant.
    pub(super) fn lost_counts(&self, kills: u64) -> Option<Finding> {
        let may_miss = kills * THREADS_EACH as u64;
        let lost = |counts: &&Counts| counts.counter.abs_diff(counts.counted) > may_miss;
        let counts = self.0.iter().find(lost)?;
        Some(Finding {
            kind: Kind::LostUpdate,
            mode: counts.mode,
            participant: 0,
            other: None,
            at: now(),
            text: format!(
                "{} exclusive sections, but their counter is {}",
                counts.counted, counts.counter
            ),
        })
    }
}

impl Counts {
    fn of(board: &Board, mode: Mode) -> Counts {
        let get = |word: &AtomicU64| word.load(Ordering::SeqCst);
        let index = mode.index();
        let all = || board.participants.iter();
        let outcome = |outcome: Outcome| {
            let words = all().map(|words| get(&words.outcomes[index][outcome as usize]));
            words.sum()
        };
        let mut waits = [0; LENGTHS];
        for words in all() {
            for (sum, word) in waits.iter_mut().zip(&words.waits[index]) {
                *sum += get(word);
            }
        }
        let longest = all().map(|words| get(&words.longest_wait[index])).max();
        Counts {
            mode,
            sections: get(&board.mode(mode).entries),
            refused: outcome(Outcome::Refused),
            timed_out: outcome(Outcome::TimedOut),
            cancelled: outcome(Outcome::Cancelled),
            unreachable: outcome(Outcome::Unreachable),
            lost: outcome(Outcome::Lost),
            fenced: outcome(Outcome::Fenced),
            longest: Duration::from_nanos(longest.unwrap_or(0)),
            waits,
            counter: board.mode(mode).counters.iter().map(get).sum(),
            counted: all().map(|words| get(&words.counted[index])).sum(),
        }
    }

    /// At least as long as this part of the waits (0 to 1) took, within a factor of two.
    pub(super) fn wait_of(&self, part: f64) -> Duration {
        let all: u64 = self.waits.iter().sum();
        let rank = (all as f64 * part).ceil() as u64;
        let mut seen = 0;
        for (length, number) in self.waits.iter().enumerate() {
            seen += number;
            if seen >= rank.max(1) {
                return Duration::from_nanos(1 << length);
            }
        }
        Duration::ZERO
    }
}
