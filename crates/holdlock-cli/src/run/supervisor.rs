//! While the command runs: its signals, its stops, its time limit, its end.
//!
//! The command stays in our process group, so for the terminal the command, holdlock and the rest
//! of a shell's job (`holdlock run L -- make | less`) are one job. The kernel sends the signals of
//! the terminal (Ctrl-C, Ctrl-Z, a change of its size) to the command as well; holdlock only
//! survives them. holdlock passes on a signal that a process sends to it. The kernel shows whether
//! a signal comes from the terminal or from a process. It does not show whether a process sent a
//! signal to us or to our whole group: in the second case the command gets it twice.
//!
//! The command has inherited the lock. When the command ends by itself, the lock is released for
//! every process, whatever the command leaves running. When a signal ends the command, the
//! processes that it leaves may be in the middle of their work, and keep the lock; holdlock stays
//! only for processes that have not inherited the lock.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use libc::c_int;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, wait};

use super::ending::Ending;
use super::held::Held;
use super::job::Job;
use super::survivors::Rest;
use super::terminal::{is_in_front, leads_session};
use crate::exit::{self, Failure};
use crate::sys::signals::{self, Arrived, Blocked};
use crate::sys::vfork::Child;
use crate::sys::wake::Wake;

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

/// The signals that ask for an end.
pub(super) const ENDING: [c_int; 4] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];

/// A TERM within this time after another is the same request.
const ONE_TERM: Duration = Duration::from_secs(1);

/// The tasks of the supervisor besides waiting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Duties {
    /// The longest time for which the lock may be held.
    pub(crate) max_hold: Option<Duration>,
    /// The time between TERM and KILL.
    pub(crate) kill_after: Duration,
    /// Wait for all descendants.
    pub(crate) tree: bool,
}

/// How long before the end of the leash a stopped holdlock continues, to renew the lock: half of
/// the time that is left, and at most this.
const TO_RENEW: Duration = Duration::from_secs(1);

/// When a holdlock that is stopped after the command's end continues, to release the lock and to
/// end. An engine has two seconds for its answer, or ten.
const TO_RELEASE: Duration = Duration::from_secs(1);

/// The pause between two looks for the command's end, if the kernel does not let us wait for
/// signals.
const WITHOUT_SIGNALS: Duration = Duration::from_millis(20);

/// How the command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// By itself, with this exit code.
    Exited(u8),
    /// With this exit code, after a signal.
    AfterSignal(u8),
    /// By this signal.
    Signal(u8),
    /// Because its time was over.
    HeldTooLong,
    /// Because its lock was lost.
    LockLost,
}

impl End {
    /// Whether the lock is released now, even if processes still have it open.
    pub(super) fn releases(self) -> bool {
        matches!(self, End::Exited(_))
    }

    /// Whether the command itself ended its work, also if a signal had asked it to.
    pub(super) fn is_complete(self) -> bool {
        matches!(self, End::Exited(_) | End::AfterSignal(..=128))
    }

    /// The exit code that says so.
    pub(super) fn code(self) -> u8 {
        match self {
            End::Exited(code) | End::AfterSignal(code) => code,
            End::Signal(number) => 128 + number,
            End::HeldTooLong => exit::HELD_TOO_LONG,
            End::LockLost => exit::LOST,
        }
    }

    /// The signal of which holdlock dies, too.
    pub(super) fn kills_us(self) -> Option<u8> {
        match self {
            End::Signal(number) if [libc::SIGINT, libc::SIGQUIT].contains(&number.into()) => {
                Some(number)
            }
            _ => None,
        }
    }
}

/// A lock that can be lost while the command runs. The supervisor looks at it when a time is over
/// and when a signal arrives, SIGCHLD for example.
pub(super) trait Leash {
    /// For how long the command may go on, if nothing changes.
    fn left(&self) -> Duration;

    /// Why it may not go on. None: it may, after all.
    fn why_over(&self) -> Option<String>;

    /// Whether the command goes on without the lock.
    fn only_warns(&self) -> bool;

    /// From TERM to KILL. Zero: there is no TERM.
    fn kill_after(&self) -> Duration;
}

/// A job that has ended.
pub(super) struct Ended {
    pub(super) end: End,
    /// Continue a stopped holdlock.
    wakes: Vec<Wake>,
    /// Has to stay open as long as the lock is held: see [`Supervisor::waits_for`].
    _waits_for: Option<OwnedFd>,
}

impl Ended {
    /// Another command follows, and continues a stopped holdlock itself.
    pub(super) fn let_sleep(&mut self) {
        self.wakes.clear();
    }

    /// No other command follows: a stopped holdlock continues, to release the lock and to end.
    pub(super) fn stay_awake(&mut self) {
        for wake in self.wakes.drain(..) {
            wake.keep(TO_RELEASE);
        }
    }
}

/// What the command runs under.
pub(super) struct Terms<'a> {
    pub(super) duties: Duties,
    /// The time at which the lock was acquired.
    pub(super) since: Instant,
    pub(super) quiet: bool,
    pub(super) held: &'a [Held<'a>],
    /// If the lock can be lost.
    pub(super) leash: Option<&'a dyn Leash>,
}

/// Starts the command with `start` and stays until it has ended.
pub(super) fn supervise(
    terms: &Terms<'_>,
    start: impl FnOnce(&Blocked) -> Result<Child, Failure>,
) -> Result<Ended, Failure> {
    let Terms { duties, leash, .. } = *terms;
    // Before the command is started, so that no signal and no end of the command is missed.
    let signals =
        Blocked::new(&PASSED_ON).map_err(|error| Failure::system("cannot catch signals", error))?;
    let (mut job, adopted) = Job::begin();
    if duties.tree || duties.max_hold.is_some() || leash.is_some() {
        adopted
            .map_err(|error| Failure::system("cannot adopt the command's descendants", error))?;
    }
    let ending = Ending::new(duties, terms.since, terms.quiet);
    // Without a timer, a stopped holdlock finds out when it continues.
    let wake = leash.and_then(|leash| Wake::after(until_renewal(leash.left())).ok());
    let command = start(&signals)?;
    job.started(command.pid);
    let mut supervisor = Supervisor {
        tree: duties.tree,
        quiet: terms.quiet,
        held: terms.held,
        leash,
        wake,
        lost: false,
        signals,
        job,
        command: command.pid,
        waits_for: command.pidfd.filter(|_| !duties.tree),
        status: None,
        ending,
        late: false,
        asked: false,
        first_term: None,
        stop_asked: false,
        rest: None,
    };
    let end = supervisor.stay();
    let wakes = [supervisor.wake, supervisor.ending.wake];
    Ok(Ended {
        end: end.map_err(|error| Failure::system("cannot wait for the command", error))?,
        wakes: wakes.into_iter().flatten().collect(),
        _waits_for: supervisor.waits_for,
    })
}

/// When a stopped holdlock continues, if the command may go on for this long.
fn until_renewal(left: Duration) -> Duration {
    left - TO_RENEW.min(left / 2)
}

struct Supervisor<'a> {
    tree: bool,
    quiet: bool,
    held: &'a [Held<'a>],
    leash: Option<&'a dyn Leash>,
    /// Continues holdlock in time to renew the lock if somebody has stopped it: the command would
    /// go on, and the engine would give its lock to another process.
    wake: Option<Wake>,
    /// The lock was lost before the command's end.
    lost: bool,
    signals: Blocked,
    job: Job,
    command: Pid,
    /// Shows other processes (`inspect::waiting_ancestors`) that holdlock waits for this process
    /// only, and not for all processes that it has adopted. None if it waits for all of them.
    waits_for: Option<OwnedFd>,
    /// The status of the command, after it was reaped.
    status: Option<WaitStatus>,
    ending: Ending,
    /// The time limit was over before the command ended.
    late: bool,
    /// A signal to holdlock has asked for the end of the command.
    asked: bool,
    /// The time of the first TERM to holdlock.
    first_term: Option<Instant>,
    /// A TSTP came since the command last stopped.
    stop_asked: bool,
    /// The processes that are left after a signal has ended the command.
    rest: Option<Rest>,
}

impl Supervisor<'_> {
    fn stay(&mut self) -> io::Result<End> {
        loop {
            self.set_wake();
            let arrived = self.signals.next(self.pause()).unwrap_or_else(|_| {
                // A sandbox refuses it. Giving up would free the lock of a job that continues.
                std::thread::sleep(WITHOUT_SIGNALS);
                None
            });
            let arrived = arrived.filter(|arrived| arrived.number != libc::SIGCHLD);
            let is_one_of =
                |numbers: &[c_int]| arrived.is_some_and(|a| numbers.contains(&a.number));
            self.stop_asked |= is_one_of(&[libc::SIGTSTP]);
            self.asked |= is_one_of(&ENDING);
            // Before the children are reaped, because a signal may arrive just after the end of the
            // command.
            let no_children = self.reap()?;
            if let Some(arrived) = arrived {
                self.pass_on(arrived);
            }
            if let Some(status) = self.status
                && let Some(end) = self.end(status, no_children)
            {
                return Ok(end);
            }
            self.late |= self.ending.act(&self.job);
            self.look_at_lock();
        }
    }

    fn set_wake(&self) {
        if let (Some(wake), Some(leash)) = (&self.wake, self.leash) {
            let _ = wake.put_off(until_renewal(leash.left()));
        }
    }

    fn look_at_lock(&mut self) {
        let Some(leash) = self
            .leash
            .filter(|leash| !self.lost && leash.left().is_zero())
        else {
            return;
        };
        if let Some(why) = leash.why_over() {
            if leash.only_warns() {
                (self.leash, self.wake) = (None, None);
                exit::warn_later(&format!("{why}; the command continues without the lock"));
                return;
            }
            self.lost = true;
            self.wake = None;
            let kill_after = leash.kill_after();
            self.ending.begin_for_lost_lock(&self.job, &why, kill_after);
        }
    }

    fn pause(&self) -> Option<Duration> {
        let look = self.rest.as_ref().map(Rest::pause);
        let leash = self.leash.filter(|_| !self.lost).map(Leash::left);
        let pauses = [self.ending.pause(), look, leash];
        pauses.into_iter().flatten().min()
    }

    /// Collects the changes of our children, adopted ones included. Returns whether there are no
    /// children left.
    fn reap(&mut self) -> io::Result<bool> {
        loop {
            match wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
                Ok(Some((child, status))) if child == self.command && self.status.is_none() => {
                    match status.stopping_signal() {
                        Some(number) => self.stopped(number),
                        None => {
                            self.status = Some(status);
                            self.job.forget(child);
                        }
                    }
                }
                Ok(Some((child, status))) if !status.stopped() => self.job.forget(child),
                Ok(Some(_)) => {}
                Ok(None) => return Ok(false),
                Err(rustix::io::Errno::CHILD) => return Ok(true),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The end, if all processes for which holdlock waits have ended.
    fn end(&mut self, status: WaitStatus, no_children: bool) -> Option<End> {
        let end = self.meaning(status);
        let waits_for_all = self.tree || self.ending.has_begun();
        if end.releases() && !waits_for_all || self.job.is_over(no_children) {
            return Some(end);
        }
        if waits_for_all {
            return None;
        }
        let rest = self.rest.get_or_insert_with(|| Rest::new(self.held));
        let is_over = rest.keeps_the_lock(&self.job, self.command, end, self.quiet);
        is_over.then_some(end)
    }

    fn meaning(&self, status: WaitStatus) -> End {
        let byte = |number: i32| u8::try_from(number).unwrap_or(exit::OS_ERROR);
        if self.lost {
            return End::LockLost;
        }
        if self.late {
            return End::HeldTooLong;
        }
        if let Some(number) = status.terminating_signal() {
            return End::Signal(byte(number));
        }
        let code = status.exit_status().map_or(exit::OS_ERROR, byte);
        // Shells, holdlock and Java's virtual machine exit with these codes if a signal ended the
        // program that they ran.
        let means_a_signal = (128 + 1..128 + 32).contains(&code);
        // The signal that ended the command may have been sent to holdlock as well, and may still
        // be pending.
        if self.asked || means_a_signal || self.signals.is_pending(&ENDING) {
            End::AfterSignal(code)
        } else {
            End::Exited(code)
        }
    }

    fn pass_on(&mut self, arrived: Arrived) {
        // The terminal sent it to our group, which includes the command.
        if arrived.from_kernel {
            // Of the loss of the terminal the kernel tells only the leader of the session.
            if arrived.number == libc::SIGHUP && leads_session() {
                for signal in [Signal::HUP, Signal::CONT] {
                    self.send(signal);
                }
            }
            return;
        }
        let Some(signal) = Signal::from_named_raw(arrived.number) else {
            return;
        };
        if self.tree && signal == Signal::TERM && self.is_second_term() && !self.ending.has_begun()
        {
            return self.ending.begin(&self.job);
        }
        self.send(signal);
    }

    /// Sends a signal to the command, or to what is left of it.
    fn send(&self, signal: Signal) {
        if self.status.is_none() {
            // The signal cannot reach another process: the number stays in use until we reap the
            // command. It fails if the command has changed its user; nothing can be done about
            // that.
            let _ = kill_process(self.command, signal);
            return;
        }
        let receivers = match &self.rest {
            Some(rest) => rest.at_work(&self.job, self.command),
            None => self.job.receivers(),
        };
        for pid in receivers {
            let _ = self.job.send(pid, signal);
        }
    }

    /// Whether this TERM is a second request: it comes after the command has ended, or some time
    /// after the first TERM. timeout(1) sends two at once and means one.
    fn is_second_term(&mut self) -> bool {
        let Some(first) = self.first_term else {
            self.first_term = Some(Instant::now());
            return false;
        };
        self.status.is_some() || first.elapsed() >= ONE_TERM
    }

    /// The command was stopped. If job control stopped it, or if the command is in the foreground
    /// of a terminal, holdlock stops as well, because the shell watches holdlock. Elsewhere the
    /// sender of a SIGSTOP will continue only the command, and not holdlock. If the time limit ends
    /// meanwhile, `ending` continues holdlock.
    fn stopped(&mut self, number: c_int) {
        let by_job_control = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU].contains(&number);
        let asked = std::mem::take(&mut self.stop_asked);
        let stop = if by_job_control {
            number
        } else if asked || is_in_front(self.command) {
            libc::SIGTSTP
        } else {
            return;
        };
        // The command is stopped as well. A shell would take a holdlock that continues for a job
        // that continues.
        if let Some(wake) = &self.wake {
            wake.pause();
        }
        signals::stop(stop, false);
    }
}
