//! Two processes try locks on a temporary file.

use std::fs::File;
use std::thread;
use std::time::{Duration, Instant};

use holdlock::Family;

use super::family;
use super::finding::Finding;
use super::partner::Partner;
use crate::sys::range::Kind::{Exclusive, Shared, Unlock};

/// How long a server may take to notice that a holder is dead.
const DEATH: Duration = Duration::from_secs(2);

/// What two processes saw of one family.
pub(super) fn try_out(file: &File, family: Family) -> Finding {
    let id = format!("exclusion-{}", family::name(family));
    let name = family::title(family);
    match rules_kept(file, family) {
        Ok(()) => {
            let found = format!(
                "{name} locks exclude, are shared, released, and freed when the holder is killed"
            );
            Finding::ok(&id, found)
        }
        Err(broken) if family == Family::Flock => {
            Finding::not_safe(&id, format!("{name} locks: {broken}"))
                .remedy("keep the lock file on another file system, such as that of /run/lock")
        }
        // Only a program that asks for OFD locks needs them.
        Err(broken) => Finding::warning(&id, format!("{name} locks: {broken}"))
            .remedy("use flock, which is the default of holdlock"),
    }
}

/// Tries each rule; the error names the first broken one.
fn rules_kept(file: &File, family: Family) -> Result<(), String> {
    let broken = |what: &str| Err(what.to_owned());
    let mut first = Partner::start(file, family)?;
    let mut second = Partner::start(file, family)?;
    if !first.does(Exclusive)? {
        return broken("a free lock cannot be acquired");
    }
    if second.does(Exclusive)? {
        return broken("two processes had an exclusive lock at the same time");
    }
    if second.does(Shared)? {
        return broken("an exclusive and a shared lock were held at the same time");
    }
    first.does(Unlock)?;
    if !second.does(Exclusive)? {
        return broken("a released lock cannot be acquired");
    }
    second.does(Unlock)?;
    if !first.does(Shared)? || !second.does(Shared)? {
        return broken("two processes cannot share a lock");
    }
    second.does(Unlock)?;
    if second.does(Exclusive)? {
        return broken("an exclusive lock was acquired while another process shared it");
    }
    first.does(Unlock)?;
    if !first.does(Exclusive)? {
        return broken("a lock cannot be acquired after all holders have released it");
    }
    first.kill();
    if !becomes_free(&mut second)? {
        return broken("the lock of a killed process stays held");
    }
    Ok(())
}

fn becomes_free(partner: &mut Partner) -> Result<bool, String> {
    let deadline = Instant::now() + DEATH;
    while !partner.does(Exclusive)? {
        if Instant::now() > deadline {
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(true)
}

/// Whether the families exclude each other, as some servers make them.
pub(super) fn interference(file: &File) -> Option<Finding> {
    let seen = || -> Result<bool, String> {
        let mut flock = Partner::start(file, Family::Flock)?;
        let mut ofd = Partner::start(file, Family::Ofd)?;
        Ok(flock.does(Exclusive)? && !ofd.does(Exclusive)?)
    };
    // If one of them does not work, another finding says so.
    seen().unwrap_or(false).then(|| {
        let found = "flock and fcntl locks exclude each other here, as on NFS: a program that \
                     takes both on one file blocks itself";
        Finding::note("families", found)
    })
}
