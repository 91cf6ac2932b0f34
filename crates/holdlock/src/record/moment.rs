//! A moment, by two clocks.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::sealed::Text;
use crate::inspect::{boot_clock_offset, boot_id};
use crate::sys::clock;

const SECOND: u64 = 1_000_000;

/// A moment, by the wall clock and by the clock of the boot.
///
/// A program can set the wall clock. The clock of the boot (CLOCK_BOOTTIME) only goes forward, and
/// begins anew with each boot. In a time namespace it is shifted; a moment has it without that
/// shift.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Microseconds since 1970.
    wall: u64,
    /// Microseconds since the boot.
    since_boot: u64,
    /// The boot; 0 if it is not known.
    boot: u64,
}

impl Moment {
    /// This moment.
    pub fn now() -> Moment {
        Moment {
            wall: clock::wall_microseconds(),
            since_boot: since_boot(),
            boot: boot_id(),
        }
    }

    /// The time of the wall clock.
    pub fn time(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_micros(self.wall)
    }

    /// What the wall clock showed, in microseconds since 1970.
    pub(super) fn wall_clock(&self) -> u64 {
        self.wall
    }

    /// How long ago this moment was, by the clock of the boot. By the wall clock if this moment was
    /// before the last boot, or would be in the future by the clock of the boot (a virtual machine
    /// that was set back to a snapshot). None if it would be in the future by the wall clock, too.
    pub fn age(&self) -> Option<Duration> {
        self.age_at(&Moment::now())
    }

    fn age_at(&self, now: &Moment) -> Option<Duration> {
        let by_boot = now.since_boot.checked_sub(self.since_boot);
        let by_boot = by_boot.filter(|_| self.is_of_boot(now.boot));
        let microseconds = by_boot.or_else(|| now.wall.checked_sub(self.wall));
        microseconds.map(Duration::from_micros)
    }

    /// Whether more than this time has passed since, in the present boot.
    pub(super) fn is_past(&self, time: Duration) -> bool {
        let passed = since_boot().saturating_sub(self.since_boot);
        u128::from(passed) > time.as_micros()
    }

    /// Whether this moment was after the last boot of this machine.
    pub fn is_of_this_boot(&self) -> bool {
        self.is_of_boot(boot_id())
    }

    fn is_of_boot(&self, boot: u64) -> bool {
        self.boot == boot && boot != 0
    }

    /// Writes `2026-11-26T03:47:33.123456Z 8812.123456 3f2504e04f8941d3`: the wall clock, the
    /// seconds since the boot, and the beginning of the boot's identification.
    pub(super) fn push(&self, text: &mut Text) {
        let (seconds, micros) = (self.wall / SECOND, self.wall % SECOND);
        let (year, month, day) = date(seconds / 86_400);
        let mut wall = *b"0000-00-00T00:00:00.000000Z ";
        put(&mut wall[0..4], year);
        put(&mut wall[5..7], month);
        put(&mut wall[8..10], day);
        put(&mut wall[11..13], seconds / 3600 % 24);
        put(&mut wall[14..16], seconds / 60 % 60);
        put(&mut wall[17..19], seconds % 60);
        put(&mut wall[20..26], micros);
        text.push(&wall);
        text.push_number(self.since_boot / SECOND, 1);
        let mut rest = *b".000000 0000000000000000";
        put(&mut rest[1..7], self.since_boot % SECOND);
        for (at, digit) in rest[8..].iter_mut().enumerate() {
            *digit = b"0123456789abcdef"[(self.boot >> (60 - 4 * at)) as usize & 0xf];
        }
        text.push(&rest);
    }

    pub(super) fn parse(text: &str) -> Option<Moment> {
        let mut words = text.split(' ');
        let (wall, since_boot, boot) = (words.next()?, words.next()?, words.next()?);
        let (seconds, micros) = since_boot.split_once('.')?;
        let since_boot = number(seconds)?.checked_mul(SECOND)?;
        Some(Moment {
            wall: parse_wall(wall)?,
            since_boot: since_boot.checked_add(fraction(micros)?)?,
            boot: u64::from_str_radix(boot, 16).ok()?,
        })
    }
}

/// Microseconds since the boot, by the clock that all time namespaces share.
fn since_boot() -> u64 {
    clock::boot_microseconds().saturating_add_signed(-boot_clock_offset())
}

/// Writes a number in decimal, with zeros in front.
#[inline(always)]
fn put(digits: &mut [u8], number: u64) {
    let mut rest = number as u32;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

fn number(digits: &str) -> Option<u64> {
    let is_number = digits.len() <= 19 && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_number)
}

fn fraction(digits: &str) -> Option<u64> {
    number(digits).filter(|_| digits.len() == 6)
}

/// Parses `2026-11-26T03:47:33.123456Z`.
fn parse_wall(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let (time, micros) = time.split_once('.')?;
    let mut date = date.split('-').map(number);
    let mut time = time.split(':').map(number);
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    let is_valid = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    is_valid.then(|| {
        let seconds = ((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
        Some(seconds * SECOND + fraction(micros)?)
    })?
}

/// Year, month and day of a number of days since 1970. March begins the year here, so that the leap
/// day is its last.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let month_day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (era * 400 + year + next, month, month_day)
}

/// The other way.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let (era, of_era) = (year / 400, year % 400);
    let day = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + day - 719_468
}

/// The wall clock: `2026-11-26 03:47:33 UTC`.
impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.wall / SECOND;
        let (year, month, day) = date(seconds / 86_400);
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (day, is) in [
            (0, (1970, 1, 1)),
            (58, (1970, 2, 28)),
            (59, (1970, 3, 1)),
            (11_016, (2000, 2, 29)),
            (20_783, (2026, 11, 26)),
            (47_540, (2100, 2, 28)),
            (47_541, (2100, 3, 1)),
        ] {
            assert_eq!(date(day), is);
            assert_eq!(days(is.0, is.1, is.2), day);
        }
        for day in 0..150_000 {
            let (year, month, of_month) = date(day);
            assert_eq!(days(year, month, of_month), day);
        }
    }

    #[test]
    fn a_moment_is_read_as_it_was_written() {
        let moment = Moment::now();
        let mut text = Text::new();
        moment.push(&mut text);
        assert_eq!(Moment::parse(text.as_str()), Some(moment));
        for wrong in [
            "",
            "2026-11-26T03:47:33.123456Z",
            "2026-13-26T03:47:33.123456Z 1.000000 0",
            "2026-11-26T03:47:33.1Z 1.000000 0",
            "2026-11-26T03:47:33.123456Z -1.000000 0",
            "2026-11-26T03:47:33.123456Z 99999999999999999999.000000 0",
        ] {
            assert_eq!(Moment::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn within_a_boot_its_clock_counts_and_across_boots_the_wall_clock() {
        let moment = |wall, since_boot, boot| Moment {
            wall,
            since_boot,
            boot,
        };
        let then = moment(1000 * SECOND, 50 * SECOND, 7);
        let age = |now: Moment| then.age_at(&now).map(|age| age.as_secs());
        // The wall clock was set forward, and back.
        assert_eq!(age(moment(9000 * SECOND, 60 * SECOND, 7)), Some(10));
        assert_eq!(age(moment(10 * SECOND, 60 * SECOND, 7)), Some(10));
        assert_eq!(age(moment(1030 * SECOND, 5 * SECOND, 8)), Some(30));
        assert_eq!(age(moment(10 * SECOND, 5 * SECOND, 8)), None);
        // The clock of the boot went back: the machine was set back to a snapshot.
        assert_eq!(age(moment(1030 * SECOND, 5 * SECOND, 7)), Some(30));
        assert_eq!(age(moment(10 * SECOND, 5 * SECOND, 7)), None);
        // A boot that is not known is not the same one.
        let unknown = moment(1000 * SECOND, 50 * SECOND, 0);
        let now = moment(1001 * SECOND, 90 * SECOND, 0);
        assert_eq!(unknown.age_at(&now), Some(Duration::from_secs(1)));
    }
}
