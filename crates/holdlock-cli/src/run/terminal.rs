//! Handing the terminal to the command's own process group, and taking it back.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::process::{Pid, getpgrp};
use rustix::termios::{tcgetpgrp, tcsetpgrp};

use crate::sys::signals::without_ttou;

/// Our controlling terminal.
pub(super) struct Terminal(File);

impl Terminal {
    /// None when we have none, or are in its background.
    pub(super) fn in_foreground() -> Option<Terminal> {
        let file = OpenOptions::new().read(true).write(true).open("/dev/tty");
        Some(Terminal(file.ok()?)).filter(Terminal::is_ours)
    }

    /// Is our process group in the foreground?
    pub(super) fn is_ours(&self) -> bool {
        tcgetpgrp(&self.0) == Ok(getpgrp())
    }

    /// Puts another process group into the foreground.
    pub(super) fn give(&self, group: Pid) {
        // Nothing to be done where the terminal is gone.
        let _ = without_ttou(|| tcsetpgrp(&self.0, group));
    }

    /// Puts our own there.
    pub(super) fn take_back(&self) {
        self.give(getpgrp());
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
