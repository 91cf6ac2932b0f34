//! The command of `holdlock run`: a child that gets SIGTERM when this process ends, or a command
//! that replaces this process.

use std::ffi::{CString, OsStr, OsString, c_int};
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::process::getpid;

use super::descriptors::keep_over_exec;
use super::signals::{Blocked, ignore_broken_pipes, restore_broken_pipes};
use super::vfork::{self, Argv, Child, Failed};

/// The descriptors and signals of the child.
pub(crate) struct Manner<'a> {
    /// Descriptors that it inherits: close-on-exec in this process only.
    pub(crate) inherits: &'a [BorrowedFd<'a>],
    /// Variables that it has besides our own, or instead of them. None: it does not have this one.
    pub(crate) environment: &'a [(&'a str, Option<String>)],
    /// The signals as they were before this process blocked some; the child gets them back.
    pub(crate) signals: &'a Blocked,
    /// The signal that the child gets when this thread ends.
    pub(crate) when_we_end: c_int,
}

/// Starts the command as a child that gets a signal when this thread ends.
pub(crate) fn spawn(
    program: &OsStr,
    arguments: &[OsString],
    manner: &Manner<'_>,
) -> io::Result<Child> {
    let words = words(program, arguments)?;
    let variables = variables(manner.environment)?;
    let argv =
        Argv::new(words.iter().map(CString::as_c_str)).with_environment(variables.as_deref());
    let parent = getpid().as_raw_pid();
    let prepare = || {
        // SAFETY: system calls which change nothing but this process. Where one fails, the command
        // is no worse off than without it.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, manner.when_we_end);
            // A parent that ended before that line sends no signal. (0 is a parent outside of this
            // PID namespace: after `unshare --pid`, children are in a new one.)
            if ![parent, 0].contains(&libc::getppid()) {
                libc::_exit(128 + manner.when_we_end);
            }
        }
        restore_broken_pipes();
        manner.inherits.iter().for_each(|fd| keep_over_exec(*fd));
        manner.signals.restore();
    };
    // SAFETY: `prepare` makes only system calls, about the child's own descriptors and signals.
    let child = unsafe { vfork::spawn(&argv, true, &prepare) };
    child.map_err(|(Failed::Clone(error) | Failed::Exec(error))| error)
}

/// Becomes the command. Returns only if that fails.
pub(crate) fn exec(
    program: &OsStr,
    arguments: &[OsString],
    environment: &[(&str, Option<String>)],
) -> io::Error {
    let both = words(program, arguments).and_then(|words| Ok((words, variables(environment)?)));
    let (words, variables) = match both {
        Ok(both) => both,
        Err(error) => return error,
    };
    let argv =
        Argv::new(words.iter().map(CString::as_c_str)).with_environment(variables.as_deref());
    restore_broken_pipes();
    let error = argv.exec();
    ignore_broken_pipes();
    error
}

/// Fails if a word has a NUL byte, which a command line cannot contain.
fn words(program: &OsStr, arguments: &[OsString]) -> io::Result<Vec<CString>> {
    let words = std::iter::once(program).chain(arguments.iter().map(OsString::as_os_str));
    let words = words.map(|word| CString::new(word.as_bytes()));
    Ok(words.collect::<Result<_, _>>()?)
}

/// Our environment with these variables, as `NAME=VALUE`. None: our own as it is.
fn variables(set: &[(&str, Option<String>)]) -> io::Result<Option<Vec<CString>>> {
    if set.is_empty() {
        return Ok(None);
    }
    let is_kept = |name: &OsStr| set.iter().all(|(other, _)| name != *other);
    let kept = std::env::vars_os().filter(|(name, _)| is_kept(name));
    let set = set
        .iter()
        .filter_map(|(name, value)| Some((name.into(), value.as_ref()?.into())));
    let words = kept.chain(set).map(|(name, value): (OsString, OsString)| {
        // One byte for `=` and one for the end.
        let mut word = Vec::with_capacity(name.len() + value.len() + 2);
        word.extend_from_slice(name.as_bytes());
        word.push(b'=');
        word.extend_from_slice(value.as_bytes());
        CString::new(word)
    });
    Ok(Some(words.collect::<Result<_, _>>()?))
}
