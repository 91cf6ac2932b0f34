//! Splits a command line into options and words, as getopt_long(3) does.
//!
//! Options end at the first word that is not an option (the `+` of getopt). Messages are
//! glibc's, which begin with the name as the program was called.

use std::ffi::CStr;

/// A long option: its name, whether it takes an argument, its meaning.
pub(super) struct Long<T: 'static> {
    pub(super) name: &'static str,
    pub(super) argument: bool,
    pub(super) value: T,
}

/// A short option, likewise.
pub(super) struct Short<T: 'static> {
    pub(super) letter: u8,
    pub(super) argument: bool,
    pub(super) value: T,
}

/// The words, and the position in them.
pub(super) struct Words<'t, T: 'static> {
    words: &'t [&'static CStr],
    longs: &'static [Long<T>],
    shorts: &'static [Short<T>],
    /// The next word to look at.
    next: usize,
    /// What is left of a cluster such as `-xn`.
    cluster: &'static [u8],
}

/// The message of glibc about an invalid option.
pub(super) struct Misuse(pub(super) Vec<u8>);

type Item<T> = (T, Option<&'static [u8]>);

impl<'t, T: Copy + PartialEq> Words<'t, T> {
    /// `words` begin with the program's name.
    pub(super) fn new(
        words: &'t [&'static CStr],
        longs: &'static [Long<T>],
        shorts: &'static [Short<T>],
    ) -> Words<'t, T> {
        Words {
            words,
            longs,
            shorts,
            next: 1,
            cluster: b"",
        }
    }

    /// The whole word if an option is expected; None inside a cluster or at the end.
    pub(super) fn peek(&self) -> Option<&'static [u8]> {
        let word = self.words.get(self.next)?;
        self.cluster.is_empty().then(|| word.to_bytes())
    }

    /// The words after the options.
    pub(super) fn rest(&self) -> &'t [&'static CStr] {
        &self.words[self.next.min(self.words.len())..]
    }

    /// The next option with its argument; None where the options end.
    pub(super) fn option(&mut self) -> Result<Option<Item<T>>, Misuse> {
        if !self.cluster.is_empty() {
            return self.short().map(Some);
        }
        match self.peek() {
            Some(b"--") => {
                self.next += 1;
                Ok(None)
            }
            Some([b'-', b'-', long @ ..]) => {
                self.next += 1;
                self.long(long).map(Some)
            }
            Some([b'-', cluster @ ..]) if !cluster.is_empty() => {
                self.next += 1;
                self.cluster = cluster;
                self.short().map(Some)
            }
            _ => Ok(None),
        }
    }

    fn short(&mut self) -> Result<Item<T>, Misuse> {
        let letter = self.cluster[0];
        self.cluster = &self.cluster[1..];
        let Some(option) = self.shorts.iter().find(|short| short.letter == letter) else {
            return Err(self.misuse(&[b"invalid option -- '", &[letter], b"'"]));
        };
        if !option.argument {
            return Ok((option.value, None));
        }
        let joined = std::mem::take(&mut self.cluster);
        let argument = if joined.is_empty() {
            self.following_word()
        } else {
            Some(joined)
        };
        if argument.is_none() {
            return Err(self.misuse(&[b"option requires an argument -- '", &[letter], b"'"]));
        }
        Ok((option.value, argument))
    }

    fn long(&mut self, word: &'static [u8]) -> Result<Item<T>, Misuse> {
        let (name, joined) = match word.iter().position(|&byte| byte == b'=') {
            Some(at) => (&word[..at], Some(&word[at + 1..])),
            None => (word, None),
        };
        let option = self.find(name, word)?;
        let quoted: &[&[u8]] = &[b"option '--", option.name.as_bytes()];
        let argument = match (option.argument, joined) {
            (false, Some(_)) => {
                return Err(self.misuse(&[&quoted.concat(), b"' doesn't allow an argument"]));
            }
            (false, None) => None,
            (true, Some(joined)) => Some(joined),
            (true, None) => match self.following_word() {
                None => {
                    return Err(self.misuse(&[&quoted.concat(), b"' requires an argument"]));
                }
                found => found,
            },
        };
        Ok((option.value, argument))
    }

    /// Finds an option by its name, or by a beginning that only options of one meaning have.
    fn find(&self, name: &[u8], word: &[u8]) -> Result<&'static Long<T>, Misuse> {
        let longs = self.longs;
        if let Some(exact) = longs.iter().find(|long| long.name.as_bytes() == name) {
            return Ok(exact);
        }
        let mut begun = longs.iter().filter(|l| l.name.as_bytes().starts_with(name));
        let Some(first) = begun.next() else {
            return Err(self.misuse(&[b"unrecognized option '--", word, b"'"]));
        };
        // As glibc lists them: a second name of the first option's meaning is left out.
        let others: Vec<_> = begun.filter(|long| long.value != first.value).collect();
        if others.is_empty() {
            return Ok(first);
        }
        let mut message = [b"option '--", word, b"' is ambiguous; possibilities:"].concat();
        for long in std::iter::once(first).chain(others) {
            message.extend_from_slice(format!(" '--{}'", long.name).as_bytes());
        }
        Err(self.misuse(&[&message]))
    }

    fn following_word(&mut self) -> Option<&'static [u8]> {
        let word = self.words.get(self.next)?;
        self.next += 1;
        Some(word.to_bytes())
    }

    fn misuse(&self, parts: &[&[u8]]) -> Misuse {
        let name = self.words.first().map_or(&b"flock"[..], |w| w.to_bytes());
        Misuse([name, b": ", &parts.concat(), b"\n"].concat())
    }
}
