//! What happens when, from the seed: the modes that are tried, and which worker is killed or
//! stopped.
//!
//! The same seed makes the same choices. The kernel still decides which thread runs when, so a
//! second run with the same seed is a similar run, not the same one.

use std::time::Duration;

use fastrand::Rng;

use super::mode::Mode;

/// How long the same two modes are tried.
pub(super) const PHASE: Duration = Duration::from_millis(250);

/// A storm of kills, stops and signals lasts this many phases, and so does the calm after it. In
/// the calm a waiter that sleeps for ever is not woken by accident.
const STORM: u64 = 12;

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
}

impl Plan {
    pub(super) fn new(seed: u64, modes: &[Mode], workers: usize) -> Plan {
        Plan {
            random: Rng::with_seed(seed),
            modes: modes.to_vec(),
            to_come: Vec::new(),
            workers,
            number: 0,
        }
    }

    pub(super) fn next_phase(&mut self) -> Phase {
        let modes = [self.next_mode(), self.next_mode()];
        let calm = self.number / STORM % 2 == 1;
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
        let pause = Duration::from_micros(self.random.u64(1_000..100_000));
        let worker = self.random.usize(..self.workers);
        let act = if self.random.bool() {
            Act::Kill(worker)
        } else {
            Act::Stop(worker, Duration::from_micros(self.random.u64(100..30_000)))
        };
        (pause, act)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_plan() {
        let plan = || Plan::new(7, &Mode::ALL, 5);
        let (mut one, mut other) = (plan(), plan());
        for _ in 0..100 {
            assert_eq!(one.next_phase(), other.next_phase());
            assert_eq!(one.next_act(), other.next_act());
        }
    }

    #[test]
    fn every_mode_has_its_turn_and_storms_alternate_with_calms() {
        let mut plan = Plan::new(1, &Mode::ALL, 5);
        let phases: Vec<Phase> = (0..2 * STORM).map(|_| plan.next_phase()).collect();
        let first: Vec<Mode> = phases[..5].iter().flat_map(|phase| phase.modes).collect();
        assert!(Mode::ALL.iter().all(|mode| first.contains(mode)));
        assert_eq!(phases.iter().filter(|phase| phase.calm).count(), 12);
        assert!(phases.iter().all(|phase| Phase::of(phase.word()) == *phase));
    }
}
