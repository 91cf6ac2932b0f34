//! Finds the lines that come again where a read of a table in pieces goes back a little, while the
//! table changes.
//!
//! Different locks may have equal lines, as OFD locks of several processes do. So a line comes
//! again only near its place. How far the places have moved is known from the lines that are
//! unique: most of them have moved equally far.

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
    let by = match moved.into_iter().max_by_key(|(_, count)| *count) {
        Some((by, _)) => by,
        None if back > 0 => index(before.len()) - index(back),
        None => return Vec::new(),
    };

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
    found.map(|(at, _)| begin + at).collect()
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
    fn an_equal_line_far_from_the_place_is_another_lock() {
        let far: Vec<u64> = (100..100 + NEAR as u64).collect();
        let after = [&[1, 2][..], &far, &[7]].concat();
        assert_eq!(again(&[1, 7, 2], &after, 0), [0, 2]);
    }
}
