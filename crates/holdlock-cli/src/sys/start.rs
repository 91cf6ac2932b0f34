//! The start of the program, in place of the standard library's start-up code.
//!
//! The code of the standard library opens /dev/null if descriptor 0, 1 or 2 is closed, and ignores
//! SIGPIPE. flock(1) passes its descriptors and signals on, so a script would notice: with standard
//! output closed, `flock 1` must fail, and so must a command's `echo`. That code also costs a dozen
//! system calls. Therefore the C library calls this `main`, which does the same for the other
//! subcommands as far as they need it.

use std::ffi::{CStr, OsStr, c_int};
use std::os::unix::ffi::OsStrExt;
use std::panic::catch_unwind;

use super::signals;
use crate::{exit, flock};

// Unit tests have a runner with a `main` of its own.
#[cfg(not(test))]
#[unsafe(no_mangle)]
// SAFETY: no other function of the program has this name, and the C library calls it as declared.
extern "C" fn main(count: c_int, words: *const *const std::ffi::c_char) -> c_int {
    // SAFETY: `words` are `count` strings, which live and stay as they are until exit.
    let word = |at: c_int| unsafe { CStr::from_ptr(*words.add(at as usize)) };
    begin((0..count).map(word).collect())
}

#[cfg_attr(test, allow(dead_code))]
fn begin(words: Vec<&'static CStr>) -> c_int {
    let mut words = words.as_slice();
    if let Some(skip) = flock::words_before(words.first().copied(), words.get(1).copied()) {
        words = &words[skip..];
        // SAFETY: takes a number, does not return. Nothing is buffered, and no thread runs.
        unsafe { libc::_exit(flock::flock(words).into()) }
    }
    if !prepare() {
        exit::warn("cannot open /dev/null in place of a closed standard stream");
        return exit::OS_ERROR.into();
    }
    let words = words.iter().skip(1);
    let words = words.map(|word| OsStr::from_bytes(word.to_bytes()).to_owned());
    // As the standard library has it: a panic must not unwind into C.
    let code = catch_unwind(|| crate::program(words)).unwrap_or(101);
    // Flushes standard output.
    std::process::exit(code.into())
}

/// Opens the closed standard descriptors, so that no other file gets their numbers, and makes a
/// write to a closed pipe an error instead of the end of the program. Returns whether that worked.
fn prepare() -> bool {
    for fd in 0..=2 {
        // SAFETY: takes numbers and a string, and changes nothing that is open.
        let is_open = unsafe {
            libc::fcntl(fd, libc::F_GETFD) != -1
                || libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) == fd
        };
        if !is_open {
            return false;
        }
    }
    signals::ignore_broken_pipes();
    true
}
