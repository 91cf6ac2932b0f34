//! Seconds, as strtold(3) reads them and a timeval holds them.
//!
//! Every value of a long double is a number here, including infinity and not-a-number: a timer does
//! not accept those, which is a different error from text that is not a number.

use super::number::{Bad, skip_space};

/// The decimal exponents between which a long double of x86-64 has numbers.
const LARGEST: i64 = 4932;
const SMALLEST: i64 = -4951;

/// The result of a conversion of a number outside the range; no timer accepts it.
const NO_TIME: (i64, i64) = (i64::MIN, 0);

/// Seconds and microseconds, both truncated towards zero.
pub(super) fn parse(text: &[u8]) -> Result<(i64, i64), Bad> {
    let text = skip_space(text);
    let (sign, digits) = match text {
        [b'-', digits @ ..] => (-1.0, digits),
        [b'+', digits @ ..] => (1.0, digits),
        digits => (1.0, digits),
    };
    let digits = digits.to_ascii_lowercase();
    let value = match digits.as_slice() {
        b"inf" | b"infinity" | b"nan" => f64::NAN,
        [b'n', b'a', b'n', b'(', inner @ .., b')'] if inner.iter().all(is_word) => f64::NAN,
        [b'0', b'x', hex @ ..] => hexadecimal(hex)?,
        decimal_digits => decimal(decimal_digits)?,
    };
    Ok(split(sign * value))
}

fn is_word(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || *byte == b'_'
}

fn split(seconds: f64) -> (i64, i64) {
    // 2^63 is the first number that does not fit; not-a-number never fits.
    if seconds.is_nan() || seconds.abs() >= 9_223_372_036_854_775_808.0 {
        return NO_TIME;
    }
    let whole = seconds.trunc();
    (whole as i64, ((seconds - whole) * 1e6) as i64)
}

fn decimal(text: &[u8]) -> Result<f64, Bad> {
    let (mantissa, exponent) = at_letter(text, b'e')?;
    // Rust's own parser also accepts names such as `infinity`, which are handled above.
    if !mantissa.iter().all(|b| b.is_ascii_digit() || *b == b'.') {
        return Err(Bad::Text);
    }
    let value: f64 = std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or(Bad::Text)?;
    let Some(first) = mantissa.iter().position(|b| (b'1'..=b'9').contains(b)) else {
        return Ok(value);
    };
    let point = mantissa
        .iter()
        .position(|b| *b == b'.')
        .unwrap_or(mantissa.len());
    let magnitude = point as i64 - first as i64 - i64::from(point > first);
    match exponent.saturating_add(magnitude) {
        SMALLEST..=LARGEST => Ok(value),
        _ => Err(Bad::Range),
    }
}

/// Digits with a point, and an exponent of two after a `p`.
fn hexadecimal(text: &[u8]) -> Result<f64, Bad> {
    let (mantissa, mut exponent) = at_letter(text, b'p')?;
    let (mut value, mut digits, mut point) = (0.0_f64, 0, false);
    for &byte in mantissa {
        if byte == b'.' && !point {
            point = true;
            continue;
        }
        let digit = (byte as char).to_digit(16).ok_or(Bad::Text)?;
        digits += 1;
        value = value * 16.0 + f64::from(digit);
        if point {
            exponent = exponent.saturating_sub(4);
        }
    }
    if digits == 0 {
        return Err(Bad::Text);
    }
    let exponent = exponent.clamp(-20_000, 20_000) as i32;
    if value == 0.0 {
        return Ok(0.0);
    }
    match value.log2() + f64::from(exponent) {
        magnitude if !(-16_445.0..16_384.0).contains(&magnitude) => Err(Bad::Range),
        _ => Ok(value * 2.0_f64.powi(exponent)),
    }
}

/// Splits off a decimal exponent, 0 without one.
fn at_letter(text: &[u8], letter: u8) -> Result<(&[u8], i64), Bad> {
    let Some(at) = text.iter().position(|byte| *byte == letter) else {
        return Ok((text, 0));
    };
    let exponent = &text[at + 1..];
    let (sign, digits) = match exponent {
        [b'-', digits @ ..] => (-1, digits),
        [b'+', digits @ ..] => (1, digits),
        digits => (1, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Bad::Text);
    }
    let value = digits.iter().fold(0_i64, |sum, digit| {
        sum.saturating_mul(10)
            .saturating_add(i64::from(digit - b'0'))
    });
    Ok((&text[..at], sign * value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_exponents_and_hexadecimals_are_numbers() {
        for (text, time) in [
            (&b"5"[..], (5, 0)),
            (b" +5.", (5, 0)),
            (b".5", (0, 500_000)),
            (b"0.25", (0, 250_000)),
            (b"1e2", (100, 0)),
            (b"25E-2", (0, 250_000)),
            (b"0x10", (16, 0)),
            (b"0x.8", (0, 500_000)),
            (b"0x1p-1", (0, 500_000)),
            (b"-0", (0, 0)),
            (b"0.0000009", (0, 0)),
            (b"-1.5", (-1, -500_000)),
            (b"1e18", (1_000_000_000_000_000_000, 0)),
        ] {
            assert_eq!(parse(text), Ok(time), "{text:?}");
        }
    }

    #[test]
    fn numbers_for_no_timer_are_numbers_all_the_same() {
        for text in [
            &b"inf"[..],
            b"-Infinity",
            b"NaN",
            b"nan(12)",
            b"1e20",
            b"1e4000",
        ] {
            assert_eq!(parse(text), Ok(NO_TIME), "{text:?}");
        }
    }

    #[test]
    fn text_and_numbers_out_of_range_are_told_apart() {
        for text in [
            &b""[..],
            b" ",
            b"abc",
            b"1x",
            b"1 ",
            b"1e",
            b"0x",
            b".",
            b"1,5",
            b"--1",
            b"0x1.2.3",
        ] {
            assert_eq!(parse(text), Err(Bad::Text), "{text:?}");
        }
        assert_eq!(parse(b"1e5000"), Err(Bad::Range));
        assert_eq!(parse(b"1e-5000"), Err(Bad::Range));
        assert_eq!(parse(b"0e5000"), Ok((0, 0)));
    }
}
