//! A thread that writes the messages of a process that must not wait for its standard error.
//!
//! A pipe that no process reads, or a terminal after Ctrl-S, blocks a writer without end. If
//! `holdlock run` were that writer, it would enforce no time limit, pass on no signal and start no
//! command, and keep the lock meanwhile. poll(2) does not tell whether a whole line has room, and
//! O_NONBLOCK would also hold for the other processes that have the same standard error.
//!
//! The thread starts with the first message. The caller waits for a moment, so that the order among
//! the messages and the output of the command is as if there were no thread. The moment begins when
//! the thread begins to write: on a busy machine it may get no processor for longer. While the
//! command runs, the caller does not wait even for a moment: KILL could be due in it.

use std::collections::VecDeque;
use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use holdlock::inspect;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{put_as_it_is, put_if};
use crate::sys::signals::{self, without_those_of_a_write};

/// How long the caller waits until its message is written. Once it has waited in vain, it does not
/// wait again until standard error takes messages.
const MOMENT: Duration = Duration::from_millis(300);
/// How long the end of the process waits for messages that are not written yet.
const LAST_MOMENT: Duration = Duration::from_secs(1);
/// How long to wait until the thread gets a processor, which it does if no debugger has stopped it.
const UNTIL_IT_RUNS: Duration = Duration::from_secs(10);
/// While this many messages wait, further ones are lost.
const MOST: usize = 1000;

static MESSAGES: Mutex<Messages> = Mutex::new(Messages {
    waiting: VecDeque::new(),
    is_writing: false,
    has_thread: false,
    is_blocked: false,
});
static CHANGED: Condvar = Condvar::new();

struct Messages {
    waiting: VecDeque<String>,
    /// The thread has taken a message and not yet written it.
    is_writing: bool,
    has_thread: bool,
    /// Nothing was written since a caller waited in vain.
    is_blocked: bool,
}

impl Messages {
    fn are_written(&self) -> bool {
        self.waiting.is_empty() && !self.is_writing
    }
}

/// Hands the message to the thread, and waits for a moment until it is written.
pub(super) fn write(text: &str) {
    if let Some(messages) = hand_over(text)
        && !messages.is_blocked
    {
        let mut messages = wait(messages, MOMENT);
        messages.is_blocked = !messages.are_written();
    }
}

/// The same, without the wait.
pub(super) fn write_later(text: &str) {
    drop(hand_over(text));
}

/// None if there is nothing to wait for.
fn hand_over(text: &str) -> Option<MutexGuard<'static, Messages>> {
    let mut messages = lock();
    if !messages.has_thread {
        if start().is_err() {
            drop(messages);
            put_if_there_is_room(text);
            return None;
        }
        messages.has_thread = true;
    }
    if messages.waiting.len() >= MOST {
        return None;
    }
    messages.waiting.push_back(text.to_owned());
    CHANGED.notify_all();
    Some(messages)
}

/// Waits for the messages that are not written yet, but not long.
pub(super) fn finish() {
    let messages = lock();
    drop(wait(messages, LAST_MOMENT));
}

fn wait(messages: MutexGuard<'_, Messages>, limit: Duration) -> MutexGuard<'_, Messages> {
    let messages = wait_while(messages, UNTIL_IT_RUNS, |messages| {
        !messages.is_writing && !messages.are_written()
    });
    wait_while(messages, limit, |messages| !messages.are_written())
}

fn wait_while(
    messages: MutexGuard<'_, Messages>,
    limit: Duration,
    condition: impl Fn(&Messages) -> bool,
) -> MutexGuard<'_, Messages> {
    let waited = CHANGED.wait_timeout_while(messages, limit, |messages| condition(messages));
    waited.unwrap_or_else(PoisonError::into_inner).0
}

fn start() -> io::Result<()> {
    let thread = thread::Builder::new()
        .name("holdlock-say".to_owned())
        .stack_size(64 * 1024);
    // Signals are for the thread that supervises the command, and those of a write itself would
    // stop or end this process.
    signals::without_any(|| thread.spawn(write_all)).map(drop)
}

fn write_all() {
    // The thread releases no lock.
    let _helper = inspect::helper_thread();
    let mut messages = lock();
    loop {
        let Some(text) = messages.waiting.pop_front() else {
            messages = CHANGED
                .wait(messages)
                .unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        messages.is_writing = true;
        CHANGED.notify_all();
        drop(messages);
        put_as_it_is(&text);
        messages = lock();
        messages.is_writing = false;
        messages.is_blocked = false;
        CHANGED.notify_all();
    }
}

/// Without a thread (`ulimit -u`): a message for which there may be no room is lost.
fn put_if_there_is_room(text: &str) {
    let stderr = io::stderr();
    let mut fds = [PollFd::new(&stderr, PollFlags::OUT)];
    if poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0) {
        without_those_of_a_write(|| put_if(text, || false));
    }
}

fn lock() -> MutexGuard<'static, Messages> {
    MESSAGES.lock().unwrap_or_else(PoisonError::into_inner)
}
