//! Durations for people.

use std::time::Duration;

/// A duration for people: `50 ms`, `1.5 s`, `12 s`, `2 min 5 s`, `3 h 20 min`, `4 d 2 h`.
pub(super) fn spoken(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let tenths = (duration.as_millis() + 50) / 100;
    match duration.as_millis() {
        0 => "0 s".to_owned(),
        millis @ 1..1000 => format!("{millis} ms"),
        1000..10_000 if tenths.is_multiple_of(10) => format!("{} s", tenths / 10),
        1000..10_000 => format!("{}.{} s", tenths / 10, tenths % 10),
        10_000..60_000 => format!("{seconds} s"),
        _ => match seconds / 60 {
            minutes @ ..60 => two(minutes, "min", seconds % 60, "s"),
            minutes @ 60..1440 => two(minutes / 60, "h", minutes % 60, "min"),
            minutes => two(minutes / 1440, "d", minutes / 60 % 24, "h"),
        },
    }
}

/// `2 min 5 s`, but `2 min` where no seconds are left.
fn two(large: u64, large_unit: &str, small: u64, small_unit: &str) -> String {
    match small {
        0 => format!("{large} {large_unit}"),
        _ => format!("{large} {large_unit} {small} {small_unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_as_people_say_them() {
        let said = |millis| spoken(Duration::from_millis(millis));
        assert_eq!(said(0), "0 s");
        assert_eq!(said(50), "50 ms");
        assert_eq!(said(1003), "1 s");
        assert_eq!(said(1549), "1.5 s");
        assert_eq!(said(9999), "10 s");
        assert_eq!(said(12_900), "12 s");
        assert_eq!(said(60_000), "1 min");
        assert_eq!(said(125_000), "2 min 5 s");
        assert_eq!(said(3_600_000), "1 h");
        assert_eq!(said(12_000_000), "3 h 20 min");
        assert_eq!(said(353_000_000), "4 d 2 h");
    }
}
