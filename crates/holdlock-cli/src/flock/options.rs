//! The meaning of the words of the command line.

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStringExt;

use super::flags::{Flag, LONGS, SHORTS};
use super::getopt::{Misuse, Words};
use super::say::{NAME, Say, Stop, shown};
use super::{help, number, seconds, status};

/// A valid command line.
pub(super) struct Options {
    pub(super) operation: Operation,
    /// The range of an OFD lock. None: the whole file by flock(2).
    pub(super) range: Option<(i64, i64)>,
    pub(super) patience: Patience,
    pub(super) conflict_code: u8,
    pub(super) close: bool,
    pub(super) no_fork: bool,
    pub(super) verbose: bool,
    pub(super) target: Target,
    pub(super) command: Option<Vec<&'static CStr>>,
}

impl Options {
    /// Whether to open for writing: an exclusive OFD lock needs a writable descriptor.
    pub(super) fn open_for_writing(&self) -> bool {
        self.range.is_some() && self.operation == Operation::Exclusive
    }
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Operation {
    Exclusive,
    Shared,
    Unlock,
}

/// The limit of the wait.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Patience {
    Endless,
    None,
    /// Seconds and microseconds, as in the text: a time that a timer does not accept is an error
    /// later.
    Until(i64, i64),
}

#[derive(Clone, Copy)]
pub(super) enum Target {
    File(&'static CStr),
    Descriptor(i32),
}

/// Reads the command line. Errors, help and version end the program here.
pub(super) fn parse(words: &[&'static CStr], say: &mut Say) -> Result<Options, Stop> {
    if words.len() < 2 {
        return Err(try_help(say, b"flock: not enough arguments\n"));
    }
    let mut options = Options {
        operation: Operation::Exclusive,
        range: None,
        patience: Patience::Endless,
        conflict_code: 1,
        close: false,
        no_fork: false,
        verbose: false,
        target: Target::Descriptor(-1),
        command: None,
    };
    let mut given = Given::default();
    let mut words = Words::new(words, &LONGS, &SHORTS);
    loop {
        // With --fd there is no file, so `-c` stands among the options.
        if given.fd.is_some() && words.peek().is_some_and(is_command_option) {
            break;
        }
        match words.option() {
            Ok(None) => break,
            Ok(Some((flag, argument))) => {
                options.set(flag, argument.unwrap_or_default(), &mut given, say)?;
            }
            Err(Misuse(message)) => return Err(try_help(say, &message)),
        }
    }
    options.settle(&given, words.rest())?;
    Ok(options)
}

/// The options that take effect only together with the other words.
#[derive(Default)]
struct Given {
    fd: Option<i32>,
    timeout: Option<(i64, i64)>,
    no_wait: bool,
}

impl Options {
    fn set(
        &mut self,
        flag: Flag,
        argument: &'static [u8],
        given: &mut Given,
        say: &mut Say,
    ) -> Result<(), Stop> {
        match flag {
            Flag::Shared => self.operation = Operation::Shared,
            Flag::Exclusive => self.operation = Operation::Exclusive,
            Flag::Unlock => self.operation = Operation::Unlock,
            Flag::NonBlocking => given.no_wait = true,
            Flag::Timeout => {
                given.timeout = Some(checked(
                    seconds::parse(argument),
                    "invalid timeout",
                    argument,
                )?);
            }
            Flag::ConflictCode => self.conflict_code = exit_code(argument)?,
            Flag::Close => self.close = true,
            Flag::NoFork => self.no_fork = true,
            Flag::Verbose => self.verbose = true,
            Flag::Fcntl => {
                self.range.get_or_insert_default();
            }
            Flag::Start => {
                let start = number::size(argument);
                let start = checked(start, "invalid as start offset", argument)?;
                self.range.get_or_insert_default().0 = start;
            }
            Flag::Length => {
                let length = number::size(argument);
                let length = checked(length, "invalid as length of lock range", argument)?;
                self.range.get_or_insert_default().1 = length;
            }
            Flag::Fd => given.fd = Some(descriptor(argument)?),
            Flag::Help => {
                say.print(help::HELP.as_bytes());
                return Err(Stop::silently(0));
            }
            Flag::Version => {
                say.print(help::VERSION.as_bytes());
                return Err(Stop::silently(0));
            }
            Flag::Question => return Err(try_help(say, b"")),
        }
        Ok(())
    }

    /// Interprets the words after the options: a file, a number, a command.
    fn settle(&mut self, given: &Given, words: &[&'static CStr]) -> Result<(), Stop> {
        if self.no_fork && self.close {
            return Err(Stop::saying(
                status::USAGE,
                &[b"the --no-fork and --close options are incompatible"],
            ));
        }
        self.patience = match given.timeout {
            // A time of zero means not to wait; a timer of zero would never fire.
            Some((0, 0)) => Patience::None,
            // A wrong time is an error with -n, too.
            Some(time) if !given.no_wait || !is_time(time) => Patience::Until(time.0, time.1),
            None if !given.no_wait => Patience::Endless,
            _ => Patience::None,
        };
        let command = match (given.fd, words) {
            (Some(fd), command) => {
                self.target = Target::Descriptor(fd);
                command
            }
            (None, []) => {
                return Err(Stop::saying(
                    status::USAGE,
                    &[b"requires file descriptor, file or directory"],
                ));
            }
            (None, [number]) => {
                self.target = Target::Descriptor(descriptor(number.to_bytes())?);
                &[]
            }
            (None, [file, command @ ..]) => {
                self.target = Target::File(file);
                command
            }
        };
        self.command = command_line(command)?;
        Ok(())
    }
}

/// Whether a timer accepts the time.
pub(super) fn is_time((seconds, micros): (i64, i64)) -> bool {
    seconds >= 0 && micros >= 0
}

/// Whether the word is `-c`, which is an option only here and only as a whole word.
fn is_command_option(word: &[u8]) -> bool {
    word == b"-c" || word == b"--command"
}

fn command_line(words: &[&'static CStr]) -> Result<Option<Vec<&'static CStr>>, Stop> {
    match words {
        [] => Ok(None),
        [option, text @ ..] if is_command_option(option.to_bytes()) => match text {
            [text] => Ok(Some(vec![shell(), c"-c", text])),
            _ => Err(Stop::saying(
                status::USAGE,
                &[option.to_bytes(), b" requires exactly one command argument"],
            )),
        },
        words => Ok(Some(words.to_vec())),
    }
}

fn descriptor(text: &[u8]) -> Result<i32, Stop> {
    checked(number::integer(text), "bad file descriptor", text)
}

fn exit_code(text: &[u8]) -> Result<u8, Stop> {
    let code = checked(number::integer(text), "invalid exit code", text)?;
    u8::try_from(code).map_err(|_| {
        Stop::saying(
            status::USAGE,
            &[b"exit code out of range (expected 0 to 255)"],
        )
    })
}

/// The message for a word that is not a number, or one that is too large.
fn checked<T>(parsed: Result<T, number::Bad>, what: &str, text: &[u8]) -> Result<T, Stop> {
    parsed.map_err(|bad| {
        let reason: &[u8] = match bad {
            number::Bad::Text => b"",
            number::Bad::Range => b": Numerical result out of range",
        };
        Stop::saying(
            status::USAGE,
            &[what.as_bytes(), b": '", text, b"'", reason],
        )
    })
}

fn try_help(say: &mut Say, message: &[u8]) -> Stop {
    let mut lines = format!("Try '{NAME} --help' for more information.\n");
    if let Some(message) = message.strip_suffix(b"\n") {
        lines.insert_str(0, &format!("{}\n", shown(message)));
    }
    say.warn_raw(&lines);
    Stop::silently(status::USAGE)
}

/// The program that interprets the text of `-c`.
fn shell() -> &'static CStr {
    std::env::var_os("SHELL")
        .filter(|shell| !shell.is_empty())
        .and_then(|shell| CString::new(shell.into_vec()).ok())
        .map_or(c"/bin/sh", |shell| Box::leak(shell.into_boxed_c_str()))
}
