//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::cases::{self, Case};

pub(crate) const HELP: &str = "\
holdlock-bench [CASE…] [--quick] [--json] [--holdlock PATH] [--python DIR] [--rust-peers PATH]

Cases (all of them when none is named):
  cycle      uncontended lock and unlock, file kept open
  identity   ways to check that a locked file is still the one at its path
  record     what LockOptions::record costs
  slots      a slot of four: the library against semaphores of Python's modules,
             `holdlock run --slots` against GNU sem
  fair       32 processes in a tight loop: whether each gets its share
  sets       two locks at once and upgrades; 8 processes with overlapping sets
  try        a failed try
  handoff    from the release in one process until another process has the lock
  threads    8 threads of one process
  processes  2 processes of 4 threads each
  waiters    processor time of 100 waiters
  deadline   how late a wait ends after its deadline
  cli        `holdlock run` and `flock` by holdlock against util-linux flock, setlock,
             s6-setlock, lckdo: time, system calls, memory while waiting, hand-off
  inspect    listing holders, with 500 processes and up to 10 000 locks: `holdlock who`,
             `holdlock list` and the library's call against lslocks
  missing    the first acquisition, which creates the lock file, with up to 10 000 other locks held
  python     the Python module against filelock, portalocker, fasteners and fcntl.flock, and its
             system calls alone; also runs python-many
  python-many
             the Python module against filelock: 1000 tasks that wait for 100 locks with 1024
             descriptors, 5000 released locks, and a new lock file while others hold 5000 locks
  readers    its reader/writer lock against those of filelock and fasteners
  more       stands for record, slots, sets, fair and readers
  engines    only if named: locks on PostgreSQL, etcd and Redis, started on this machine, against
             etcdctl lock, redis-py, python-redis-lock, portalocker, pg_advisory_lock, and
             the crates rslock and distributed-lock

  --quick          fewer samples, about 80 seconds in all; else about 7 minutes
  --json           the results as one JSON document
  --holdlock PATH  the command for the case `cli`; otherwise the one built
                   with the profile dist, or beside this program
  --python DIR     the Python packages for the cases in Python, a directory each;
                   `cargo xtask bench` installs them
  --rust-peers PATH  the program of crates/bench/rust-peers for `engines`;
                   `cargo xtask bench` builds it

The lock files are in a fresh directory under TMPDIR. A missed goal is reported and
does not change the exit status; a broken exclusion does.
";

pub(crate) enum Command {
    Help,
    Measure(Args),
}

pub(crate) struct Args {
    pub(crate) cases: Vec<&'static Case>,
    pub(crate) quick: bool,
    pub(crate) json: bool,
    pub(crate) holdlock: Option<PathBuf>,
    pub(crate) python: Option<PathBuf>,
    pub(crate) rust_peers: Option<PathBuf>,
}

pub(crate) fn parse(mut words: impl Iterator<Item = OsString>) -> Result<Command, String> {
    let mut args = Args {
        cases: Vec::new(),
        quick: false,
        json: false,
        holdlock: None,
        python: None,
        rust_peers: None,
    };
    while let Some(word) = words.next() {
        match word.to_str() {
            Some("-h" | "--help") => return Ok(Command::Help),
            Some("--quick") => args.quick = true,
            Some("--json") => args.json = true,
            Some("--holdlock") => {
                let path = words.next().ok_or("--holdlock needs a path")?;
                args.holdlock = Some(path.into());
            }
            Some("--python") => {
                let path = words.next().ok_or("--python needs a path")?;
                args.python = Some(path.into());
            }
            Some("--rust-peers") => {
                let path = words.next().ok_or("--rust-peers needs a path")?;
                args.rust_peers = Some(path.into());
            }
            Some("more") => args.cases.extend(named(&cases::MORE)),
            Some("python") => args.cases.extend(named(&cases::PYTHON)),
            _ => {
                let mut known = cases::ALL.iter().chain(cases::ON_DEMAND);
                let case = known.find(|case| word == case.name);
                args.cases
                    .push(case.ok_or_else(|| format!("no such case or option: {word:?}"))?);
            }
        }
    }
    if args.cases.is_empty() {
        args.cases = cases::ALL.iter().collect();
    }
    Ok(Command::Measure(args))
}

/// The cases with these names.
fn named(names: &[&str]) -> impl Iterator<Item = &'static Case> {
    cases::ALL.iter().filter(|case| names.contains(&case.name))
}
