//! The memory that all processes of a run share: what each participant does, and what was found.
//!
//! A participant is a thread that takes locks. Its place in the tables belongs to it alone; the
//! supervisor clears the place of a participant that has died. Every word may change at any time,
//! so readers look again where two words must agree.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::time::{ClockId, clock_gettime};

use super::event::Event;
use super::finding::{Finding, Kind};
use super::mark::PARTS;
use super::mode::Mode;
use crate::sys::shared_memory::{map, shareable};

/// The most participants.
pub(super) const PARTICIPANTS: usize = 64;
/// Room for modes.
const MODES: usize = 16;
/// How many events of each participant are remembered.
pub(super) const EVENTS: usize = 4096;
/// Waits are counted by their length: up to 2^n nanoseconds in the n-th counter.
pub(super) const LENGTHS: usize = 48;
/// Words of the text of a finding.
const TEXT: usize = 64;
/// How many kinds of `Outcome` there are.
const OUTCOMES: usize = 7;

shareable! {
    /// The whole memory.
    Board {
        /// The two modes that are tried now; see `Phase`.
        phase: AtomicU64,
        /// Not 0: the participants finish what they do and end.
        ending: AtomicU64,
        /// The time for which processes were stopped so far, in nanoseconds.
        stopped: AtomicU64,
        /// When the process that is stopped now was stopped. 0: none is.
        stopped_since: AtomicU64,
        /// When the last killed worker had ended. The highest number: one is ending.
        died: AtomicU64,
        /// Not 0: a worker has run out of something, and has said so.
        shortage: AtomicU64,
        /// How many holders the run itself has broken.
        breaks: AtomicU64,
        /// 0: nothing was found. 1: it is being written. 2: it is in the words below.
        found: AtomicU64,
        found_words: [AtomicU64; 5],
        found_text: [AtomicU64; TEXT],
        modes: [ModeWords; MODES],
        /// What each participant has locked, by `Mark`. Together, because each entry reads all.
        marks: [AtomicU64; PARTICIPANTS],
        participants: [Participant; PARTICIPANTS],
    }
}

shareable! {
    /// The words of one mode.
    ModeWords {
        /// The data of the sections: counted in exclusive ones by a load and a store, so that an
        /// overlap loses counts.
        counters: [AtomicU64; PARTS],
        /// How often a participant entered.
        entries: AtomicU64,
        /// How often a participant entered exclusively.
        exclusive_entries: AtomicU64,
        /// The highest token that a holder got.
        last_token: AtomicU64,
        /// The token of the holder that is in its section. Not 0 when another one enters: it died.
        token_inside: AtomicU64,
        /// Mode register: the token of the last write.
        written: AtomicU64,
        /// Mode rewrite: how often a holder wrote that may have lost its lock, and up to which of
        /// these times the file was repaired.
        spoiled: AtomicU64,
        repaired: AtomicU64,
        /// So that the words of two modes are not in one cache line.
        padding: [AtomicU64; 1],
    }
}

shareable! {
    /// The words of one participant.
    Participant {
        pid: AtomicU64,
        thread: AtomicU64,
        /// The thread that cancels requests and sends signals, at its first participant.
        disturber: AtomicU64,
        /// Raised when the process that had this place is dead.
        incarnation: AtomicU64,
        /// What it does, by `Doing`.
        doing: AtomicU64,
        /// When its request must have ended. 0: the request has no limit.
        until: AtomicU64,
        /// What became of the requests of each mode, by `Outcome`.
        outcomes: [[AtomicU64; OUTCOMES]; MODES],
        /// The number of its tenure; see `tenure`.
        tenure: AtomicU64,
        /// The token of its tenure. 0: none.
        token: AtomicU64,
        /// Whether the run breaks this tenure, by `Broken`.
        broken: AtomicU64,
        /// Its tenure, and how many others have witnessed that they were inside at its beginning.
        witnesses: AtomicU64,
        /// By participant: a tenure of this one that it met, and its own tenure.
        met: [AtomicU64; PARTICIPANTS],
        /// Mode rewrite: the last number that it has certainly written.
        acknowledged: AtomicU64,
        /// The token that it has released last.
        released_token: AtomicU64,
        /// Its share of each mode's `counters`.
        counted: [AtomicU64; MODES],
        longest_wait: [AtomicU64; MODES],
        waits: [[AtomicU64; LENGTHS]; MODES],
        /// How many events it has written, the last ones into `events`.
        event_count: AtomicU64,
        events: [[AtomicU64; 3]; EVENTS],
    }
}

/// How a request ended.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(super) enum Outcome {
    Entered,
    Refused,
    TimedOut,
    Cancelled,
    /// The engine did not answer, or ended the connection.
    Unreachable,
    /// The participant had the lock and lost it.
    Lost,
    /// A write was refused because of its token.
    Fenced,
}

/// What a participant does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    Nothing,
    /// Its request has not ended.
    Waiting,
    /// It is in its section.
    Inside,
    /// It has left its section and still has the lock.
    Releasing,
}

impl Doing {
    pub(super) fn word(self, mode: Mode, round: u32) -> u64 {
        let doing = match self {
            Doing::Nothing => 0,
            Doing::Waiting => 1,
            Doing::Inside => 2,
            Doing::Releasing => 3,
        };
        doing | (mode as u64) << 8 | u64::from(round) << 32
    }

    pub(super) fn of(word: u64) -> (Doing, Option<Mode>) {
        let doing = match word & 0xff {
            1 => Doing::Waiting,
            2 => Doing::Inside,
            3 => Doing::Releasing,
            _ => Doing::Nothing,
        };
        (doing, Mode::at(word >> 8 & 0xff))
    }
}

impl Board {
    /// A new one, in a file without a name that children inherit.
    pub(super) fn create() -> io::Result<(&'static Board, File)> {
        let file = File::from(memfd_create("holdlock-torture", MemfdFlags::empty())?);
        Ok((map(&file)?, file))
    }

    /// The one of the supervisor, by the number of its descriptor there and here.
    pub(super) fn inherited(number: u32) -> io::Result<&'static Board> {
        let path = format!("/proc/self/fd/{number}");
        map(&File::options().read(true).write(true).open(path)?)
    }

    pub(super) fn number_of(file: &File) -> u32 {
        file.as_raw_fd() as u32
    }

    pub(super) fn mode(&self, mode: Mode) -> &ModeWords {
        &self.modes[mode.index()]
    }

    /// Whether participants are to end.
    pub(super) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed) != 0
    }

    pub(super) fn end(&self) {
        self.ending.store(1, Ordering::SeqCst);
    }

    /// Whether something was found, so that everything is to stay as it is.
    pub(super) fn has_finding(&self) -> bool {
        self.found.load(Ordering::Relaxed) != 0
    }

    /// For how long processes were stopped, up to now.
    pub(super) fn stopped_until_now(&self) -> u64 {
        let since = self.stopped_since.load(Ordering::SeqCst);
        let current = if since == 0 {
            0
        } else {
            now().saturating_sub(since)
        };
        self.stopped.load(Ordering::SeqCst) + current
    }

    /// A worker is about to be killed.
    pub(super) fn death_begins(&self) {
        self.died.store(u64::MAX, Ordering::SeqCst);
    }

    pub(super) fn death_is_over(&self) {
        self.died.store(now(), Ordering::SeqCst);
    }

    /// Whether a killed worker was ending at this time or later.
    pub(super) fn has_death_since(&self, time: u64) -> bool {
        self.died.load(Ordering::SeqCst) >= time
    }

    /// Sections so far, of all modes.
    pub(super) fn sections(&self) -> u64 {
        let entries = self.modes.iter().map(|mode| &mode.entries);
        entries.map(|word| word.load(Ordering::Relaxed)).sum()
    }

    /// Writes down what was found. Only the first finding stays.
    pub(super) fn find(&self, finding: &Finding) {
        let claim = self
            .found
            .compare_exchange(0, 1, Ordering::SeqCst, Ordering::SeqCst);
        if claim.is_err() {
            return;
        }
        let words = [
            finding.kind as u64,
            finding.mode as u64,
            finding.participant as u64,
            finding.other.map_or(0, |other| other as u64 + 1),
            finding.at,
        ];
        for (place, word) in self.found_words.iter().zip(words) {
            place.store(word, Ordering::Relaxed);
        }
        // The last byte stays 0.
        let bytes = finding.text.as_bytes();
        let bytes = &bytes[..bytes.len().min(TEXT * 8 - 1)];
        for (place, chunk) in self.found_text.iter().zip(bytes.chunks(8)) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            place.store(u64::from_ne_bytes(word), Ordering::Relaxed);
        }
        self.found.store(2, Ordering::SeqCst);
    }

    /// What was found, if anything.
    pub(super) fn finding(&self) -> Option<Finding> {
        if self.found.load(Ordering::SeqCst) != 2 {
            return None;
        }
        let word = |at: usize| self.found_words[at].load(Ordering::Relaxed);
        let text = self.found_text.iter();
        let text: Vec<u8> = text
            .flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes())
            .take_while(|byte| *byte != 0)
            .collect();
        Some(Finding {
            kind: Kind::at(word(0))?,
            mode: Mode::at(word(1))?,
            participant: word(2) as usize,
            other: word(3).checked_sub(1).map(|other| other as usize),
            at: word(4),
            text: String::from_utf8_lossy(&text).into_owned(),
        })
    }
}

impl Participant {
    /// Adds to a word that only this participant writes.
    pub(super) fn add(word: &AtomicU64, number: u64) {
        word.store(word.load(Ordering::Relaxed) + number, Ordering::Relaxed);
    }

    /// The word of what it does.
    pub(super) fn doing_now(&self) -> u64 {
        self.doing.load(Ordering::SeqCst)
    }

    /// Remembers an event.
    pub(super) fn note(&self, event: &Event) {
        let count = self.event_count.load(Ordering::Relaxed);
        let place = &self.events[count as usize % EVENTS];
        for (place, word) in place.iter().zip(event.words()) {
            place.store(word, Ordering::Relaxed);
        }
        self.event_count.store(count + 1, Ordering::Release);
    }

    /// The last events, in their order.
    pub(super) fn last_events(&self) -> Vec<Event> {
        let count = self.event_count.load(Ordering::Acquire);
        let numbers = count.saturating_sub(EVENTS as u64)..count;
        let words = |number: u64| {
            let place = &self.events[number as usize % EVENTS];
            [0, 1, 2].map(|at: usize| place[at].load(Ordering::Relaxed))
        };
        numbers.filter_map(|n| Event::of(words(n))).collect()
    }
}

/// Nanoseconds of the clock that all processes of the host share.
pub(super) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_finding_stays_and_reads_back() {
        let (board, _file) = Board::create().unwrap();
        assert!(board.finding().is_none());
        let finding = |text: &str| Finding {
            kind: Kind::Overlap,
            mode: Mode::Removal,
            participant: 3,
            other: Some(0),
            at: 12,
            text: text.to_owned(),
        };
        board.find(&finding("a text"));
        board.find(&finding(&"x".repeat(5000)));
        assert_eq!(board.finding(), Some(finding("a text")));
    }

    #[test]
    fn the_last_events_are_remembered() {
        let (board, _file) = Board::create().unwrap();
        let participant = &board.participants[1];
        for round in 0..EVENTS as u32 + 5 {
            participant.note(&Event {
                at: 7,
                what: super::super::event::What::Ask,
                mode: Mode::Fair,
                round,
                detail: 9,
            });
        }
        let events = participant.last_events();
        assert_eq!(events.len(), EVENTS);
        assert_eq!((events[0].round, events[0].detail), (5, 9));
    }
}
