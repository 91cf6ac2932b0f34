//! Durations as people type them: `5`, `0.5`, `500ms`, `2m`, `1h30m`, `1d`.
//!
//! All computations use whole numbers, because a deadline must not depend on the rounding of a
//! binary fraction.

use std::time::Duration;

/// The units, from large to small: the order in which they may follow each other.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
];

/// A hundred years. A longer duration is a typing error, and would overflow clocks.
const LONGEST: u128 = 100 * 365 * 86_400_000_000_000;

/// Parses a duration. The error is a phrase for the user.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    if text.is_empty() {
        return Err("a duration cannot be empty".into());
    }
    if text.starts_with('-') {
        return Err("a duration cannot be negative".into());
    }
    let mut rest = text;
    let mut next_unit = 0;
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let (number, tail) = split(rest, |c| c.is_ascii_digit() || c == '.');
        let (unit, tail) = split(tail, |c| !c.is_ascii_digit() && c != '.');
        let position = match unit {
            "" if rest.len() == text.len() => 3,
            _ => UNITS
                .iter()
                .position(|(name, _)| *name == unit)
                .ok_or_else(not_understood)?,
        };
        if position < next_unit {
            return Err("units must go from large to small, each once, as in 1h30m".into());
        }
        next_unit = position + 1;
        total = scaled(number, UNITS[position].1)
            .and_then(|nanos| total.checked_add(nanos))
            .ok_or_else(not_understood)?;
        if total > LONGEST {
            return Err("a duration can be 100 years at most".into());
        }
        rest = tail;
    }
    let second = 1_000_000_000;
    Ok(Duration::new(
        (total / second) as u64,
        (total % second) as u32,
    ))
}

fn not_understood() -> String {
    "not a duration; write seconds (5, 0.5) or use ms, s, m, h, d (500ms, 2m, 1h30m)".into()
}

fn split(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !belongs(c)).unwrap_or(text.len()))
}

/// `number` × `unit` in nanoseconds, cut off below a nanosecond.
/// A number too large for any clock becomes the largest one.
fn scaled(number: &str, unit: u64) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let mut nanos = 0u128;
    for digit in whole.bytes() {
        nanos = nanos
            .saturating_mul(10)
            .saturating_add(u128::from(digit - b'0') * u128::from(unit));
    }
    let mut weight = u128::from(unit);
    // After 20 digits, every further digit is below a nanosecond, even with the unit day.
    let scale = 10u128.pow(20);
    weight *= scale;
    let mut parts = 0u128;
    for digit in fraction.bytes().take(20) {
        weight /= 10;
        parts += u128::from(digit - b'0') * weight;
    }
    Some(nanos.saturating_add(parts / scale))
}

#[cfg(test)]
mod tests {
    use super::parse;
    use std::time::Duration;

    #[test]
    fn understands_what_people_type() {
        for (text, millis) in [
            ("5", 5_000),
            ("0", 0),
            ("0.5", 500),
            (".25", 250),
            ("3.", 3_000),
            ("500ms", 500),
            ("2m", 120_000),
            ("90s", 90_000),
            ("1h30m", 5_400_000),
            ("1d", 86_400_000),
            ("1.5h", 5_400_000),
            ("1m500ms", 60_500),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn keeps_nanoseconds_and_cuts_what_is_finer() {
        assert_eq!(parse("0.000000001"), Ok(Duration::from_nanos(1)));
        assert_eq!(parse("0.0000000019"), Ok(Duration::from_nanos(1)));
        assert_eq!(
            parse(&format!("1.{}", "9".repeat(60))),
            Ok(Duration::new(1, 999_999_999))
        );
    }

    #[test]
    fn refuses_the_rest_with_a_reason() {
        for (text, reason) in [
            ("", "empty"),
            ("-1", "negative"),
            ("-0.5s", "negative"),
            ("nan", "not a duration"),
            ("inf", "not a duration"),
            ("five", "not a duration"),
            ("5 s", "not a duration"),
            ("1.2.3", "not a duration"),
            (".", "not a duration"),
            ("5x", "not a duration"),
            ("1h30", "not a duration"),
            ("ms", "not a duration"),
            ("1e3", "not a duration"),
            ("30m1h", "large to small"),
            ("1s1s", "large to small"),
            ("101d101d", "large to small"),
            (
                "99999999999999999999999999999999999999999999999999",
                "100 years",
            ),
            ("40000d", "100 years"),
            ("٣", "not a duration"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
