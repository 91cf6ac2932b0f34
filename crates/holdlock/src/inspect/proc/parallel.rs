//! The same question about many processes, asked on several CPUs.

use std::panic;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::inspect::HELPER;
use crate::sys::signal;

/// About fewer it takes less time to ask than to start a thread.
const MANY: usize = 64;
/// More threads would stand in one another's way in the kernel.
const THREADS: usize = 4;
/// How many a thread takes at once.
const PORTION: usize = 16;

/// The answers, in the order of the questions.
pub(crate) fn ask<Q: Sync, A: Send>(questions: &[Q], answer: impl Fn(&Q) -> A + Sync) -> Vec<A> {
    if questions.len() < MANY {
        return questions.iter().map(answer).collect();
    }
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut answers = Vec::new();
        loop {
            let first = next.fetch_add(1, Ordering::Relaxed) * PORTION;
            let Some(left) = questions.get(first..).filter(|left| !left.is_empty()) else {
                return answers;
            };
            let portion = left.iter().take(PORTION).map(&answer);
            answers.push((first, portion.collect::<Vec<A>>()));
        }
    };
    thread::scope(|scope| {
        let start = |number: usize| {
            let helper = thread::Builder::new().name(format!("{HELPER}look-{number}"));
            // Where none can be started, the others do its part.
            helper.spawn_scoped(scope, work).ok()
        };
        // The program's signals are for its own threads.
        let helpers: Vec<_> = signal::with_all_blocked(|| {
            let numbers = 1..cpus.min(THREADS);
            numbers.filter_map(start).collect()
        });
        let mut answers = work();
        for helper in helpers {
            match helper.join() {
                Ok(more) => answers.extend(more),
                Err(panicked) => panic::resume_unwind(panicked),
            }
        }
        answers.sort_by_key(|(first, _)| *first);
        answers
            .into_iter()
            .flat_map(|(_, answers)| answers)
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_question_is_answered_once_and_in_order() {
        for number in [0, 1, MANY - 1, MANY, MANY + 1, 10 * PORTION, 1000] {
            let questions: Vec<usize> = (0..number).collect();
            let answers = ask(&questions, |question| question + 1);
            assert_eq!(answers, (1..=number).collect::<Vec<usize>>());
        }
    }
}
