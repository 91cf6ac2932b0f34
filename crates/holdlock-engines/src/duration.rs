//! Durations for people.
//!
//! A copy of the library's: it is not worth a public function there.

use std::time::Duration;

/// A duration for people: `50 ms`, `1.5 s`, `12 s`, `2 min 5 s`, `3 h 20 min`, `4 d 2 h`.
pub(crate) fn spoken(duration: Duration) -> String {
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
    /// If the library is beside this crate, as in a clone.
    #[test]
    fn durations_are_as_the_library_says_them() {
        let library = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../holdlock/src/error/duration.rs"
        );
        let Ok(of_library) = std::fs::read_to_string(library) else {
            return;
        };
        let function = |text: &str| {
            let (_, rest) = text.split_once(" fn spoken").expect("a function");
            rest.split_once("#[cfg(test)]").expect("tests").0.to_owned()
        };
        assert_eq!(function(include_str!("duration.rs")), function(&of_library));
    }
}
