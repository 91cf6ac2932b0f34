//! The runs of each lock, with their typical and longest times.

use std::collections::BTreeMap;

use super::entry::Entry;

/// All runs of one lock.
pub(super) struct Lock<'a> {
    pub(super) path: &'a str,
    /// In the order of their beginnings.
    pub(super) entries: Vec<&'a Entry>,
    pub(super) waited: Spread,
    /// None if no run acquired it.
    pub(super) held: Option<Spread>,
}

/// Nanoseconds: the median, the value that 95 of 100 runs do not exceed, and the longest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub(super) median: i64,
    pub(super) p95: i64,
    pub(super) longest: i64,
}

impl Lock<'_> {
    /// The runs that had the lock.
    pub(super) fn runs(&self) -> usize {
        let held = self.entries.iter().filter(|entry| entry.held.is_some());
        held.count()
    }

    /// The runs that gave up because another process held the lock.
    pub(super) fn conflicts(&self) -> usize {
        self.entries.iter().filter(|entry| entry.gave_up()).count()
    }

    /// The run that held it longest.
    pub(super) fn longest(&self) -> Option<&Entry> {
        let held = self.entries.iter().filter(|entry| entry.held.is_some());
        held.max_by_key(|entry| entry.held).copied()
    }
}

impl Spread {
    fn of(mut times: Vec<i64>) -> Option<Spread> {
        times.sort_unstable();
        // The nearest rank, which is always a measured time.
        let rank = |percent: usize| (times.len() * percent).div_ceil(100).max(1) - 1;
        Some(Spread {
            median: *times.get(rank(50))?,
            p95: *times.get(rank(95))?,
            longest: *times.last()?,
        })
    }
}

/// A run under several locks counts for each of them. Sorted by their paths.
pub(super) fn by_lock(entries: &[Entry]) -> Vec<Lock<'_>> {
    let mut locks: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
    for entry in entries {
        let mut paths: Vec<&str> = entry.locks.iter().map(String::as_str).collect();
        paths.sort_unstable();
        paths.dedup();
        for path in paths {
            locks.entry(path).or_default().push(entry);
        }
    }
    let summed = locks.into_iter().filter_map(|(path, entries)| {
        Some(Lock {
            path,
            waited: Spread::of(entries.iter().map(|entry| entry.waited).collect())?,
            held: Spread::of(entries.iter().filter_map(|entry| entry.held).collect()),
            entries,
        })
    });
    summed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_only_measured_times() {
        let spread = |times: &[i64]| Spread::of(times.to_vec());
        let of = |median, p95, longest| {
            Some(Spread {
                median,
                p95,
                longest,
            })
        };
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[7]), of(7, 7, 7));
        assert_eq!(spread(&[4, 1, 3, 2]), of(2, 4, 4));
        let many: Vec<i64> = (1..=100).collect();
        assert_eq!(spread(&many), of(50, 95, 100));
    }
}
