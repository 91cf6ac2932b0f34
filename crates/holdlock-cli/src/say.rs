//! Messages on standard error.

mod writer;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::exit::Outcome;
use crate::show::text::printable;
use crate::sys::signals::without_those_of_a_write;

/// Others may wait for this process.
static DOES_NOT_WAIT: AtomicBool = AtomicBool::new(false);

/// From now on this process does not wait for a blocked standard error: it holds a lock, or will
/// hold one.
pub(crate) fn do_not_wait() {
    DOES_NOT_WAIT.store(true, Ordering::Relaxed);
}

/// Reports the failure, if it is one, and returns the exit code. To be called last.
pub(crate) fn report(outcome: Outcome) -> u8 {
    let code = match outcome {
        Ok(code) => code,
        Err(failure) => {
            if !failure.message.is_empty() {
                warn(&failure.message);
            }
            if !failure.more.is_empty() {
                write(&failure.more);
            }
            failure.code
        }
    };
    finish();
    code
}

/// Gives the messages so far a last moment, before this process ends or becomes a command.
pub(crate) fn finish() {
    writer::finish();
}

/// Writes a message as one printable line, whatever characters it contains. A failure of that
/// cannot be reported.
pub(crate) fn warn(message: &str) {
    write(&line(message));
}

/// The same for the time in which a command runs: returns at once, and a thread writes the message.
pub(crate) fn warn_later(message: &str) {
    writer::write_later(&line(message));
}

fn line(message: &str) -> String {
    format!("holdlock: {}\n", printable(message.trim_end()))
}

/// Writes to standard error.
pub(crate) fn write(text: &str) {
    if DOES_NOT_WAIT.load(Ordering::Relaxed) {
        writer::write(text);
    } else {
        put(text);
    }
}

/// Writes in this thread. A terminal may stop a process in the background that writes (`stty
/// tostop`), and a limit of file sizes may end it, but this process may hold a lock.
fn put(text: &str) {
    without_those_of_a_write(|| put_as_it_is(text));
}

/// The same where all signals are blocked.
fn put_as_it_is(text: &str) {
    let stderr = io::stderr();
    put_if(text, || {
        // Another process has set O_NONBLOCK for all that have the same standard error.
        poll(&mut [PollFd::new(&stderr, PollFlags::OUT)], None).is_ok()
    });
}

/// Writes as long as there is room, or `wait_for_room` says that there is room again. Where writing
/// fails, that cannot be reported either.
fn put_if(text: &str, wait_for_room: impl Fn() -> bool) {
    let mut left = text.as_bytes();
    while !left.is_empty() {
        match rustix::io::write(io::stderr(), left) {
            Ok(written) if written > 0 => left = &left[written..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if wait_for_room() => {}
            _ => return,
        }
    }
}
