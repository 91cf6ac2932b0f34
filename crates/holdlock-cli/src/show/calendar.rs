//! Dates of the calendar, counted in days since 1970-01-01.

/// The day of a date. Years begin in March here, so that the leap day is a year's last; the
/// pattern of years repeats every 400.
pub(crate) fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + year * 365 + year / 4 - year / 100 + day_of_year - 719_468
}

/// Whether the calendar has this date.
pub(crate) fn exists(year: i64, month: i64, day: i64) -> bool {
    (1..=12).contains(&month) && date(days(year, month, day)) == (year, month, day)
}

/// Year, month and day: the way back from [`days`].
pub(crate) fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (era * 400 + year + later, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_of_four_hundred_years_goes_there_and_back() {
        assert_eq!((days(1970, 1, 1), date(0)), (0, (1970, 1, 1)));
        assert_eq!(date(11_016), (2000, 2, 29));
        assert!(exists(2000, 2, 29) && !exists(2026, 2, 29) && !exists(2026, 4, 31));
        assert!(!exists(2026, 13, 1) && !exists(2026, 1, 0));
        for number in 0..146_097 {
            let (year, month, day) = date(number);
            assert_eq!(days(year, month, day), number);
        }
    }
}
