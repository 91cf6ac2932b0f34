//! Points in time as logs have them, RFC 3339, and as people read them. All are in UTC, so that
//! the logs of two hosts can be compared.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::duration;
use crate::show::calendar::{self, date, days};

/// Nanoseconds since 1970, enough until 2262.
pub(super) type Time = i64;

pub(super) const SECOND: i64 = 1_000_000_000;
const DAY: i64 = 86_400;

/// `2026-11-23T08:15:30.25Z`, or with an offset such as `+01:00`.
pub(super) fn parse(text: &str) -> Option<Time> {
    let (date, time) = text.split_once(['T', 't', ' '])?;
    let [year, month, day] = numbers(date, '-')?;
    let zone = time.find(['Z', 'z', '+', '-'])?;
    let (time, zone) = time.split_at(zone);
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let [hour, minute, second] = numbers(time, ':')?;
    let offset = match zone {
        "Z" | "z" => 0,
        _ => {
            let [hours, minutes] = numbers(zone.get(1..)?, ':')?;
            let seconds = hours * 3600 + minutes * 60;
            if zone.starts_with('-') {
                -seconds
            } else {
                seconds
            }
        }
    };
    // Times until 2100, with a wait and a hold of 31 years each, are far from the limit of `Time`.
    let known = (1970..=2100).contains(&year)
        && calendar::exists(year, month, day)
        // A leap second counts as the one that follows it.
        && (hour < 24 && minute < 60 && second <= 60);
    if !known || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanos: i64 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    let seconds = days(year, month, day) * DAY + hour * 3600 + minute * 60 + second - offset;
    Some(seconds * SECOND + nanos)
}

/// The time of `--since`: a time as in [`parse`], the beginning of a day (UTC), or a duration
/// before now.
pub(crate) fn since(text: &str) -> Result<Time, String> {
    if let Some(time) = parse(text).or_else(|| parse(&format!("{text}T00:00:00Z"))) {
        return Ok(time);
    }
    let before = duration::parse(text).map_err(|_| {
        "give a time (2026-11-23T08:00:00Z), a day (2026-11-23), or a duration before now (2h, 7d)"
    })?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default().saturating_sub(before);
    i64::try_from(now.as_nanos()).map_err(|_| "the time is too far away".into())
}

/// Exactly N numbers, of digits only.
fn numbers<const N: usize>(text: &str, between: char) -> Option<[i64; N]> {
    let mut found = [0; N];
    let mut parts = text.split(between);
    for place in &mut found {
        let digits = parts.next()?;
        if digits.len() > 4 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *place = digits.parse().ok()?;
    }
    parts.next().is_none().then_some(found)
}

/// `2026-11-23 08:15:30`.
pub(super) fn full(time: Time) -> String {
    format!("{} {}", day_name(time), of_day(time, SECOND))
}

/// `2026-11-23`.
pub(super) fn day_name(time: Time) -> String {
    let (year, month, day) = date(time.div_euclid(DAY * SECOND));
    format!("{year:04}-{month:02}-{day:02}")
}

/// The time of day, as precise as steps of this length need it.
pub(super) fn of_day(time: Time, step: i64) -> String {
    let nanos = time.rem_euclid(DAY * SECOND);
    let seconds = nanos / SECOND;
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if step >= 60 * SECOND {
        format!("{hour:02}:{minute:02}")
    } else if step >= SECOND {
        format!("{hour:02}:{minute:02}:{second:02}")
    } else {
        let millis = nanos / 1_000_000 % 1000;
        format!("{hour:02}:{minute:02}:{second:02}.{millis:03}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written() {
        let time = parse("2026-11-23T08:15:30.25Z").unwrap();
        assert_eq!(time, 1_795_421_730 * SECOND + SECOND / 4);
        assert_eq!(full(time), "2026-11-23 08:15:30");
        assert_eq!(of_day(time, 1), "08:15:30.250");
        assert_eq!(parse("2026-11-23T09:15:30.250+01:00"), Some(time));
        assert_eq!(parse("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(
            parse("2024-02-29T00:00:00Z").map(day_name).unwrap(),
            "2024-02-29"
        );
    }

    #[test]
    fn since_is_a_time_a_day_or_a_duration_before_now() {
        let time = parse("2026-11-23T00:00:00Z").unwrap();
        assert_eq!(since("2026-11-23"), Ok(time));
        assert_eq!(since("2026-11-23T01:00:00+01:00"), Ok(time));
        let (hour, day) = (since("1h").unwrap(), since("1d").unwrap());
        assert!((hour - day - 23 * 3600 * SECOND).abs() < 60 * SECOND);
        for text in ["", "yesterday", "2026-13-01", "2026-02-30", "-1h"] {
            assert!(since(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "yesterday",
            "2026-11-23",
            "2026-11-23T08:15:30",
            "2026-13-23T08:15:30Z",
            "2026-11-23T24:15:30Z",
            "2026-11-23T08:15:30.xZ",
            "2026-11-23T08:15Z",
            "99999-11-23T08:15:30Z",
            "2026-11-23T08:15:30+é1:00",
            "+2026-11-23T08:15:30Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
