//! Signals while the command runs.
//!
//! - INT and QUIT come from the terminal, which sends them to the command as
//!   well: holdlock only has to survive them and wait.
//! - TERM and HUP are sent to holdlock by somebody who does not know about the
//!   command: they are passed on. A holdlock that died of them would leave a
//!   command running that believes to be alone.
//!
//! A handler sets a flag and writes a byte into a pipe; one poll(2) waits for
//! that pipe and for the command's pidfd. Handlers, and not ignored or blocked
//! signals: exec resets those by itself, so the command starts with what
//! holdlock was started with. A signal that was ignored already (nohup, a
//! script's background job) is left alone, or the command would lose that. Only
//! PIPE is not ours to keep: the standard library ignores it at our start and
//! gives the command the default.

use std::fs::File;
use std::io::{self, BufRead, BufReader, PipeReader, PipeWriter, Read};
use std::os::fd::AsFd;
use std::process::{Child, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::{flag, low_level::pipe};

/// How often a command without a pidfd (Linux before 5.3) is asked
/// whether it ended, should its SIGCHLD be blocked.
const WITHOUT_PIDFD: Duration = Duration::from_millis(20);

/// The caught signals of a running command.
pub(crate) struct Signals {
    wake: PipeReader,
    /// Kept open: a pipe without writers would be ready for ever.
    _writer: PipeWriter,
    forwarded: Vec<(Signal, Arc<AtomicBool>)>,
}

impl Signals {
    /// Installs the handlers, before the command is started.
    pub(crate) fn catch() -> io::Result<Signals> {
        let ignored = ignored();
        let is_ignored = |signal: i32| ignored >> (signal - 1) & 1 == 1;
        let (wake, writer) = io::pipe()?;
        let mut forwarded = Vec::with_capacity(2);
        for (number, signal) in [(SIGTERM, Signal::TERM), (SIGHUP, Signal::HUP)] {
            if !is_ignored(number) {
                let arrived = Arc::new(AtomicBool::new(false));
                // The flag first: whoever reads the byte must find it set.
                flag::register(number, Arc::clone(&arrived))?;
                pipe::register(number, writer.try_clone()?)?;
                forwarded.push((signal, arrived));
            }
        }
        for number in [SIGINT, SIGQUIT] {
            if !is_ignored(number) {
                flag::register(number, Arc::new(AtomicBool::new(false)))?;
            }
        }
        // Where SIGCHLD is ignored, the kernel throws exit statuses away.
        if is_ignored(SIGCHLD) {
            pipe::register(SIGCHLD, writer.try_clone()?)?;
        }
        Ok(Signals {
            wake,
            _writer: writer,
            forwarded,
        })
    }

    /// Waits for the command to end, forwarding signals meanwhile.
    pub(crate) fn wait(mut self, mut child: Child) -> io::Result<ExitStatus> {
        let pidfd = pidfd(&child);
        let limit = pidfd
            .is_none()
            .then(|| WITHOUT_PIDFD.try_into().expect("fits"));
        let mut bytes = [0; 64];
        loop {
            let mut fds = vec![PollFd::new(&self.wake, PollFlags::IN)];
            fds.extend(
                pidfd
                    .as_ref()
                    .map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)),
            );
            match poll(&mut fds, limit.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let woken = !fds[0].revents().is_empty();
            let ended = fds.get(1).is_none_or(|fd| !fd.revents().is_empty());
            if ended && let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            if woken {
                let _ = self.wake.read(&mut bytes)?;
                self.forward(&child);
            }
        }
    }

    /// Sends what arrived to the command. It cannot hit a stranger: the command's
    /// process id stays taken until it is reaped, which only `wait` does.
    fn forward(&self, child: &Child) {
        for (signal, arrived) in &self.forwarded {
            if arrived.swap(false, Ordering::Relaxed) {
                // Refused where the command changed its user: nothing to be done.
                let _ = kill_process(Pid::from_child(child), *signal);
            }
        }
    }
}

fn pidfd(child: &Child) -> Option<std::os::fd::OwnedFd> {
    use rustix::process::{PidfdFlags, pidfd_open};
    pidfd_open(Pid::from_child(child), PidfdFlags::empty()).ok()
}

/// The signals this process ignores since its start, as a bit mask; where /proc
/// does not tell, none. One read of a page has it all.
fn ignored() -> u64 {
    File::open("/proc/self/status")
        .and_then(|status| mask(BufReader::with_capacity(4096, status), b"SigIgn:"))
        .unwrap_or(0)
}

fn mask(status: impl BufRead, field: &[u8]) -> io::Result<u64> {
    for line in status.split(b'\n') {
        if let Some(value) = line?.strip_prefix(field) {
            let value = String::from_utf8_lossy(value);
            return u64::from_str_radix(value.trim(), 16).map_err(io::Error::other);
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

#[cfg(test)]
mod tests {
    use super::mask;

    #[test]
    fn finds_the_ignored_signals() {
        let status = b"Name:\tx\xff\nSigBlk:\t0000000000000001\nSigIgn:\t0000000000001001\n";
        assert_eq!(mask(&status[..], b"SigIgn:").unwrap(), 0x1001);
        assert!(mask(&status[..], b"SigCgt:").is_err());
    }
}
