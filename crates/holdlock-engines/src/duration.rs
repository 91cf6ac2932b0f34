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
            minutes @ ..60 => format!("{minutes} min {} s", seconds % 60),
            minutes @ 60..1440 => format!("{} h {} min", minutes / 60, minutes % 60),
            minutes => format!("{} d {} h", minutes / 1440, minutes / 60 % 24),
        },
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn durations_are_as_the_library_says_them() {
        let function = |text: &'static str| {
            let (_, rest) = text.split_once(" fn spoken").expect("a function");
            rest.split_once("#[cfg(test)]").expect("tests").0
        };
        let ours = function(include_str!("duration.rs"));
        let of_library = include_str!("../../holdlock/src/error/duration.rs");
        assert_eq!(ours, function(of_library));
    }
}
