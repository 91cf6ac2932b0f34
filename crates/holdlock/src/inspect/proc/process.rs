//! Describes processes: command, user, start and state.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, SystemTime};

use super::file_id::field;
use super::{parallel, proc_file};
use crate::inspect::printable;
use crate::sys::process::{effective_user, exists};
use crate::sys::{clock, directory};

/// A process that holds a lock or waits for it.
///
/// A field is `None` if the library could not read it: the process has ended meanwhile, or /proc is
/// mounted with the option hidepid.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Process {
    /// The number of the process in our own PID namespace.
    pub pid: u32,
    /// The command line, shortened and [printable](crate::inspect::printable()). For a kernel
    /// thread or a zombie: its name.
    pub command: Option<String>,
    /// The name of the process's (effective) user, printable. `uid N` for a user without a name.
    pub user: Option<String>,
    /// The number of the process's (effective) user.
    pub uid: Option<u32>,
    /// When the process was started. The kernel does not record when a process acquired a lock.
    #[cfg_attr(
        feature = "serde",
        serde(serialize_with = "crate::inspect::serialize::time")
    )]
    pub started: Option<SystemTime>,
    /// What the process is doing.
    pub state: Option<State>,
    /// The parent: the process that started this one, or that adopted it.
    pub parent: Option<u32>,
}

const KTHREADD: u32 = 2;

/// What a process is doing, from /proc/PID/status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "lowercase")
)]
#[non_exhaustive]
pub enum State {
    /// The process runs, or is ready to run.
    Running,
    /// The process waits for an event.
    Sleeping,
    /// The process waits for a disk or a server. A signal does not end this wait.
    Uninterruptible,
    /// A signal has stopped the process. It keeps its locks while it is stopped.
    Stopped,
    /// A debugger has stopped the process.
    Traced,
    /// The process has ended, but its parent has not collected its exit status yet. It holds
    /// nothing.
    Zombie,
    /// Another state.
    Other,
}

impl State {
    fn of(letter: &str) -> State {
        match letter {
            "R" => State::Running,
            "S" | "I" => State::Sleeping,
            "D" => State::Uninterruptible,
            "T" => State::Stopped,
            "t" => State::Traced,
            "Z" | "X" | "x" => State::Zombie,
            _ => State::Other,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            State::Running => "running",
            State::Sleeping => "sleeping",
            State::Uninterruptible => "uninterruptible",
            State::Stopped => "stopped",
            State::Traced => "traced",
            State::Zombie => "zombie",
            State::Other => "other",
        })
    }
}

impl Process {
    /// Looks up a process. `None` if there is no process with this number.
    pub fn of(pid: u32) -> Option<Process> {
        ProcessCache::default().look_up(pid)
    }

    /// Whether the process is a kernel thread.
    pub(crate) fn is_of_the_kernel(&self) -> bool {
        // Kernel threads are children of kthreadd.
        self.pid == KTHREADD
            || self.parent == Some(KTHREADD) && self.uid == Some(0) && {
                let program = fs::read_link(format!("/proc/{}/exe", self.pid));
                program.is_err()
            }
    }

    /// The control group of the process, for example `/system.slice/cron.service`, printable.
    pub fn cgroup(&self) -> Option<String> {
        let text = proc_file::read_text(format!("/proc/{}/cgroup", self.pid)).ok()?;
        let line = text.lines().rev().find_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (number, controllers) = (fields.next()?, fields.next()?);
            (number == "0" || controllers == "name=systemd").then(|| fields.next())?
        });
        line.map(|line| printable(line).to_string())
    }

    /// The container of the process: the first twelve digits of the number that docker, podman or
    /// containerd gives it. `None` if the control group does not contain such a number.
    pub fn container(&self) -> Option<String> {
        container_in(&self.cgroup()?)
    }
}

/// Finds a number of 64 hexadecimal digits.
fn container_in(cgroup: &str) -> Option<String> {
    cgroup
        .split(|c: char| !c.is_ascii_hexdigit())
        .find(|word| word.len() == 64)
        .map(|word| word[..12].to_owned())
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {}", self.pid)?;
        if let Some(command) = &self.command {
            write!(f, " ({})", printable(command))?;
        }
        if let Some(user) = &self.user {
            write!(f, " of {}", printable(user))?;
        }
        match self.state {
            Some(State::Stopped) => f.write_str(", stopped"),
            Some(State::Uninterruptible) => f.write_str(", in an uninterruptible sleep"),
            _ => Ok(()),
        }
    }
}

/// Looks up processes. Reads the facts that are the same for all of them only once.
#[derive(Default)]
pub(crate) struct ProcessCache {
    facts: OnceCell<HostFacts>,
    known: HashMap<u32, Option<Process>>,
}

impl ProcessCache {
    pub(crate) fn look_up(&mut self, pid: u32) -> Option<Process> {
        let facts = self.facts.get_or_init(HostFacts::read);
        let known = self.known.entry(pid);
        known.or_insert_with(|| facts.process(pid)).clone()
    }

    /// Looks up many processes at once, in advance.
    pub(crate) fn prepare(&mut self, mut pids: Vec<u32>) {
        pids.retain(|pid| !self.known.contains_key(pid));
        let facts = self.facts.get_or_init(HostFacts::read);
        let processes = parallel::map(&pids, |pid| facts.process(*pid));
        self.known.extend(pids.into_iter().zip(processes));
    }
}

/// The facts that are the same for all processes.
struct HostFacts {
    users: HashMap<u32, String>,
    booted: Option<SystemTime>,
}

impl HostFacts {
    fn read() -> HostFacts {
        let passwd = passwd();
        let mut names = HashMap::new();
        for (uid, name) in users(&passwd) {
            let name = || printable(name).to_string();
            names.entry(uid).or_insert_with(name);
        }
        HostFacts {
            users: names,
            booted: boot_time(),
        }
    }

    fn process(&self, pid: u32) -> Option<Process> {
        let Ok(status) = proc_file::read_text(format!("/proc/{pid}/status")) else {
            // The process is hidden from the caller, or has ended.
            return exists(pid).then(|| unknown(pid));
        };
        let state = status.lines().find_map(|line| line.strip_prefix("State:"));
        let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
        let uid = uids.and_then(|line| line.split_ascii_whitespace().nth(1)?.parse().ok());
        Some(Process {
            command: command(pid),
            user: uid.map(|uid| self.user(uid)),
            uid,
            started: self.started(pid),
            state: state.and_then(|line| Some(State::of(line.split_ascii_whitespace().next()?))),
            parent: field(&status, "PPid:").filter(|parent| *parent != 0),
            ..unknown(pid)
        })
    }

    fn user(&self, uid: u32) -> String {
        let name = self.users.get(&uid);
        name.map_or_else(|| unnamed(uid), Clone::clone)
    }

    fn started(&self, pid: u32) -> Option<SystemTime> {
        let ticks = super::ancestors::start_time(pid)?;
        self.booted?.checked_add(Duration::from_secs_f64(
            ticks as f64 / clock::ticks_per_second(),
        ))
    }
}

fn unknown(pid: u32) -> Process {
    Process {
        pid,
        command: None,
        user: None,
        uid: None,
        started: None,
        state: None,
        parent: None,
    }
}

/// The time of the boot by the wall clock, as that clock is set now.
fn boot_time() -> Option<SystemTime> {
    // On a busy machine the thread may lose the processor between the two clocks. Start times that
    // differ by as much as 0.1 s are those of different processes.
    let looks = (0..20).map(|_| {
        let since_boot = clock::boot_microseconds();
        let now = SystemTime::now();
        let took = clock::boot_microseconds().saturating_sub(since_boot);
        (took, since_boot, now)
    });
    let (_, since_boot, now) = looks.min_by_key(|(took, ..)| *took)?;
    now.checked_sub(Duration::from_micros(since_boot))
}

/// The number of characters of a command line that are kept.
const COMMAND_LENGTH: usize = 120;

/// The command line of a process, which /proc has by this name.
fn command(process: impl fmt::Display) -> Option<String> {
    let words = proc_file::read(format!("/proc/{process}/cmdline")).ok()?;
    let words = words.strip_suffix(b"\0").unwrap_or(&words);
    let text = if words.is_empty() {
        let name = proc_file::read(format!("/proc/{process}/comm")).ok()?;
        name.strip_suffix(b"\n").unwrap_or(&name).to_vec()
    } else {
        // Do not examine bytes that would be cut off anyway.
        let words = &words[..words.len().min(4 * COMMAND_LENGTH + 4)];
        let space = |byte: &u8| if *byte == 0 { b' ' } else { *byte };
        words.iter().map(space).collect()
    };
    Some(printable(OsStr::from_bytes(&text)).prefix(COMMAND_LENGTH))
}

/// The command line and the user of this process, as a [`Process`] has them. Reads less than the
/// description of another process.
pub(crate) fn this_process() -> (Option<String>, String) {
    let us = effective_user();
    let passwd = passwd();
    let user = users(&passwd).find(|(uid, _)| *uid == us);
    let user = user.map_or_else(|| unnamed(us), |(_, name)| printable(name).to_string());
    (command("self"), user)
}

fn unnamed(uid: u32) -> String {
    format!("uid {uid}")
}

/// The text of /etc/passwd. A static program has no other name service.
fn passwd() -> String {
    let passwd = fs::read("/etc/passwd").unwrap_or_default();
    String::from_utf8_lossy(&passwd).into_owned()
}

/// The numbers and names of the users.
fn users(passwd: &str) -> impl Iterator<Item = (u32, &str)> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, uid) = (fields.next()?, fields.nth(1)?);
        Some((uid.parse().ok()?, name))
    })
}

/// Whether /proc shows processes by the numbers that system calls of this process use. It does not
/// if it is missing, or if it belongs to another PID namespace: in `unshare --pid` without
/// `--mount-proc`, or in a sandbox that shows the host's /proc.
pub fn is_proc_ours() -> bool {
    let us = std::process::id().to_string();
    fs::read_link("/proc/self").is_ok_and(|link| link.as_os_str() == us.as_str())
}

/// The processes of this PID namespace that the caller can see.
pub(crate) fn pids() -> impl Iterator<Item = u32> {
    directory::numbers("/proc").into_iter().flatten()
}

/// The number of the process or thread that was started last.
pub(crate) fn newest() -> Option<u32> {
    let text = proc_file::read_text("/proc/loadavg").ok()?;
    text.split_ascii_whitespace().next_back()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_the_boot_is_the_same_at_each_look() {
        let looks = (0..50).map(|_| {
            std::thread::sleep(Duration::from_millis(1));
            boot_time().expect("after 1970")
        });
        let looks: Vec<SystemTime> = looks.collect();
        let first = looks.iter().min().expect("some");
        let last = looks.iter().max().expect("some");
        let spread = last.duration_since(*first).expect("later");
        assert!(spread < Duration::from_millis(5), "{spread:?}");
    }

    #[test]
    fn this_process_is_described() {
        let us = Process::of(std::process::id()).expect("we run");
        assert_eq!(us.parent, Some(std::os::unix::process::parent_id()));
        let started = us.started.expect("we were started");
        let age = started.elapsed().expect("in the past");
        assert!(age < Duration::from_secs(3600), "{age:?}");
        let (command, user) = this_process();
        assert_eq!(us.command, command);
        assert!(command.is_some_and(|command| command.contains("holdlock")));
        assert!(us.state.is_some());
        assert_eq!(Some(user), us.user);
    }

    #[test]
    fn containers_are_recognised() {
        let id = "0123456789abcdef".repeat(4);
        for cgroup in [
            format!("/docker/{id}"),
            format!("/system.slice/docker-{id}.scope"),
            format!("/kubepods.slice/kubepods-pod12_34.slice/cri-containerd-{id}.scope"),
        ] {
            assert_eq!(
                container_in(&cgroup).as_deref(),
                Some("0123456789ab"),
                "{cgroup}"
            );
        }
        assert_eq!(container_in("/user.slice/session-4.scope"), None);
    }
}
