//! Running before the standard library's start-up code.
//!
//! That code opens /dev/null where 0, 1 or 2 is closed and ignores SIGPIPE.
//! flock(1) hands its descriptors and signals on, so a script would notice:
//! with standard output closed, `flock 1` must fail and a command's `echo`
//! too. It also costs a dozen system calls.
//!
//! The C library calls what stands in `.init_array` before `main`, and glibc
//! hands over the arguments. Elsewhere `main` notices that it is flock(1).

use std::ffi::{CStr, CString, OsString, c_char, c_int};
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

use crate::flock;

// Not in unit tests, whose runner takes a first word `flock` for a filter.
#[cfg(all(target_os = "linux", target_env = "gnu", not(test)))]
#[used]
// SAFETY: the section holds pointers to functions of exactly this type, called once by the C
// library when it is ready for use.
#[unsafe(link_section = ".init_array")]
static EARLY: extern "C" fn(c_int, *const *const c_char, *const *const c_char) = early;

/// Nothing, unless the program is called as flock(1); then it does not return.
#[cfg_attr(any(test, not(target_env = "gnu")), allow(dead_code))]
extern "C" fn early(count: c_int, words: *const *const c_char, _environment: *const *const c_char) {
    // SAFETY: glibc passes main's own argc and argv, which live and stay as they are until exit.
    let word = |at: c_int| (at < count).then(|| unsafe { CStr::from_ptr(*words.add(at as usize)) });
    let Some(skip) = flock::words_before(word(0), word(1)) else {
        return;
    };
    let arguments: Vec<&'static CStr> = (skip..count).filter_map(word).collect();
    leave(flock::flock(&arguments));
}

/// Ends the process at once: nothing is buffered, and nothing else has begun.
#[cfg_attr(any(test, not(target_env = "gnu")), allow(dead_code))]
fn leave(status: u8) -> ! {
    // SAFETY: takes a number, does not return.
    unsafe { libc::_exit(status.into()) }
}

/// The same from `main`, where there is no early start.
pub(crate) fn late() -> Option<ExitCode> {
    let c_string = |word: OsString| CString::new(word.into_vec()).ok();
    let mut words = std::env::args_os();
    let (name, first) = (
        words.next().and_then(c_string),
        words.next().and_then(c_string),
    );
    let skip = flock::words_before(name.as_deref(), first.as_deref())?;
    let words: Vec<&'static CStr> = std::env::args_os()
        .skip(skip as usize)
        .filter_map(c_string)
        .map(|word| &*Box::leak(word.into_boxed_c_str()))
        .collect();
    Some(ExitCode::from(flock::flock(&words)))
}
