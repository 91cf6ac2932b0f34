//! What happens when, from the seed: the modes that are tried, and which worker is killed or
//! stopped.
//!
//! The same seed makes the same choices. The kernel still decides which thread runs when, so a
//! second run with the same seed is a similar run, not the same one.

use std::ops::Range;
use std::time::Duration;

use fastrand::Rng;

use super::mode::Mode;

/// The times of a plan.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    /// How long the same two modes are tried.
    pub(super) phase: Duration,
    /// A storm of kills, stops and signals lasts this many phases, and then there is calm for so
    /// many. In the calm a waiter that sleeps for ever is not woken by accident.
    storm: u64,
    calm: u64,
    /// The time from one act to the next, and that of a stop, in microseconds.
    pause: Range<u64>,
    stop: Range<u64>,
    /// Half of the stops last longer: the lease of a holder ends meanwhile.
    long_stop: Range<u64>,
    /// Which phase is the first.
    first: u64,
}

impl Pace {
    /// The kernel frees the lock of a process that was killed at once.
    pub(super) const FILES: Pace = Pace {
        phase: Duration::from_millis(250),
        storm: 12,
        calm: 12,
        pause: 1_000..100_000,
        stop: 100..30_000,
        long_stop: 100..30_000,
        first: 0,
    };

    /// An engine may take this time to do so. Runs with an odd seed begin with the calm.
    pub(super) fn of(ttl: Duration, seed: u64) -> Pace {
        let ttl = ttl.as_micros() as u64;
        let phase = Duration::from_secs(1);
        let storm = (3 * ttl).div_ceil(phase.as_micros() as u64);
        Pace {
            phase,
            storm,
            calm: (5 * ttl).div_ceil(phase.as_micros() as u64),
            pause: ttl / 10..ttl * 2 / 3,
            stop: ttl / 10..ttl,
            long_stop: ttl..ttl * 3 / 2,
            first: seed % 2 * storm,
        }
    }
}

/// The modes of one phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Phase {
    pub(super) modes: [Mode; 2],
    /// Whether no process is killed or stopped, and no thread gets signals.
    pub(super) calm: bool,
}

impl Phase {
    pub(super) fn word(self) -> u64 {
        let [first, second] = self.modes;
        first as u64 | (second as u64) << 8 | u64::from(self.calm) << 16
    }

    pub(super) fn of(word: u64) -> Phase {
        let mode = |word| Mode::at(word & 0xff).unwrap_or(Mode::Exclusive);
        Phase {
            modes: [mode(word), mode(word >> 8)],
            calm: word >> 16 & 1 == 1,
        }
    }

    /// The mode for the next request of a participant.
    pub(super) fn pick(self, random: &mut Rng) -> Mode {
        self.modes[usize::from(random.bool())]
    }
}

/// An act of the supervisor on one of its workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Kill(usize),
    /// Stops it for a time.
    Stop(usize, Duration),
}

/// The plan of a run.
pub(super) struct Plan {
    random: Rng,
    modes: Vec<Mode>,
    /// The modes still to come in this round through all of them.
    to_come: Vec<Mode>,
    workers: usize,
    number: u64,
    pub(super) pace: Pace,
}

impl Plan {
    pub(super) fn new(seed: u64, modes: &[Mode], workers: usize, pace: Pace) -> Plan {
        Plan {
            random: Rng::with_seed(seed),
            modes: modes.to_vec(),
            to_come: Vec::new(),
            workers,
            number: pace.first,
            pace,
        }
    }

    pub(super) fn next_phase(&mut self) -> Phase {
        let modes = [self.next_mode(), self.next_mode()];
        let both = self.pace.storm + self.pace.calm;
        let calm = self.number % both >= self.pace.storm;
        self.number += 1;
        Phase { modes, calm }
    }

    fn next_mode(&mut self) -> Mode {
        if self.to_come.is_empty() {
            self.to_come.clone_from(&self.modes);
            self.random.shuffle(&mut self.to_come);
        }
        self.to_come.pop().unwrap_or(Mode::Exclusive)
    }

    /// The next act, and the time until it.
    pub(super) fn next_act(&mut self) -> (Duration, Act) {
        let pause = Duration::from_micros(self.random.u64(self.pace.pause.clone()));
        let worker = self.random.usize(..self.workers);
        let act = if self.random.bool() {
            Act::Kill(worker)
        } else {
            let time = match self.random.bool() {
                true => self.pace.stop.clone(),
                false => self.pace.long_stop.clone(),
            };
            let time = self.random.u64(time);
            Act::Stop(worker, Duration::from_micros(time))
        };
        (pause, act)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_plan() {
        let plan = || Plan::new(7, &Mode::ALL, 5, Pace::FILES);
        let (mut one, mut other) = (plan(), plan());
        for _ in 0..100 {
            assert_eq!(one.next_phase(), other.next_phase());
            assert_eq!(one.next_act(), other.next_act());
        }
    }

    #[test]
    fn every_mode_has_its_turn_and_storms_alternate_with_calms() {
        let mut plan = Plan::new(1, Mode::OF_FILES, 5, Pace::FILES);
        let phases: Vec<Phase> = (0..24).map(|_| plan.next_phase()).collect();
        let first: Vec<Mode> = phases[..5].iter().flat_map(|phase| phase.modes).collect();
        assert!(Mode::OF_FILES.iter().all(|mode| first.contains(mode)));
        assert_eq!(phases.iter().filter(|phase| phase.calm).count(), 12);
        assert!(phases.iter().all(|phase| Phase::of(phase.word()) == *phase));
    }
}
