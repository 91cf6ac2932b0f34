//! Broken variants of valid inputs, for the tests of parsers.

use std::panic::{self, AssertUnwindSafe};

/// How many variants a test tries, unless the variable HOLDLOCK_GARBLED has another number.
const VARIANTS: u64 = 20_000;

/// Calls `parse` with broken variants of the samples: cut, repeated, mixed, with bytes changed and
/// numbers replaced. The variants are the same in each run.
///
/// # Panics
///
/// If `parse` does; then prints the variant.
pub fn garbled(samples: &[&[u8]], mut parse: impl FnMut(&[u8])) {
    let variants = std::env::var("HOLDLOCK_GARBLED").ok();
    let variants = variants.map_or(VARIANTS, |number| number.parse().expect("a number"));
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..variants {
        let mut text = samples[random.below(samples.len())].to_vec();
        for _ in 0..=random.below(4) {
            random.change(&mut text, samples);
        }
        let parsed = panic::catch_unwind(AssertUnwindSafe(|| parse(&text)));
        if let Err(why) = parsed {
            eprintln!("the input was b\"{}\"", text.escape_ascii());
            panic::resume_unwind(why);
        }
    }
}

/// The words that parsers stumble over.
const WORDS: &[&[u8]] = &[
    b"0",
    b"-1",
    b"18446744073709551615",
    b"18446744073709551616",
    b"9223372036854775808",
    b"99999999999999999999999999999999999999",
    b"\0",
    b"\n",
    b"\x1b[2J",
    b"\xff",
    b"\xe2\x80\xae",
    b"%00",
    b"%",
    b":",
    b"/",
    b"[",
    b"]",
    b"{",
    b"\"",
    b"null",
];

/// A generator of numbers: xorshift.
struct Random(u64);

impl Random {
    /// A number below `end`; 0 if `end` is 0.
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end.max(1)
    }

    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let begin = self.below(length + 1);
        begin..begin + self.below(length - begin + 1)
    }

    fn change(&mut self, text: &mut Vec<u8>, samples: &[&[u8]]) {
        let range = self.range(text.len());
        match self.below(7) {
            0 => text.truncate(range.start),
            1 => drop(text.drain(range)),
            2 => {
                let piece = text[range.clone()].to_vec();
                drop(text.splice(range.start..range.start, piece));
            }
            3 => {
                let other = samples[self.below(samples.len())];
                let piece = other[self.range(other.len())].to_vec();
                drop(text.splice(range, piece));
            }
            4 => {
                let word = WORDS[self.below(WORDS.len())];
                let end = range.start + self.below(range.len().min(8) + 1);
                drop(text.splice(range.start..end, word.iter().copied()));
            }
            5 => {
                let word = WORDS[self.below(WORDS.len())];
                self.replace_number(text, range.start, word);
            }
            _ => {
                if let Some(byte) = text.get_mut(range.start) {
                    *byte = self.below(256) as u8;
                }
            }
        }
    }

    /// Replaces the first number behind `from`.
    fn replace_number(&mut self, text: &mut Vec<u8>, from: usize, word: &[u8]) {
        let is_digit = |byte: &u8| byte.is_ascii_digit();
        if let Some(begin) = text[from..].iter().position(is_digit) {
            let begin = from + begin;
            let digits = text[begin..].iter().take_while(|byte| is_digit(byte));
            let end = begin + digits.count();
            drop(text.splice(begin..end, word.iter().copied()));
        }
    }
}
