//! A process that acquires and gives back one slot, as its standard input says:
//! `slot-actor PATH SLOTS [no-signals] [threads]`.
//!
//! Orders: `lock`, `try`, `for MS`, `release`, `current`, `remove` (the lock file), `fork` (a child
//! that sleeps until it is killed), `bare-fork` (the same without the handlers of fork), `fds` (how
//! many descriptors and threads the process has), `hand-over` (to a child that sleeps), `also PATH`
//! (acquires the exclusive lock of another file, and keeps it), `release-also`. Answers:
//! `ok`, `ok SLOT`, or the error's kind and message.
//!
//! `slot-actor worker DIRECTORY SLOTS` is a worker of a trial: it runs until it is killed.

use std::io::{BufRead, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use holdlock::{CancelToken, Error, FileLock, LockOptions, Request, Semaphore, SemaphoreGuard};
use holdlock_conformance::sys;
use holdlock_conformance::witness::Witness;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments[0] == "worker" {
        let slots = arguments[2].parse().expect("a number");
        return work(Path::new(&arguments[1]), slots);
    }
    let mut options = LockOptions::new();
    if arguments[2..].iter().any(|it| it == "no-signals") {
        options = options.signals(false);
    }
    let slots = arguments[1].parse().expect("a number");
    let semaphore = match options.open_semaphore(&arguments[0], slots) {
        Ok(semaphore) => semaphore,
        Err(error) => return say(&format!("{error:?}")),
    };
    say("ready");
    let mut held = None;
    let mut also = None;
    for order in std::io::stdin().lock().lines().map_while(Result::ok) {
        let answer =
            match order.split_once(' ') {
                Some(("also", path)) => FileLock::open(path)
                    .and_then(|lock| lock.lock_owned())
                    .map(|guard| {
                        also = Some(guard);
                        "ok".into()
                    }),
                _ if order == "release-also" => {
                    drop(also.take());
                    Ok("ok".into())
                }
                _ => obey(&order, &semaphore, &mut held),
            };
        say(&answer.unwrap_or_else(|error| format!("{error:?}")));
    }
}

fn obey<'s>(
    order: &str,
    semaphore: &'s Semaphore,
    held: &mut Option<SemaphoreGuard<'s>>,
) -> Result<String, Error> {
    let (order, operand) = order.split_once(' ').unwrap_or((order, ""));
    let guard = match order {
        "lock" => semaphore.lock()?,
        "try" => semaphore.try_lock()?,
        "for" => {
            semaphore.try_lock_for(Duration::from_millis(operand.parse().expect("a number")))?
        }
        _ => return act(order, semaphore, held),
    };
    let answer = format!("ok {}", guard.slot());
    *held = Some(guard);
    Ok(answer)
}

fn act(
    order: &str,
    semaphore: &Semaphore,
    held: &mut Option<SemaphoreGuard<'_>>,
) -> Result<String, Error> {
    match order {
        "release" => held.take().expect("a guard").release()?,
        "current" => return Ok(held.as_ref().expect("a guard").is_current()?.to_string()),
        "remove" => std::fs::remove_file(semaphore.path()).expect("removed"),
        "fork" => return Ok(sys::fork(sys::sleep_until_killed).pid().to_string()),
        "bare-fork" => return Ok(sys::bare_fork(sys::sleep_until_killed).pid().to_string()),
        "hand-over" => {
            let descriptor = held.take().expect("a guard").hand_over()?;
            let child = Command::new("sleep")
                .arg("60")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn();
            drop(descriptor);
            return Ok(child.expect("sleep").id().to_string());
        }
        "threads-and-files" => {
            let entries = |what| {
                std::fs::read_dir(format!("/proc/self/{what}"))
                    .unwrap()
                    .flatten()
            };
            let files = entries("fd").filter_map(|entry| std::fs::read_link(entry.path()).ok());
            let mut files: Vec<String> = files.map(|file| file.display().to_string()).collect();
            // A wait that lasts has one of these made for the process, which keeps it.
            files.retain(|file| !file.contains("holdlock-note"));
            files.sort();
            return Ok(format!("{} {}", entries("task").count(), files.join(",")));
        }
        other => panic!("{other}"),
    }
    Ok("ok".into())
}

fn say(answer: &str) {
    println!("{answer}");
    let _ = std::io::stdout().flush();
}

/// Two threads that share one semaphore, and one that has its own.
fn work(directory: &Path, slots: u32) {
    sys::die_with_parent();
    let path = directory.join("lock");
    let witnesses: Vec<Witness> = (0..slots)
        .map(|slot| Witness::open(&directory.join(format!("witness-{slot}"))))
        .collect();
    let open = || Semaphore::open(&path, slots).expect("opens");
    let common = open();
    std::thread::scope(|scope| {
        for own in [false, false, true] {
            let semaphore = if own { open() } else { common.clone() };
            let (path, witnesses) = (&path, &witnesses);
            scope.spawn(move || {
                let whole = FileLock::open(path).expect("opens");
                loop {
                    if fastrand::u32(..64) == 0 {
                        exclusively(&whole, witnesses);
                    } else {
                        section(&semaphore, witnesses);
                    }
                }
            });
        }
    });
}

fn section(semaphore: &Semaphore, witnesses: &[Witness]) {
    let token = CancelToken::new();
    let request = match fastrand::u32(..8) {
        0 => Request::exclusive().try_once(),
        1 => Request::exclusive().timeout(Duration::from_micros(fastrand::u64(1..2000))),
        2 => Request::exclusive().cancel(&token),
        _ => Request::exclusive(),
    };
    let guard = std::thread::scope(|scope| {
        if request.token().is_some() {
            scope.spawn(|| {
                sys::sleep(Duration::from_micros(fastrand::u64(1..1000)));
                token.cancel();
            });
        }
        semaphore.acquire(request.clone())
    });
    match guard {
        Ok(guard) => {
            let witness = witnesses[guard.slot() as usize];
            witness.exclusively(linger);
            if !guard.is_current().expect("a path") || guard.release().is_err() {
                witness.note();
            }
        }
        Err(Error::WouldBlock(_) | Error::TimedOut(_) | Error::Cancelled { .. }) => {}
        Err(error) => {
            eprintln!("{error}");
            witnesses[0].note();
        }
    }
}

/// The exclusive lock of flock(2) excludes the holders of all slots.
fn exclusively(lock: &FileLock, witnesses: &[Witness]) {
    let Ok(guard) = lock.try_lock_for(Duration::from_millis(5)) else {
        return;
    };
    fn inside(witnesses: &[Witness]) {
        match witnesses.split_first() {
            Some((first, rest)) => first.exclusively(|| inside(rest)),
            None => linger(),
        }
    }
    inside(witnesses);
    drop(guard);
}

fn linger() {
    match fastrand::u32(..16) {
        0 => drop(sys::sleep(Duration::from_micros(200))),
        1..4 => (0..fastrand::u32(..400)).for_each(|_| std::hint::spin_loop()),
        _ => {}
    }
}
