//! Finds the lines that come again where a read of a table in pieces goes back a little, while the
//! table changes.
//!
//! Different locks may have equal lines, as OFD locks of several processes do. So a line comes
//! again only near its place. How far the places have moved is known from the lines that are
//! unique: most of them have moved equally far. A line that is unique in both pieces may still be
//! two locks. Then it comes again alone, without the lines around it, and proves no move.

use std::collections::{BTreeMap, HashMap};

/// How far back a line may be that comes again.
const WINDOW: usize = 128;
/// How far a line may be from its place.
const NEAR: usize = 2;

/// The indexes of the lines of `before` that come again in `after`. If the table has not changed,
/// `after` begins `back` lines before the end of `before`.
pub(super) fn lines(before: &[u64], after: &[u64], back: usize) -> Vec<usize> {
    let begin = before.len().saturating_sub(WINDOW);
    let before = &before[begin..];
    let after = &after[..after.len().min(2 * WINDOW)];
    let index = |at: usize| at as isize;

    let now = unique(after);
    let mut moved: BTreeMap<isize, usize> = BTreeMap::new();
    for (line, at) in unique(before) {
        if let Some(now) = now.get(&line) {
            *moved.entry(index(at) - index(*now)).or_default() += 1;
        }
    }
    let most = moved.into_iter().max_by_key(|(_, count)| *count);
    let moved = most.and_then(|(by, _)| {
        let again = near_places(before, after, by);
        let possible = before.len() - usize::try_from(by).unwrap_or(0);
        let is_proven = 2 * again.len() >= possible && (again.len() > 1 || back > 0);
        is_proven.then_some(again)
    });
    let again = moved.unwrap_or_else(|| match back {
        0 => Vec::new(),
        _ => near_places(before, after, index(before.len()) - index(back)),
    });
    again.into_iter().map(|at| begin + at).collect()
}

/// The indexes of the lines of `before` that come again in `after`, near the place that is `by`
/// greater than the index there.
fn near_places(before: &[u64], after: &[u64], by: isize) -> Vec<usize> {
    let index = |at: usize| at as isize;
    let mut again = vec![false; before.len()];
    for (now, line) in after.iter().enumerate() {
        let place = index(now) + by;
        let near = (0..=index(NEAR)).flat_map(|far| [place - far, place + far]);
        let mut near = near.filter_map(|at| usize::try_from(at).ok());
        if let Some(at) = near.find(|at| before.get(*at) == Some(line) && !again[*at]) {
            again[at] = true;
        }
    }
    let found = again.into_iter().enumerate().filter(|(_, again)| *again);
    found.map(|(at, _)| at).collect()
}

/// The lines that are there once, with their indexes.
fn unique(lines: &[u64]) -> HashMap<u64, usize> {
    let mut places: HashMap<u64, Option<usize>> = HashMap::new();
    for (at, line) in lines.iter().enumerate() {
        let place = places.entry(*line).or_insert(Some(at));
        *place = place.filter(|place| *place == at);
    }
    let once = places.into_iter();
    once.filter_map(|(line, place)| Some((line, place?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a table whose second read begins at the index `from`, and back by two lines.
    fn again(before: &[u64], after: &[u64], from: usize) -> Vec<usize> {
        lines(before, &after[from..], 2)
    }

    #[test]
    fn lines_that_stay_at_their_places_come_again() {
        assert_eq!(again(&[1, 2, 3, 4], &[1, 2, 3, 4, 5], 2), [2, 3]);
        assert_eq!(again(&[1, 2, 3, 4], &[1, 2, 3, 4], 2), [2, 3]);
        assert_eq!(again(&[], &[1, 2], 0), [0; 0]);
    }

    #[test]
    fn lines_that_moved_come_again() {
        assert_eq!(
            again(&[1, 2, 3, 4], &[9, 8, 7, 1, 2, 3, 4, 5], 2),
            [0, 1, 2, 3]
        );
        assert_eq!(again(&[1, 2, 3, 4], &[2, 3, 4, 5, 6], 2), [3]);
        assert_eq!(again(&[1, 2, 3, 4], &[5, 6, 7], 2), [0; 0]);
    }

    #[test]
    fn equal_lines_come_again_as_often_as_they_were_read() {
        assert_eq!(again(&[7, 7, 7, 7], &[7, 7, 7, 7], 2), [2, 3]);
        assert_eq!(lines(&[7, 7], &[7, 7], 0), [0; 0]);
        assert_eq!(again(&[1, 7, 7], &[1, 7, 7, 7, 2], 1), [1, 2]);
        // One moved by two, and the equal lines with it.
        assert_eq!(again(&[1, 7, 7], &[8, 9, 1, 7, 7, 7, 2], 1), [0, 1, 2]);
    }

    #[test]
    fn equal_lines_of_a_table_that_has_not_changed_are_two_locks() {
        assert_eq!(lines(&[1, 2, 3, 7], &[7, 4, 5, 6], 0), [0; 0]);
        for (one, other) in [(10, 40), (50, 1), (59, 59)] {
            let mut before: Vec<u64> = (100..160).collect();
            let mut after: Vec<u64> = (200..260).collect();
            (before[one], after[other]) = (7, 7);
            assert_eq!(lines(&before, &after, 0), [0; 0], "{one}, {other}");
            // A read that went back finds what it expects, and not the equal line far from there.
            let repeated = [&before[58..], &after].concat();
            assert_eq!(lines(&before, &repeated, 2), [58, 59], "{one}, {other}");
        }
    }

    #[test]
    fn an_equal_line_far_from_the_place_is_another_lock() {
        let far: Vec<u64> = (100..100 + NEAR as u64).collect();
        let after = [&[1, 2][..], &far, &[7]].concat();
        assert_eq!(again(&[1, 7, 2], &after, 0), [0, 2]);
    }
}
