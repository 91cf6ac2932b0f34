//! While the command runs: its signals, its stops, its time limit, its end.
//!
//! The command stays in our process group, so that it, we and whatever else
//! belongs to a shell's job (`holdlock run L -- make | less`) are one job to the
//! terminal. What the terminal sends (Ctrl-C, Ctrl-Z, a change of its size) reaches
//! the command from the kernel; we only survive it. What a process sends to us
//! alone is passed on. The kernel tells which is which. It does not tell whether a
//! process sent a signal to us or to our whole group: then the command gets it twice.
//!
//! With a time limit the command gets a process group of its own, because at the
//! end of its time everything that it started has to go, and nothing else. On a
//! terminal this group is then in the foreground in our place.

use std::io;
use std::time::{Duration, Instant};

use libc::c_int;
use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, kill_process_group,
    set_child_subreaper, wait, waitpgid,
};

use super::descendants::signal_descendants;
use super::terminal::Terminal;
use crate::exit::{self, Failure};
use crate::sys::process::Manner;
use crate::sys::signals::{self, Arrived, Blocked};

/// The signals that are passed on.
const PASSED_ON: [c_int; 9] = [
    libc::SIGINT,
    libc::SIGTERM,
    libc::SIGHUP,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGCONT,
    libc::SIGTSTP,
    libc::SIGWINCH,
];

/// How long the command may hold the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    /// From the moment the lock is held.
    pub(crate) hold: Duration,
    /// From TERM to KILL.
    pub(crate) kill_after: Duration,
}

/// What the supervisor is to do besides waiting.
#[derive(Clone, Copy, Debug)]
pub(super) struct Duties {
    pub(super) limit: Option<Limit>,
    /// Wait for all descendants.
    pub(super) tree: bool,
    pub(super) quiet: bool,
}

/// How the command ended.
pub(super) enum End {
    /// By itself, with this exit code.
    Exited(u8),
    /// By this signal.
    Signal(u8),
    /// Because its time was over.
    HeldTooLong,
}

/// Starts the command with `start` and stays until it has ended.
pub(super) fn supervise(
    duties: Duties,
    start: impl FnOnce(&Manner<'_>) -> Result<Pid, Failure>,
) -> Result<End, Failure> {
    let began = Instant::now();
    // Before the command is started: none of its signals, and not its end, can be missed.
    let signals =
        Blocked::new(&PASSED_ON).map_err(|error| Failure::system("cannot catch signals", error))?;
    if duties.tree || duties.limit.is_some() {
        set_child_subreaper(Some(getpid()))
            .map_err(|error| Failure::system("cannot adopt the command's descendants", error))?;
    }
    let own_group = duties.limit.is_some();
    let terminal = own_group.then(Terminal::open).flatten();
    let foreground = terminal.as_ref().filter(|terminal| terminal.is_ours());
    let command = start(&Manner {
        own_group,
        terminal: foreground.map(Terminal::fd),
        signals: &signals,
    })
    .inspect_err(|_| {
        // The child had it already when it failed.
        foreground.into_iter().for_each(Terminal::keep);
    })?;
    let mut supervisor = Supervisor {
        duties,
        signals,
        terminal,
        command,
        status: None,
        stage: duties.limit.map_or(Stage::Free, |limit| {
            began
                .checked_add(limit.hold)
                .map_or(Stage::Free, Stage::Term)
        }),
        late: false,
        stop_asked: false,
    };
    let end = supervisor.stay();
    if let Some(terminal) = &supervisor.terminal {
        terminal.take_back(command);
    }
    end.map_err(|error| Failure::system("cannot wait for the command", error))
}

/// What happens next because of the time.
#[derive(Clone, Copy)]
enum Stage {
    /// Nothing.
    Free,
    /// TERM at this time.
    Term(Instant),
    /// KILL at this time.
    Kill(Instant),
}

struct Supervisor {
    duties: Duties,
    signals: Blocked,
    /// Ours to hand to the command's group and to take back.
    terminal: Option<Terminal>,
    command: Pid,
    /// Once it was reaped.
    status: Option<WaitStatus>,
    stage: Stage,
    /// Its time was over before its end.
    late: bool,
    /// A TSTP came since the command last stopped.
    stop_asked: bool,
}

impl Supervisor {
    fn stay(&mut self) -> io::Result<End> {
        loop {
            let limit = match self.stage {
                Stage::Free => None,
                Stage::Term(at) | Stage::Kill(at) => {
                    Some(at.saturating_duration_since(Instant::now()))
                }
            };
            match self.signals.next(limit)? {
                Some(arrived) if arrived.number == libc::SIGCHLD => {
                    self.reap()?;
                    if let Some(end) = self.end()? {
                        return Ok(end);
                    }
                }
                Some(arrived) => self.pass_on(arrived),
                None => self.on_time(),
            }
        }
    }

    /// Collects whatever has happened to our children, adopted ones included.
    fn reap(&mut self) -> io::Result<()> {
        loop {
            match wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
                Ok(Some((child, status))) if child == self.command => {
                    match status.stopping_signal() {
                        Some(number) => self.stopped(number),
                        None => self.status = Some(status),
                    }
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The end, when everything has ended that we wait for.
    fn end(&self) -> io::Result<Option<End>> {
        let Some(status) = self.status else {
            return Ok(None);
        };
        let more = if self.duties.tree {
            wait(WaitOptions::NOHANG)
        } else if self.late {
            // What ignores TERM while the command obeyed it: it must not go on unlocked.
            waitpgid(self.command, WaitOptions::NOHANG)
        } else {
            Err(rustix::io::Errno::CHILD)
        };
        match more {
            Err(rustix::io::Errno::CHILD) => {}
            Ok(Some(_)) => return self.end(),
            Ok(None) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let byte = |number: i32| u8::try_from(number).unwrap_or(exit::OS_ERROR);
        Ok(Some(match status.terminating_signal() {
            _ if self.late => End::HeldTooLong,
            Some(number) => End::Signal(byte(number)),
            None => End::Exited(status.exit_status().map_or(exit::OS_ERROR, byte)),
        }))
    }

    fn pass_on(&mut self, arrived: Arrived) {
        if arrived.number == libc::SIGTSTP {
            self.stop_asked = true;
        }
        // After a job was started in the background: `fg`.
        if arrived.number == libc::SIGCONT
            && self.status.is_none()
            && let Some(terminal) = &self.terminal
        {
            terminal.give(self.command);
        }
        // The terminal sent it to our group, and the command is in it.
        if arrived.from_kernel && self.duties.limit.is_none() {
            return;
        }
        let Some(signal) = Signal::from_named_raw(arrived.number) else {
            return;
        };
        if self.status.is_none() {
            // Cannot hit a stranger: its number stays taken until we reap it. Refused where it
            // changed its user: nothing to be done.
            let _ = kill_process(self.command, signal);
        } else {
            signal_descendants(signal);
        }
    }

    /// The command was stopped. When that is job control's doing, or somebody sits in
    /// front of it, we stop as well: the shell watches us. Elsewhere a bare SIGSTOP is
    /// somebody's private matter, and who continues the command will not think of us.
    fn stopped(&mut self, number: c_int) {
        let by_job_control = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU].contains(&number);
        let asked = std::mem::take(&mut self.stop_asked);
        if !by_job_control && !asked && !Terminal::is_in_front(self.command) {
            return;
        }
        let number = if by_job_control {
            number
        } else {
            libc::SIGTSTP
        };
        let Some(terminal) = &self.terminal else {
            signals::stop(number, false);
            return;
        };
        terminal.take_back(self.command);
        signals::stop(number, true);
        terminal.give(self.command);
        let _ = kill_process_group(self.command, Signal::CONT);
    }

    fn on_time(&mut self) {
        let now = Instant::now();
        match self.stage {
            Stage::Term(at) if now >= at => {
                let Some(limit) = self.duties.limit else {
                    return;
                };
                if !self.duties.quiet {
                    exit::warn(&format!(
                        "the lock was held for {:?}, the most that --max-hold allows: ending the command",
                        limit.hold
                    ));
                }
                self.late = true;
                self.stage = now
                    .checked_add(limit.kill_after)
                    .map_or(Stage::Free, Stage::Kill);
                self.end_it(Signal::TERM);
                // Who is stopped takes TERM only once it goes on.
                self.end_it(Signal::CONT);
            }
            Stage::Kill(at) if now >= at => {
                self.stage = Stage::Free;
                self.end_it(Signal::KILL);
            }
            _ => {}
        }
    }

    fn end_it(&self, signal: Signal) {
        let _ = kill_process_group(self.command, signal);
        if self.duties.tree {
            signal_descendants(signal);
        }
    }
}
