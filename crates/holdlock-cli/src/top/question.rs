//! The questions before a signal is sent to a holder: which signal, and whether to send it.
//!
//! As in `holdlock who --signal`, a pidfd refers to the holder from the question on, so the signal
//! cannot reach another process with the same number.

use std::os::fd::OwnedFd;

use holdlock::inspect::{self, FileId, Process};
use rustix::process::{Signal, pidfd_send_signal};

use super::keys::Key;
use super::model::{Host, Who};
use crate::exit::Failure;
use crate::show::job::brief;
use crate::who::{identified, signal_name, signal_named};

/// The signal, unless another one is typed.
const USUAL: &str = "TERM";

/// No signal's name is longer.
const LONGEST: usize = 12;

/// A question that is open.
pub(super) struct Question {
    file_id: FileId,
    pub(super) who: Who,
    handle: OwnedFd,
    stage: Stage,
}

enum Stage {
    /// Which signal: the text typed so far.
    Which(String),
    /// Whether to send it.
    Sure(Signal),
}

/// What a key does to a question.
pub(super) enum Answer {
    /// The question stays, perhaps with a remark.
    Stays(Option<String>),
    /// Nothing is to be sent.
    No,
    Yes,
}

impl Question {
    /// Opens the question for the first holder of a file, or returns why no signal can be sent.
    pub(super) fn about(host: &Host, file_id: FileId) -> Result<Question, String> {
        let file = host.file(file_id).ok_or("the lock is free")?;
        let (who, _) = file.holder().ok_or("the holder cannot be seen")?;
        if who.is_elsewhere {
            return Err(format!("no signal: {} does not run on this host", who.pid));
        }
        let us = std::process::id();
        if !inspect::is_proc_ours() {
            return Err("no signal: /proc is that of another PID namespace".into());
        }
        if who.pid == us || inspect::ancestors(us).contains(&who.pid) {
            return Err(format!("no signal: {} has started this command", who.pid));
        }
        let gone = || format!("no signal: {} has ended", who.pid);
        let mut process = Process::of(who.pid).ok_or_else(gone)?;
        process.started = who.started;
        let (_, handle) = identified(&process).ok_or_else(gone)?;
        Ok(Question {
            file_id,
            who: who.clone(),
            handle,
            stage: Stage::Which(String::new()),
        })
    }

    /// The question as it is shown.
    pub(super) fn text(&self) -> String {
        let Who {
            pid, user, command, ..
        } = &self.who;
        let inherited = if self.who.inherited {
            ", which only inherited the lock"
        } else {
            ""
        };
        let who = format!("{pid} {} ({user}{inherited})", brief(command));
        match &self.stage {
            Stage::Which(typed) if typed.is_empty() => {
                format!("Signal [{USUAL}]: _  Enter: next  Esc: cancel  to {who}")
            }
            Stage::Which(typed) => format!("Signal: {typed}_  Enter: next  Esc: cancel  to {who}"),
            Stage::Sure(signal) => format!("Send {} to {who}? [y/N]", signal_name(*signal)),
        }
    }

    pub(super) fn press(&mut self, key: Key) -> Answer {
        match (&mut self.stage, key) {
            (Stage::Sure(_), Key::Char('y' | 'Y')) => Answer::Yes,
            (Stage::Sure(_), _) | (_, Key::Esc) => Answer::No,
            (Stage::Which(typed), Key::Enter) => {
                let name = if typed.is_empty() { USUAL } else { typed };
                match signal_named(name) {
                    Ok(signal) => {
                        self.stage = Stage::Sure(signal);
                        Answer::Stays(None)
                    }
                    Err(why) => Answer::Stays(Some(format!("{name}: {why}"))),
                }
            }
            (Stage::Which(typed), key) => {
                match key {
                    Key::Char(c) if c.is_ascii_alphanumeric() && typed.len() < LONGEST => {
                        typed.push(c);
                    }
                    Key::Backspace => drop(typed.pop()),
                    Key::Erase => typed.clear(),
                    _ => {}
                }
                Answer::Stays(None)
            }
        }
    }

    /// Sends the signal if the process still holds the lock; the caller looks at the host after
    /// the answer. Returns the result in words.
    pub(super) fn send(&self, host: &Host) -> String {
        let Stage::Sure(signal) = self.stage else {
            return "nothing sent".into();
        };
        let pid = self.who.pid;
        let holds = host.file(self.file_id).is_some_and(|file| {
            let mut keepers = file.locks.iter().flat_map(|lock| &lock.keepers);
            keepers.any(|who| who.pid == pid && !who.is_elsewhere)
        });
        if !holds {
            return format!("{pid} has released the lock: nothing sent");
        }
        let name = signal_name(signal);
        match pidfd_send_signal(&self.handle, signal) {
            Ok(()) => format!("{name} sent to {pid}"),
            Err(error) => Failure::system(&format!("cannot send {name} to {pid}"), error).message,
        }
    }
}
