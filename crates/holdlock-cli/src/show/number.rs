//! Whole numbers of the command line.

use std::ops::RangeInclusive;

/// A number within a range. The error is a phrase for the user.
pub(crate) fn within(text: &str, range: RangeInclusive<u32>) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| {
        format!(
            "give a whole number from {} to {}",
            range.start(),
            range.end()
        )
    })
}

/// The number of a process.
pub(crate) fn pid(text: &str) -> Result<u32, String> {
    // No system has larger numbers.
    within(text, 1..=i32::MAX as u32).map_err(|_| "give the number of a process".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_of_the_range_is_refused_in_words() {
        assert_eq!((within("3", 1..=3), pid("4711")), (Ok(3), Ok(4711)));
        for text in ["", "0", "4", "-1", "x", "99999999999999999999"] {
            let why = within(text, 1..=3).expect_err(text);
            assert_eq!(why, "give a whole number from 1 to 3");
        }
        assert!(pid("make").is_err() && pid("0").is_err());
    }
}
