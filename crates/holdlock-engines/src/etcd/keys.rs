//! The keys of a lock: one for each holder and each waiter.
//!
//! `PREFIX/NAME#w0123456789abcdef`: the mode (`w` exclusive, `r` shared), and the number of the
//! lease. In the prefix and the name `#` and `%` are percent-encoded, and `/` in the name, so the
//! keys of one lock are never those of another.

use std::fmt;

use holdlock::Mode;
use percent_encoding::percent_decode_str;

/// A range of keys: the first, and the one behind the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Range(pub(super) String, pub(super) String);

/// The keys of one lock.
#[derive(Clone, Debug)]
pub(super) struct Keys(String);

impl Keys {
    pub(super) fn new(prefix: &str, name: &str) -> Keys {
        Keys(format!("{}#", of_name(prefix, name)))
    }

    pub(super) fn own(&self, mode: Mode, lease: Lease) -> String {
        format!("{}{}{lease}", self.0, letter(mode))
    }

    /// The keys of all holders and waiters.
    pub(super) fn all(&self) -> Range {
        range(&self.0)
    }

    /// The keys of exclusive holders and waiters.
    pub(super) fn exclusive(&self) -> Range {
        range(&format!("{}{}", self.0, letter(Mode::Exclusive)))
    }

    /// What a key of this lock says about its owner. Exclusive, if it is no key of holdlock.
    pub(super) fn mode(&self, key: &[u8]) -> Mode {
        let rest = key.strip_prefix(self.0.as_bytes());
        match rest.is_some_and(|rest| rest.starts_with(letter(Mode::Shared).as_bytes())) {
            true => Mode::Shared,
            false => Mode::Exclusive,
        }
    }
}

/// The key that remembers runs. No key of a holder or waiter has `%` before such letters.
pub(super) fn runs(prefix: &str, name: &str) -> String {
    format!("{}%runs", of_name(prefix, name))
}

fn of_name(prefix: &str, name: &str) -> String {
    let name = encode(name, &['#', '%', '/']);
    format!("{}/{name}", encode(prefix, &['#', '%']))
}

/// The keys of all locks with this prefix.
pub(super) fn below(prefix: &str) -> Range {
    range(&format!("{}/", encode(prefix, &['#', '%'])))
}

/// The name of the lock to which a key belongs. None if it is one of another prefix.
pub(super) fn parse(prefix: &str, key: &[u8]) -> Option<String> {
    let key = std::str::from_utf8(key).ok()?;
    let rest = key.strip_prefix(&below(prefix).0)?;
    let (name, _) = rest.split_once('#')?;
    if name.contains('/') {
        return None;
    }
    let name = percent_decode_str(name).decode_utf8().ok()?;
    Some(name.into_owned())
}

fn letter(mode: Mode) -> &'static str {
    match mode {
        Mode::Exclusive => "w",
        Mode::Shared => "r",
    }
}

/// All keys that begin with this text.
fn range(begin: &str) -> Range {
    let mut end = begin.to_owned();
    // The last character is `#`, `/` or `w`: the next one is ASCII as well.
    let last = end.pop().map_or('\0', |last| char::from(last as u8 + 1));
    end.push(last);
    Range(begin.to_owned(), end)
}

fn encode(text: &str, characters: &[char]) -> String {
    let mut encoded = String::with_capacity(text.len());
    for character in text.chars() {
        match characters.contains(&character) {
            true => encoded.push_str(&format!("%{:02X}", u32::from(character))),
            false => encoded.push(character),
        }
    }
    encoded
}

/// The number of a lease, as etcdctl shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lease(pub(super) u64);

impl Lease {
    /// A number that no other lease has. We choose it ourselves: a repeated request does not make a
    /// second lease, and the lease of a request that was never answered can be revoked.
    pub(super) fn random() -> Lease {
        let mut bytes = [0; 8];
        // Up to 256 bytes are never refused, and are not cut.
        let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
        // Positive, and not zero, which etcd would replace.
        Lease((u64::from_ne_bytes(bytes) >> 1).max(1))
    }
}

impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_lock_has_a_key_of_another() {
        let names = [
            ("x", "a"),
            ("x", "a/b"),
            ("x", "a#"),
            ("x", "a%23"),
            ("x", "ü"),
            ("x/a", "b"),
            ("x/a#w", "b"),
            ("x/a#", "b"),
        ];
        let keys: Vec<Keys> = names.map(|(prefix, name)| Keys::new(prefix, name)).into();
        for (at, one) in keys.iter().enumerate() {
            for mode in [Mode::Shared, Mode::Exclusive] {
                let own = one.own(mode, Lease(u64::MAX >> 1));
                assert_eq!(one.mode(own.as_bytes()), mode);
                for (other_at, other) in keys.iter().enumerate() {
                    let Range(begin, end) = other.all();
                    assert_eq!((begin..end).contains(&own), at == other_at, "{own}");
                }
                assert_eq!(
                    parse(names[at].0, own.as_bytes()).as_deref(),
                    Some(names[at].1)
                );
                let Range(begin, end) = one.exclusive();
                assert_eq!((begin..end).contains(&own), mode == Mode::Exclusive);
            }
        }
    }
}
