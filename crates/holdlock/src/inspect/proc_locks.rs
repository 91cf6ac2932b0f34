//! The lines of /proc/locks and of the `lock:` entries in fdinfo.

use std::fs::File;
use std::io::{self, BufRead, BufReader};

use crate::sys::file::{Identity, device_numbers};
use crate::{Family, Mode};

/// Which kind of lock a line tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Flock,
    Ofd,
    Posix,
}

impl Kind {
    /// Whether locks of this kind and of `family` exclude each other.
    pub(crate) fn meets(self, family: Family) -> bool {
        match family {
            Family::Flock => self == Kind::Flock,
            Family::Ofd => self != Kind::Flock,
        }
    }
}

/// One lock, or one request that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    pub(crate) mode: Mode,
    pub(crate) waiting: bool,
    /// Who took it. None where the kernel says -1 (OFD) or 0 (another pid namespace).
    pub(crate) pid: Option<u32>,
    pub(crate) device: (u32, u32),
    pub(crate) inode: u64,
}

impl Entry {
    pub(crate) fn is_on(&self, file: Identity) -> bool {
        self.inode == file.inode && self.device == device_numbers(file.device)
    }
}

/// The entries of /proc/locks that `wanted` picks. Read as a stream: with many
/// waiters the whole is large.
pub(crate) fn entries(mut wanted: impl FnMut(&Entry) -> bool) -> io::Result<Vec<Entry>> {
    let mut reader = BufReader::with_capacity(32 * 1024, File::open("/proc/locks")?);
    let mut found = Vec::new();
    let mut line = String::new();
    while reader.read_line(&mut line)? > 0 {
        found.extend(parse(&line).filter(&mut wanted));
        line.clear();
    }
    Ok(found)
}

/// `1: FLOCK  ADVISORY  WRITE 1234 fe:00:5678 0 EOF`; a waiter has ` ->` before
/// the kind. None for what is no such line, and for leases.
pub(crate) fn parse(line: &str) -> Option<Entry> {
    let mut words = line.split_ascii_whitespace().skip(1).peekable();
    let waiting = words.next_if_eq(&"->").is_some();
    let kind = match words.next()? {
        "FLOCK" => Kind::Flock,
        "OFDLCK" => Kind::Ofd,
        "POSIX" => Kind::Posix,
        _ => return None,
    };
    let mode = match words.nth(1)? {
        "WRITE" => Mode::Exclusive,
        "READ" => Mode::Shared,
        _ => return None,
    };
    let pid = words.next()?.parse::<i64>().ok()?;
    let mut place = words.next()?.split(':');
    let major = u32::from_str_radix(place.next()?, 16).ok()?;
    let minor = u32::from_str_radix(place.next()?, 16).ok()?;
    Some(Entry {
        kind,
        mode,
        waiting,
        pid: u32::try_from(pid).ok().filter(|pid| *pid != 0),
        device: (major, minor),
        inode: place.next()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_and_a_waiter() {
        let holder = parse("1: FLOCK  ADVISORY  WRITE 1234 fe:0a:5678 0 EOF\n").unwrap();
        assert_eq!(
            holder,
            Entry {
                kind: Kind::Flock,
                mode: Mode::Exclusive,
                waiting: false,
                pid: Some(1234),
                device: (0xfe, 10),
                inode: 5678,
            }
        );
        let waiter = parse("1:   -> FLOCK  ADVISORY  READ 9 fe:0a:5678 0 EOF\n").unwrap();
        assert!(waiter.waiting);
        assert_eq!(waiter.mode, Mode::Shared);
    }

    #[test]
    fn a_pid_the_kernel_does_not_tell() {
        let ofd = parse("2: OFDLCK ADVISORY  WRITE -1 00:21:7 0 EOF").unwrap();
        assert_eq!((ofd.kind, ofd.pid), (Kind::Ofd, None));
    }

    #[test]
    fn other_lines_are_passed_over() {
        for line in [
            "",
            "x",
            "3: LEASE  ACTIVE    READ  77 fe:00:1 0 EOF",
            "1: FLOCK",
            "1: FLOCK ADVISORY WRITE x fe:00:1 0 EOF",
            "1: FLOCK ADVISORY WRITE 1 fe:00 0 EOF",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}
