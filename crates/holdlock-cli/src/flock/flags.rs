//! The options of flock(1).

use super::getopt::{Long, Short};

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Flag {
    Shared,
    Exclusive,
    Unlock,
    NonBlocking,
    Timeout,
    ConflictCode,
    Close,
    NoFork,
    Verbose,
    Fcntl,
    Start,
    Length,
    Fd,
    Help,
    Version,
    /// `-?`, which getopt knows and flock does not.
    Question,
}

const fn long(name: &'static str, argument: bool, value: Flag) -> Long<Flag> {
    Long {
        name,
        argument,
        value,
    }
}

const fn short(letter: u8, argument: bool, value: Flag) -> Short<Flag> {
    Short {
        letter,
        argument,
        value,
    }
}

/// In the order of util-linux, in which messages list them.
pub(super) static LONGS: [Long<Flag>; 17] = [
    long("shared", false, Flag::Shared),
    long("exclusive", false, Flag::Exclusive),
    long("unlock", false, Flag::Unlock),
    long("nonblocking", false, Flag::NonBlocking),
    long("nb", false, Flag::NonBlocking),
    long("timeout", true, Flag::Timeout),
    long("wait", true, Flag::Timeout),
    long("conflict-exit-code", true, Flag::ConflictCode),
    long("close", false, Flag::Close),
    long("no-fork", false, Flag::NoFork),
    long("verbose", false, Flag::Verbose),
    long("fcntl", false, Flag::Fcntl),
    long("start", true, Flag::Start),
    long("length", true, Flag::Length),
    long("fd", true, Flag::Fd),
    long("help", false, Flag::Help),
    long("version", false, Flag::Version),
];

pub(super) static SHORTS: [Short<Flag>; 12] = [
    short(b's', false, Flag::Shared),
    short(b'e', false, Flag::Exclusive),
    short(b'x', false, Flag::Exclusive),
    short(b'n', false, Flag::NonBlocking),
    short(b'o', false, Flag::Close),
    short(b'F', false, Flag::NoFork),
    short(b'u', false, Flag::Unlock),
    short(b'w', true, Flag::Timeout),
    short(b'E', true, Flag::ConflictCode),
    short(b'h', false, Flag::Help),
    short(b'V', false, Flag::Version),
    short(b'?', false, Flag::Question),
];
