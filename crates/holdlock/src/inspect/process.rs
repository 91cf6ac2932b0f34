//! Processes: what they run, and for whom.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;

use super::proc_locks;
use crate::Mode;
use crate::sys::file::Identity;

/// A process that holds a lock or waits for it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Process {
    /// Its number, in our own pid namespace.
    pub pid: u32,
    /// The mode it holds or asks for.
    pub mode: Mode,
    /// Its command line, where it can be read; for a kernel thread or a zombie its name.
    pub command: Option<String>,
    /// The name of its user, or `uid N` where the user has none.
    pub user: Option<String>,
}

impl Process {
    /// None when there is no such process (any more).
    pub(crate) fn look_up(pid: u32, mode: Mode) -> Option<Process> {
        let metadata = fs::metadata(format!("/proc/{pid}")).ok()?;
        Some(Process {
            pid,
            mode,
            command: command(pid),
            user: Some(user_name(metadata.uid())),
        })
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {}", self.pid)?;
        if let Some(command) = &self.command {
            write!(f, " ({command})")?;
        }
        if let Some(user) = &self.user {
            write!(f, " of {user}")?;
        }
        Ok(())
    }
}

/// How many characters of a command line a message carries.
const COMMAND_LENGTH: usize = 120;

fn command(pid: u32) -> Option<String> {
    let words = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words = words.strip_suffix(b"\0").unwrap_or(&words);
    let text = if words.is_empty() {
        let name = fs::read(format!("/proc/{pid}/comm")).ok()?;
        String::from_utf8_lossy(name.trim_ascii()).into_owned()
    } else {
        String::from_utf8_lossy(words).replace('\0', " ")
    };
    // A process may call itself anything; a message stays one line and does not touch a terminal.
    let clean = text
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c });
    let mut short: String = clean.clone().take(COMMAND_LENGTH).collect();
    if clean.count() > COMMAND_LENGTH {
        short.push('…');
    }
    Some(short)
}

/// From /etc/passwd alone: a static program has no other name service.
fn user_name(uid: u32) -> String {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| format!("uid {uid}"))
}

/// The processes that have a locked description of this file open, as far as we
/// may look at them.
pub(crate) fn with_lock_open(file: Identity) -> Vec<Process> {
    pids()
        .filter_map(|pid| {
            let mode = fs::read_dir(format!("/proc/{pid}/fdinfo"))
                .ok()?
                .flatten()
                .find_map(|entry| lock_in(&fs::read_to_string(entry.path()).ok()?, file))?;
            Process::look_up(pid, mode)
        })
        .collect()
}

fn lock_in(fdinfo: &str, file: Identity) -> Option<Mode> {
    fdinfo
        .lines()
        .filter_map(|line| line.strip_prefix("lock:"))
        .filter_map(proc_locks::parse)
        .find(|entry| entry.is_on(file))
        .map(|entry| entry.mode)
}

/// All processes of this pid namespace.
pub(crate) fn pids() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}
