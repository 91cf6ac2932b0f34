//! Locks that an engine keeps for several hosts: which words mean one.
//!
//! A LOCK is such a lock if it is a URL, `postgres://host/database#name`, or if it is a bare name
//! while HOLDLOCK_ENGINE has the URL of an engine. A path never is.

#[cfg(feature = "engines")]
mod failure;
#[cfg(feature = "engines")]
pub(crate) mod init;
#[cfg(feature = "engines")]
pub(crate) mod json;
#[cfg(feature = "engines")]
mod open;
#[cfg(feature = "engines")]
pub(crate) mod view;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::exit::Failure;
use crate::show::text;

#[cfg(feature = "engines")]
pub(crate) use failure::failure;
#[cfg(feature = "engines")]
pub(crate) use open::{open, open_place, place_of_names, tell};

/// The variable with the URL of the engine to which bare names belong.
pub(crate) const ENGINE: &str = "HOLDLOCK_ENGINE";

/// Whether a word begins as URLs do. For a file of such a name, write `./` before it.
pub(crate) fn is_url(word: &OsStr) -> bool {
    let bytes = word.as_bytes();
    let Some(length) = bytes.windows(3).position(|three| three == b"://") else {
        return false;
    };
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    length > 1 && bytes[0].is_ascii_alphabetic() && bytes[..length].iter().all(is_part)
}

/// Whether a LOCK is one that an engine keeps.
pub(crate) fn is_meant(lock: &OsStr) -> bool {
    if lock.as_bytes().contains(&b'/') {
        return is_url(lock);
    }
    // Names that no lock can have are refused as names of files.
    let is_name = !lock.is_empty() && lock != "." && lock != "..";
    is_name && std::env::var_os(ENGINE).is_some_and(|engine| !engine.is_empty())
}

/// The failure for a subcommand that works with lock files only.
pub(crate) fn refused(lock: &OsStr) -> Failure {
    let what = match is_url(lock) {
        true => "a URL is given".to_owned(),
        false => format!(
            "{} is a lock of the engine that {ENGINE} names",
            text::path(lock)
        ),
    };
    Failure::usage(match cfg!(feature = "engines") {
        true => format!("{what}, and this works with lock files only; give a path"),
        false => format!(
            "{what}, and this holdlock was built without locks between hosts; build it without \
             --no-default-features"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_known_by_their_beginning() {
        for url in ["postgres://h/d#n", "REDIS://h", "a+b://", "etcd://h1,h2/#n"] {
            assert!(is_url(OsStr::new(url)), "{url}");
        }
        for path in [
            "",
            "backup",
            "./postgres://h",
            "/a://b",
            "://",
            "a://b",
            "ä://b",
            "C:/x",
        ] {
            assert!(!is_url(OsStr::new(path)), "{path}");
        }
    }
}
