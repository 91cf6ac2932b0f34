//! Handing the terminal to the command's own process group, and taking it back.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::process::{Pid, getpgrp};
use rustix::termios::{tcgetpgrp, tcsetpgrp};

use crate::sys::signals::without_ttou;

/// Our controlling terminal.
pub(super) struct Terminal(File);

impl Terminal {
    /// None when we have none.
    pub(super) fn open() -> Option<Terminal> {
        let file = OpenOptions::new().read(true).write(true).open("/dev/tty");
        file.ok().map(Terminal)
    }

    /// Whether there is one, with us or the command's group in the foreground.
    pub(super) fn is_in_front(command: Pid) -> bool {
        Terminal::open().is_some_and(|terminal| terminal.is_ours() || terminal.is_of(command))
    }

    /// Is our process group in the foreground?
    pub(super) fn is_ours(&self) -> bool {
        self.is_of(getpgrp())
    }

    /// Puts the command's group into the foreground, if we are there.
    pub(super) fn give(&self, group: Pid) {
        if self.is_ours() {
            self.put(group);
        }
    }

    /// Puts ours there, if the command's is.
    pub(super) fn take_back(&self, group: Pid) {
        if self.is_of(group) {
            self.put(getpgrp());
        }
    }

    /// Puts ours there again, whoever has it: after a command that did not start.
    pub(super) fn keep(&self) {
        self.put(getpgrp());
    }

    fn is_of(&self, group: Pid) -> bool {
        tcgetpgrp(&self.0) == Ok(group)
    }

    fn put(&self, group: Pid) {
        // Nothing to be done where the terminal is gone.
        let _ = without_ttou(|| tcsetpgrp(&self.0, group));
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
