//! Looks at many processes with several threads.

use std::panic;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::sys::{fork, published, thread};

/// Below this number of processes, looking at all of them takes less time than starting a thread.
const MANY: usize = 64;
/// More threads would delay one another in the kernel.
const THREADS: usize = 4;
/// How many items a thread takes at once.
const PORTION: usize = 16;

/// Applies `answer` to every item. The results are in the order of the items.
pub(crate) fn map<Q: Sync, A: Send>(items: &[Q], answer: impl Fn(&Q) -> A + Sync) -> Vec<A> {
    // In a child of fork, a thread of the standard library may wait for ever: see `sys::start`.
    if items.len() < MANY || fork::is_child() {
        return items.iter().map(answer).collect();
    }
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut results = Vec::new();
        loop {
            let first = next.fetch_add(1, Ordering::Relaxed) * PORTION;
            let Some(left) = items.get(first..).filter(|left| !left.is_empty()) else {
                return results;
            };
            let portion = left.iter().take(PORTION).map(&answer);
            results.push((first, portion.collect::<Vec<A>>()));
        }
    };
    std::thread::scope(|scope| {
        let start = |number: usize| {
            let helper = std::thread::Builder::new().name(format!("holdlock-look-{number}"));
            // If a thread cannot be started, the other threads do its work.
            let work = || {
                let _helper = published::Helper::enter();
                work()
            };
            helper.spawn_scoped(scope, work).ok()
        };
        // Signals of the program must go to its own threads.
        let helpers: Vec<_> = thread::with_signals_blocked(|| {
            let numbers = 1..cpus.min(THREADS);
            numbers.filter_map(start).collect()
        });
        let mut results = work();
        for helper in helpers {
            match helper.join() {
                Ok(more) => results.extend(more),
                Err(panicked) => panic::resume_unwind(panicked),
            }
        }
        results.sort_by_key(|(first, _)| *first);
        results
            .into_iter()
            .flat_map(|(_, results)| results)
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_mapped_once_and_in_order() {
        for number in [0, 1, MANY - 1, MANY, MANY + 1, 10 * PORTION, 1000] {
            let items: Vec<usize> = (0..number).collect();
            let results = map(&items, |item| item + 1);
            assert_eq!(results, (1..=number).collect::<Vec<usize>>());
        }
    }
}
