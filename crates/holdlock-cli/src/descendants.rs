//! The processes that a process has started, and those that they have started.

use std::ffi::OsString;
use std::fs;
use std::io;

use holdlock::inspect;
use rustix::process::Pid;

/// All living descendants and zombies, except the children in `without`; parents before their
/// children. A process that is started meanwhile may be missing.
///
/// None if they cannot be listed: /proc is not mounted, or belongs to another PID namespace, or no
/// descriptor is free to read it.
pub(crate) fn of(pid: Pid, without: &[Pid]) -> Option<Vec<Pid>> {
    if !inspect::is_proc_ours() {
        return None;
    }
    let mut found = match children(pid) {
        // Not listed by this kernel (`CONFIG_PROC_CHILDREN`).
        Err(error) if is_gone(&error) => return search_all(pid).ok(),
        found => found.ok()?,
    };
    found.retain(|child| !without.contains(child));
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        let below = match children(*pid) {
            Err(error) if is_gone(&error) => Vec::new(),
            below => below.ok()?,
        };
        // A process that gets another parent meanwhile is seen twice.
        let new: Vec<Pid> = below
            .into_iter()
            .filter(|pid| !found.contains(pid))
            .collect();
        found.extend(new);
        next += 1;
    }
    Some(found)
}

/// Whether the error says that the process or the file does not exist.
fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOENT | libc::ESRCH | libc::ENOTDIR)
    )
}

/// The children of all threads of a process, and some that have just ended.
pub(crate) fn children(of: Pid) -> io::Result<Vec<Pid>> {
    const TRIES: usize = 5;
    let mut family = list_family(of)?;
    let mut found = Vec::new();
    for _ in 0..TRIES {
        let all = family.iter().flat_map(|(_, children)| children.iter());
        let new: Vec<Pid> = all
            .flatten()
            .filter(|pid| !found.contains(*pid))
            .copied()
            .collect();
        found.extend(new);
        // The kernel skips a living thread or child if the one before it ends during the listing.
        // And the children of a thread that ends go to another thread, which may have been read
        // before. In each case the next list lacks the one that has ended: a list that is equal to
        // the one before it is complete.
        let last = family;
        family = match list_family(of) {
            Err(error) if is_gone(&error) => break,
            next => next?,
        };
        if family == last {
            break;
        }
    }
    Ok(found)
}

/// The threads of a process, each with its children; without them if the thread has ended.
type Family = Vec<(OsString, Option<Vec<Pid>>)>;

fn list_family(of: Pid) -> io::Result<Family> {
    let mut family = Family::new();
    let mut gone = None;
    for task in fs::read_dir(format!("/proc/{of}/task"))? {
        let task = task?;
        let children = match fs::read_to_string(task.path().join("children")) {
            Ok(list) => Some(pids(&list)),
            Err(error) if is_gone(&error) => {
                gone = Some(error);
                None
            }
            Err(error) => return Err(error),
        };
        family.push((task.file_name(), children));
    }
    let has_any = family.iter().any(|(_, children)| children.is_some());
    match gone {
        Some(error) if !has_any => Err(error),
        _ => Ok(family),
    }
}

fn pids(list: &str) -> Vec<Pid> {
    let numbers = list.split_ascii_whitespace();
    numbers
        .filter_map(|number| Pid::from_raw(number.parse().ok()?))
        .collect()
}

/// The same from all processes of the host.
fn search_all(us: Pid) -> io::Result<Vec<Pid>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let pid = name.to_str().and_then(|name| name.parse().ok());
        let pid = pid.and_then(Pid::from_raw);
        found.extend(pid.filter(|pid| descends_from(*pid, us)));
    }
    Ok(found)
}

pub(crate) fn descends_from(pid: Pid, us: Pid) -> bool {
    inspect::ancestors(number(pid)).contains(&number(us))
}

/// Process numbers are never negative.
pub(crate) fn number(pid: Pid) -> u32 {
    pid.as_raw_pid().unsigned_abs()
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use rustix::process::getpid;

    use super::*;

    #[test]
    fn both_ways_find_the_children_of_children() {
        let mut child = Command::new("sh")
            .args(["-c", "sh -c 'echo; read line; :'; :"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh starts");
        let mut ready = [0];
        let stdout = child.stdout.as_mut().expect("piped");
        io::Read::read_exact(stdout, &mut ready).expect("it runs");
        let outer = Pid::from_child(&child);
        let inner = children(outer).expect("listed");
        assert_eq!(inner.len(), 1, "{inner:?}");
        let both = [of(getpid(), &[]), search_all(getpid()).ok()];
        for found in both.map(|found| found.expect("listed")) {
            assert!(found.contains(&outer), "{found:?}");
            assert!(found.contains(&inner[0]), "{found:?}");
        }
        drop(child.stdin.take());
        child.wait().expect("it ends");
    }

    /// A child that ends when its input is closed.
    fn cat() -> Child {
        let mut cat = Command::new("cat");
        let cat = cat.stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
        cat.expect("cat starts")
    }

    fn end(mut child: Child) {
        drop(child.stdin.take());
        child.wait().expect("it ends");
    }

    /// The kernel lists children in the order of their birth, and skips one if the one before it is
    /// reaped at that moment.
    #[test]
    fn a_child_is_found_although_the_one_before_it_is_reaped() {
        const ROUNDS: usize = 60;
        let (living, is_over) = (Mutex::new(Vec::new()), AtomicBool::new(false));
        let living_now = || living.lock().unwrap().clone();
        thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    let children = [(); 20].map(|()| cat());
                    living
                        .lock()
                        .unwrap()
                        .extend(children.iter().map(Pid::from_child));
                    for child in children {
                        living.lock().unwrap().remove(0);
                        end(child);
                    }
                }
                is_over.store(true, Ordering::SeqCst);
            });
            while !is_over.load(Ordering::SeqCst) {
                let before = living_now();
                let found = children(getpid()).expect("listed");
                let after = living_now();
                let mut lived = before.iter().filter(|pid| after.contains(pid));
                assert!(lived.all(|pid| found.contains(pid)), "{before:?} {found:?}");
            }
        });
    }
}
