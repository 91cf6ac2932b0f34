//! The checker of the waits at an engine: somebody waits, nobody is inside, and nobody enters, for
//! longer than a lease of a killed worker can last.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::board::{Board, Doing, now};
use super::engine::{About, Engine};
use super::finding::{Finding, Kind};
use super::mark::Mark;
use super::mode::Mode;

/// For a busy machine, beside some times the time limit of the locks.
const SLACK: Duration = Duration::from_secs(3);

pub(super) struct EngineWatch {
    engine: Engine,
    patience: Duration,
    /// By mode: the entries, and since when there are waiters but no more entries.
    since: [(u64, Option<Instant>); Mode::ALL.len()],
}

impl EngineWatch {
    pub(super) fn new(engine: &(Engine, About)) -> EngineWatch {
        EngineWatch {
            engine: engine.0.clone(),
            // A waiter that dies at the end of a storm queues behind a holder that did.
            patience: 3 * engine.1.ttl + SLACK,
            since: [(0, None); Mode::ALL.len()],
        }
    }

    pub(super) fn look(&mut self, board: &Board, calm: bool) {
        for &mode in Mode::OF_ENGINES {
            let entries = board.mode(mode).entries.load(Ordering::SeqCst);
            let waiter = waiter(board, mode).filter(|_| calm);
            let (last, since) = &mut self.since[mode.index()];
            if *last != entries || waiter.is_none() {
                (*last, *since) = (entries, None);
            }
            let Some(waiter) = waiter else {
                continue;
            };
            if since.get_or_insert_with(Instant::now).elapsed() < self.patience {
                continue;
            }
            *since = None;
            // An engine that does not answer is no finding.
            if let Some(holders) = self.engine.holders(mode) {
                board.find(&found(mode, waiter, &holders));
            }
        }
    }
}

fn found(mode: Mode, waiter: usize, holders: &[String]) -> Finding {
    let (kind, text) = match holders {
        [] => (
            Kind::LostWakeup,
            "it waits, and the engine shows no holder".to_owned(),
        ),
        holders => (
            Kind::Kept,
            format!(
                "it waits, nobody is inside, and the engine shows {}",
                holders.join(", ")
            ),
        ),
    };
    Finding {
        kind,
        mode,
        participant: waiter,
        other: None,
        at: now(),
        text,
    }
}

/// A participant that waits, if nobody is inside.
fn waiter(board: &Board, mode: Mode) -> Option<usize> {
    let mut waiter = None;
    for (id, words) in board.participants.iter().enumerate() {
        let mark = Mark::of(board.marks[id].load(Ordering::SeqCst));
        if mark.is_some_and(|mark| mark.mode == mode) {
            return None;
        }
        match Doing::of(words.doing_now()) {
            (Doing::Waiting, Some(of)) if of == mode => waiter = Some(id),
            (Doing::Releasing, Some(of)) if of == mode => return None,
            _ => {}
        }
    }
    waiter
}
