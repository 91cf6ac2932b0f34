//! Whole numbers, as strtol(3) and util-linux's sizes have them.

/// Why a word is not a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Bad {
    Text,
    /// A number outside the range of its type.
    Range,
}

/// Skips leading blanks as strtol(3) does: isspace(3) of the C locale.
pub(super) fn skip_space(text: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let from = text.iter().position(|b| !blank(b)).unwrap_or(text.len());
    &text[from..]
}

/// A decimal number of 32 bits.
pub(super) fn integer(text: &[u8]) -> Result<i32, Bad> {
    let digits = skip_space(text);
    let (negative, digits) = match digits {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let magnitude = digits_of(digits, 10)?.ok_or(Bad::Range)?;
    let value = if negative {
        -i128::from(magnitude)
    } else {
        magnitude.into()
    };
    i32::try_from(value).map_err(|_| Bad::Range)
}

/// A number of bytes, perhaps with a `+`: decimal, 0x… or octal, perhaps a decimal fraction, and a
/// suffix such as K, KiB (1024) or KB (1000).
pub(super) fn size(text: &[u8]) -> Result<i64, Bad> {
    let text = skip_space(text);
    let text = text.strip_prefix(b"+").unwrap_or(text);
    let (radix, number) = match text {
        [b'0', b'x' | b'X', number @ ..] => (16, number),
        [b'0', number @ ..] if number.first().is_some_and(u8::is_ascii_digit) => (8, number),
        number => (10, number),
    };
    let is_digit = |byte: &u8| (*byte as char).is_digit(radix);
    let end = number.iter().position(|b| !is_digit(b));
    let (whole, rest) = number.split_at(end.unwrap_or(number.len()));
    let whole = digits_of(whole, radix)?.ok_or(Bad::Range)?;
    let (fraction, suffix) = match rest {
        [b'.', rest @ ..] => {
            let end = rest.iter().position(|b| !b.is_ascii_digit());
            rest.split_at(end.unwrap_or(rest.len()))
        }
        suffix => (&b""[..], suffix),
    };
    let unit = unit(suffix)?;
    // One byte has no fraction.
    if unit == 1 && rest.first() == Some(&b'.') {
        return Err(Bad::Text);
    }
    let bytes = u128::from(whole).checked_mul(unit).ok_or(Bad::Range)?;
    i64::try_from(bytes.saturating_add(part(fraction, unit))).map_err(|_| Bad::Range)
}

fn unit(suffix: &[u8]) -> Result<u128, Bad> {
    let (letter, base) = match suffix {
        [] | [b'B'] => return Ok(1),
        [letter] | [letter, b'i', b'B'] => (letter, 1024_u128),
        [letter, b'B'] => (letter, 1000),
        _ => return Err(Bad::Text),
    };
    let power = b"KMGTPEZY"
        .iter()
        .position(|known| *known == letter.to_ascii_uppercase())
        .ok_or(Bad::Text)?;
    Ok(base.pow(power as u32 + 1))
}

/// A fraction of a unit, rounded down. Digits after the twelfth do not change the result.
fn part(fraction: &[u8], unit: u128) -> u128 {
    let digits = &fraction[..fraction.len().min(12)];
    let value = digits
        .iter()
        .fold(0, |sum, digit| sum * 10 + u128::from(digit - b'0'));
    (unit / 1000).saturating_mul(value * 1000 / 10_u128.pow(digits.len() as u32))
        + unit % 1000 * value / 10_u128.pow(digits.len() as u32)
}

/// Reads at least one digit and nothing else; None if 64 bits are too few for the number.
fn digits_of(digits: &[u8], radix: u32) -> Result<Option<u64>, Bad> {
    if digits.is_empty() {
        return Err(Bad::Text);
    }
    let mut sum = Some(0_u64);
    for byte in digits {
        let digit = (*byte as char).to_digit(radix).ok_or(Bad::Text)?;
        sum = sum
            .and_then(|sum| sum.checked_mul(radix.into()))
            .and_then(|sum| sum.checked_add(digit.into()));
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_as_strtol_does() {
        assert_eq!(integer(b" \t+7"), Ok(7));
        assert_eq!(integer(b"-1"), Ok(-1));
        assert_eq!(integer(b"-2147483648"), Ok(i32::MIN));
        for bad in [&b""[..], b" ", b"7 ", b"0x7", b"+", b"--1", b"1e1"] {
            assert_eq!(integer(bad), Err(Bad::Text), "{bad:?}");
        }
        assert_eq!(integer(b"2147483648"), Err(Bad::Range));
        assert_eq!(integer(b"99999999999999999999"), Err(Bad::Range));
    }

    #[test]
    fn sizes_have_bases_and_units() {
        for (text, bytes) in [
            (&b"0"[..], 0),
            (b"10", 10),
            (b" +10", 10),
            (b"+0x10", 16),
            (b"0x10", 16),
            (b"010", 8),
            (b"1K", 1024),
            (b"1k", 1024),
            (b"1KiB", 1024),
            (b"1KB", 1000),
            (b"2M", 2 << 20),
            (b"1.5K", 1536),
            (b"1G", 1 << 30),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text:?}");
        }
        for bad in [
            &b""[..],
            b"-1",
            b"x",
            b"1x",
            b"1Ki",
            b"1 K",
            b"0x",
            b"1.5",
            b"+",
            b"++1",
            b"+-1",
        ] {
            assert_eq!(size(bad), Err(Bad::Text), "{bad:?}");
        }
        assert_eq!(size(b"9E"), Err(Bad::Range));
        assert_eq!(size(b"1Y"), Err(Bad::Range));
    }
}
