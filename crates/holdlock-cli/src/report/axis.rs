//! The time axis: marks at round times of the day, or at days.

use super::clock::{self, SECOND, Time};

const DAY: i64 = 86_400;
/// Longer steps are multiples of this one.
const LONGEST: i64 = 28 * DAY * SECOND;

/// About eight marks between two times, and their names.
pub(super) fn marks(from: Time, to: Time) -> Vec<(Time, String)> {
    let step = step((to - from) / 9);
    let first = (from - 1).div_euclid(step) * step + step;
    let times = (0..).map(|number| first + number * step);
    let marks = times.take_while(|time| *time <= to);
    marks.map(|time| (time, name(time, step))).collect()
}

fn name(time: Time, step: i64) -> String {
    if time % (DAY * SECOND) == 0 {
        clock::day_name(time)
    } else {
        clock::of_day(time, step)
    }
}

/// A round step, at least this long.
fn step(smallest: i64) -> i64 {
    const FINE: [i64; 9] = [1, 2, 5, 10, 20, 50, 100, 200, 500];
    const ROUND: [i64; 20] = [
        1,
        2,
        5,
        10,
        15,
        30,
        60,
        120,
        300,
        600,
        900,
        1800,
        3600,
        7200,
        10_800,
        21_600,
        43_200,
        DAY,
        2 * DAY,
        7 * DAY,
    ];
    let fine = FINE.iter().map(|millis| millis * (SECOND / 1000));
    let round = ROUND.iter().map(|seconds| seconds * SECOND);
    let found = fine.chain(round).find(|step| *step >= smallest);
    found.unwrap_or_else(|| (smallest.max(1) - 1) / LONGEST * LONGEST + LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round() {
        for (smallest, round) in [
            (0, SECOND / 1000),
            (SECOND / 3, SECOND / 2),
            (SECOND * 7, SECOND * 10),
            (SECOND * 4000, SECOND * 7200),
            (SECOND * 3_000_000, SECOND * 4_838_400),
        ] {
            assert_eq!(step(smallest), round);
        }
    }

    #[test]
    fn marks_are_between_the_times() {
        let from = clock::parse("2026-11-22T21:30:00Z").unwrap();
        let names: Vec<String> = marks(from, from + 4 * 3600 * SECOND)
            .into_iter()
            .map(|(_, name)| name)
            .collect();
        assert_eq!(names[..4], ["21:30", "22:00", "22:30", "23:00"]);
        assert_eq!(names[5], "2026-11-23");
        assert_eq!(names.len(), 9);
    }
}
