//! Times as logs have them, and lengths of time as people read them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::calendar::date;

/// `12 s`, `3 min`, `2 h 5 min`, `4 d 2 h`
pub(crate) fn span(waited: Duration) -> String {
    let seconds = waited.as_secs();
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match (hours, minutes) {
        (0, 0) => format!("{seconds} s"),
        (0, 1..=9) => two(minutes, "min", seconds % 60, "s"),
        (0, _) => format!("{minutes} min"),
        (1..=23, _) => two(hours, "h", minutes % 60, "min"),
        _ => two(hours / 24, "d", hours % 24, "h"),
    }
}

/// `2 h 5 min`, but `2 h` where no minutes are left.
fn two(large: u64, large_unit: &str, small: u64, small_unit: &str) -> String {
    match small {
        0 => format!("{large} {large_unit}"),
        _ => format!("{large} {large_unit} {small} {small_unit}"),
    }
}

/// A measured time: `less than 1 ms`, `250 ms`, `1.5 s`, `5 s`, `2 min 5 s`.
pub(crate) fn rounded(time: Duration) -> String {
    let millis = time.as_millis();
    match millis {
        0 => "less than 1 ms".to_owned(),
        1..1000 => format!("{millis} ms"),
        1000..10_000 if millis % 1000 >= 100 => {
            format!("{}.{} s", millis / 1000, millis % 1000 / 100)
        }
        _ => span(time),
    }
}

/// `2026-01-31T12:00:00.123Z`
pub(crate) fn utc(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = date(days as i64);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        second / 3600,
        second / 60 % 60,
        second % 60,
        since.subsec_millis()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (951_868_800, "2000-03-01T00:00:00.000Z"),
            (1_767_225_599, "2025-12-31T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(utc(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn measured_times_are_as_exact_as_people_say_them() {
        for (micros, text) in [
            (138, "less than 1 ms"),
            (3_999, "3 ms"),
            (300_000, "300 ms"),
            (1_003_000, "1 s"),
            (1_250_000, "1.2 s"),
            (30_500_000, "30 s"),
            (125_000_000, "2 min 5 s"),
        ] {
            assert_eq!(rounded(Duration::from_micros(micros)), text);
        }
    }

    #[test]
    fn longer_spans_are_less_exact() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (120, "2 min"),
            (125, "2 min 5 s"),
            (600, "10 min"),
            (3600, "1 h"),
            (7500, "2 h 5 min"),
            (86_399, "23 h 59 min"),
            (86_400, "1 d"),
            (353_000, "4 d 2 h"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }
}
