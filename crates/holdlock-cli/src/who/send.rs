//! Sending a signal to the holders of a lock, and to no other process.
//!
//! A process number may belong to another process by the time a signal is sent. Therefore a pidfd
//! of each holder is opened when the holder is shown, and its start time is compared. Just before
//! the signal is sent, it must still be a holder: while the process of the pidfd lives, no other
//! process can have its number.
//!
//! Not every holder has acquired the lock itself: a user who can open a lock file can acquire the
//! lock and hand the descriptor to a process of another user, which then keeps the lock. Such a
//! process gets a signal only if the user has seen that it only inherited the lock. The kernel does
//! not name the taker of an OFD lock, so any holder of one may be such a process.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::time::{Duration, SystemTime};

use holdlock::inspect::{self, Process, State};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::signal::name;
use super::view::{Origin, View};
use crate::exit::{self, Failure};
use crate::show::text;

/// The signals to which the user has agreed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Consent {
    /// No signal yet: the user is asked on the terminal.
    Asked,
    /// Signals to all holders.
    Given,
    /// Signals to the holders that acquired the lock themselves, because no process was shown.
    ToTakers,
}

/// A holder that was shown.
struct Target<'v> {
    process: &'v Process,
    origin: Origin,
    pid: Pid,
    handle: OwnedFd,
}

/// Sends the signal to the holders, and returns the processes that got it.
pub(super) fn send(view: &View, signal: Signal, consent: Consent) -> Result<Vec<Pid>, Failure> {
    let targets = targets(view, consent);
    let asks = consent == Consent::Asked;
    if targets.is_empty()
        || asks && !is_wanted(&targets.iter().map(called).collect::<Vec<_>>(), signal)?
    {
        exit::warn(&format!("{}: nothing sent", text::path(&view.path)));
        return Ok(Vec::new());
    }
    let now = View::of(view.path.clone())?;
    let mut sent = Vec::new();
    let mut failed = Vec::new();
    for target in &targets {
        let shown = text::process(target.process);
        let holds = now
            .holders()
            .iter()
            .any(|holder| holder.pid == target.process.pid);
        if !holds {
            exit::warn(&format!(
                "{shown} no longer holds the lock: nothing sent to it"
            ));
            continue;
        }
        match pidfd_send_signal(&target.handle, signal) {
            Ok(()) => {
                exit::warn(&format!(
                    "{} sent to {shown}{}",
                    name(signal),
                    delay(target, signal)
                ));
                sent.push(target.pid);
            }
            // It has ended by itself.
            Err(Errno::SRCH) => {}
            Err(error) => failed.push(format!("cannot send {} to {shown}: {error}", name(signal))),
        }
    }
    match failed.pop() {
        None => Ok(sent),
        Some(last) => {
            failed.iter().for_each(|message| exit::warn(message));
            Err(Failure::new(exit::OS_ERROR, last))
        }
    }
}

/// The holders, except for ourselves, our ancestors, and those to which the user has not agreed.
fn targets(view: &View, consent: Consent) -> Vec<Target<'_>> {
    let us = std::process::id();
    let family = inspect::ancestors(us);
    let is_proc_ours = inspect::is_proc_ours();
    let mut targets = Vec::new();
    for process in view.holders() {
        let origin = view.origin(process);
        let refused = if !is_proc_ours {
            "has another number here, because /proc belongs to another PID namespace"
        } else if process.pid == us || family.contains(&process.pid) {
            "has started this command (or is this command)"
        } else if origin == Origin::Inherited && consent == Consent::ToTakers {
            "only inherited the lock, and was not shown"
        } else if origin == Origin::Unknown && consent == Consent::ToTakers {
            "may have only inherited the lock (the kernel does not name the taker of an OFD lock), \
             and was not shown"
        } else if let Some((pid, handle)) = identified(process) {
            targets.push(Target {
                process,
                origin,
                pid,
                handle,
            });
            continue;
        } else {
            "has ended, or may be another process by now"
        };
        let shown = text::process(process);
        exit::warn(&format!("{shown} {refused}: nothing is sent to it"));
    }
    targets
}

/// A pidfd of the process that was shown. None if the process that has its number now started at
/// another time.
pub(crate) fn identified(process: &Process) -> Option<(Pid, OwnedFd)> {
    let pid = Pid::from_raw(process.pid.try_into().ok()?)?;
    let handle = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    let now = Process::of(process.pid)?;
    is_same_start(process.started?, now.started?).then_some((pid, handle))
}

/// The start is computed from the time since boot, which has hundredths of a second.
fn is_same_start(before: SystemTime, now: SystemTime) -> bool {
    let apart = now
        .duration_since(before)
        .or_else(|_| before.duration_since(now));
    apart.is_ok_and(|apart| apart < Duration::from_millis(100))
}

/// A holder in the question.
fn called(target: &Target<'_>) -> String {
    let how = match target.origin {
        Origin::Taken => "",
        Origin::Unknown => " (which may have only inherited the OFD lock)",
        Origin::Inherited => " (which only inherited the lock)",
    };
    text::process(target.process) + how
}

/// Asks on the controlling terminal; standard input and output may be elsewhere.
pub(super) fn is_wanted(receivers: &[String], signal: Signal) -> Result<bool, Failure> {
    let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty");
    let Ok(mut terminal) = terminal else {
        return Err(Failure::usage(
            "there is no terminal to ask whether to send the signal; --yes sends it without asking",
        ));
    };
    let receivers = receivers.join(" and to ");
    let question = format!("send {} to {receivers}? [y/N] ", name(signal));
    let mut answer = String::new();
    terminal
        .write_all(question.as_bytes())
        .and_then(|()| BufReader::new(terminal).read_line(&mut answer))
        .map_err(|error| Failure::system("cannot ask on the terminal", error))?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}

/// A stopped process takes most signals only when it continues.
fn delay(target: &Target<'_>, signal: Signal) -> &'static str {
    let stopped = target.process.state == Some(State::Stopped);
    let works = [Signal::KILL, Signal::CONT, Signal::STOP].contains(&signal);
    if stopped && !works {
        "; it takes effect when the process continues (CONT)"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_the_same_within_what_the_clock_tells() {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let later = |millis| start + Duration::from_millis(millis);
        assert!(is_same_start(start, later(10)) && is_same_start(later(10), start));
        assert!(!is_same_start(start, later(200)));
    }
}
