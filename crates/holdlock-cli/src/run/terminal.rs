//! The part that holdlock and the command have at a terminal.

use std::fs::File;

use rustix::process::{Pid, getpid};

use crate::sys::groups::{in_foreground, own_group, session_of};

/// Whether there is a terminal with our process group, or a group that the command leads, in the
/// foreground.
pub(super) fn is_in_front(command: Pid) -> bool {
    let terminal = File::options().read(true).write(true).open("/dev/tty");
    let group = terminal.ok().and_then(in_foreground);
    group.is_some_and(|group| group == own_group() || group == command.as_raw_pid())
}

/// Whether this process is the leader of its session, as the first process at a terminal is.
pub(super) fn leads_session() -> bool {
    session_of(None) == Some(getpid().as_raw_pid())
}
