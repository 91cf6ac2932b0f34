//! Acquires the lock.

use std::io;
use std::time::Instant;

use rustix::io::Errno;

use super::open::Opened;
use super::options::{Operation, Options, Patience, is_time};
use super::say::{Say, Stop};
use super::status;
use crate::sys::alarm::Alarm;
use crate::sys::range::{self, Kind};

/// Acquires or releases the lock, waiting as long as the options allow.
pub(super) fn take(options: &Options, lock: &mut Opened, say: &mut Say) -> Result<(), Stop> {
    check_patience(options.patience)?;
    let began = options.verbose.then(Instant::now);
    let mut attempt = first_attempt(options, lock)?;
    // A free lock costs one call. Only a wait needs a timer.
    if attempt == Err(Errno::AGAIN) && options.patience != Patience::None {
        attempt = wait(options, lock)?;
        if attempt == Err(Errno::INTR) {
            return Err(missed(options, b"timeout while waiting to get lock"));
        }
    }
    match attempt {
        Ok(()) => {}
        // Linux says EAGAIN; POSIX allows EACCES for fcntl, with the same meaning.
        Err(Errno::AGAIN | Errno::ACCESS) => {
            return Err(missed(options, b"failed to get lock"));
        }
        Err(error) => return Err(refused(lock, error)),
    }
    if let Some(began) = began {
        let took = began.elapsed();
        let (seconds, micros) = (took.as_secs(), took.subsec_micros());
        let line = format!("flock: getting lock took {seconds}.{micros:06} seconds\n");
        say.print(line.as_bytes());
    }
    Ok(())
}

/// One attempt without waiting; a second one on a writable descriptor if the lock needs it.
fn first_attempt(options: &Options, lock: &mut Opened) -> Result<Result<(), Errno>, Stop> {
    loop {
        match call(options, lock, false) {
            Err(Errno::INTR) => {}
            Err(error @ (Errno::IO | Errno::BADF)) if options.operation != Operation::Shared => {
                if let Some(reason) = lock.reopen_for_writing(error)? {
                    return Err(refused(lock, reason));
                }
            }
            outcome => return Ok(outcome),
        }
    }
}

/// Sleeps in the kernel's queue until the lock is acquired or the time is over, which is EINTR.
fn wait(options: &Options, lock: &Opened) -> Result<Result<(), Errno>, Stop> {
    let alarm = match options.patience {
        Patience::Until(seconds, micros) => {
            Some(Alarm::after(seconds, micros).map_err(|error| no_timer(&error))?)
        }
        Patience::Endless | Patience::None => None,
    };
    loop {
        match call(options, lock, true) {
            Err(Errno::INTR) if !alarm.as_ref().is_some_and(Alarm::is_over) => {}
            outcome => return Ok(outcome),
        }
    }
}

fn call(options: &Options, lock: &Opened, wait: bool) -> Result<(), Errno> {
    let kind = match options.operation {
        Operation::Exclusive => Kind::Exclusive,
        Operation::Shared => Kind::Shared,
        Operation::Unlock => Kind::Unlock,
    };
    let outcome = match options.range {
        None if wait => range::flock_asleep(lock.fd, kind),
        None => range::flock_now(lock.fd, kind),
        Some(range) => range::lock(lock.fd, kind, wait, range),
    };
    outcome.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

/// A time that a timer does not accept is an error even if the lock is free.
fn check_patience(patience: Patience) -> Result<(), Stop> {
    match patience {
        Patience::Until(seconds, micros) if !is_time((seconds, micros)) => {
            Err(no_timer(&io::Error::from(Errno::INVAL)))
        }
        _ => Ok(()),
    }
}

fn no_timer(error: &io::Error) -> Stop {
    Stop::error(status::OS_ERROR, &[b"cannot set up timer"], error)
}

/// Another process holds the lock: no message, unless --verbose asks for one.
fn missed(options: &Options, message: &[u8]) -> Stop {
    if options.verbose {
        Stop::saying(options.conflict_code, &[message])
    } else {
        Stop::silently(options.conflict_code)
    }
}

fn refused(lock: &Opened, error: Errno) -> Stop {
    let code = match error {
        Errno::NOLCK | Errno::NOMEM => status::OS_ERROR,
        _ => status::LOCK_ERROR,
    };
    let error = io::Error::from(error);
    match lock.file {
        Some(file) => Stop::error(code, &[file.to_bytes()], &error),
        None => Stop::error(code, &[lock.fd.to_string().as_bytes()], &error),
    }
}
