//! The time axis: the positions and the names of its marks.

/// Round steps for marks, in nanoseconds, at least `smallest` long.
pub(super) fn step(smallest: u64) -> u64 {
    let mut power = 1;
    loop {
        for factor in [1, 2, 5] {
            if power * factor >= smallest {
                return power * factor;
            }
        }
        power *= 10;
    }
}

/// A mark's name: `250 ms`, `1.5 s`, in the unit that fits the step between marks.
pub(super) fn name(nanos: u64, step: u64) -> String {
    const MILLI: u64 = 1_000_000;
    const TENTH: u64 = 100 * MILLI;
    if step >= 10 * TENTH {
        format!("{} s", nanos / (10 * TENTH))
    } else if step >= TENTH {
        format!("{}.{} s", nanos / (10 * TENTH), nanos / TENTH % 10)
    } else if step >= MILLI {
        format!("{} ms", nanos / MILLI)
    } else {
        format!("{} us", nanos / 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round() {
        assert_eq!(step(1), 1);
        assert_eq!(step(3), 5);
        assert_eq!(step(180_000_000), 200_000_000);
        assert_eq!(step(600_000_000), 1_000_000_000);
    }

    #[test]
    fn names_fit_the_step() {
        assert_eq!(name(1_500_000_000, 500_000_000), "1.5 s");
        assert_eq!(name(12_000_000_000, 2_000_000_000), "12 s");
        assert_eq!(name(40_000_000, 20_000_000), "40 ms");
        assert_eq!(name(200_000, 100_000), "200 us");
    }
}
