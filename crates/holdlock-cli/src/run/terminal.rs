//! Whether somebody sits in front of the command.

use std::fs::File;

use rustix::process::{Pid, getpgrp};
use rustix::termios::tcgetpgrp;

/// Whether we have a terminal, with our process group in the foreground, or one that the command
/// leads.
pub(super) fn is_in_front(command: Pid) -> bool {
    let terminal = File::options().read(true).write(true).open("/dev/tty");
    let group = terminal.ok().and_then(|terminal| tcgetpgrp(&terminal).ok());
    group.is_some_and(|group| group == getpgrp() || group == command)
}
