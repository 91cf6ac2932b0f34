//! One member: it takes its own lock, reports that, waits for the order to continue, and takes the
//! other lock.

use std::fs::File;
use std::io::{self, BufRead, Write};
use std::ops::ControlFlow;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use holdlock::{CancelToken, Error, FileLock, Guard, Request, Waiting};

use super::plan::{Kind, Member, OUT_AFTER, WayOut};
use crate::sys;

/// The end of its wait.
pub type Outcome = Result<(), Failed>;

/// Why there is no lock.
#[derive(Debug)]
pub enum Failed {
    /// The member ended its wait itself, as planned.
    GaveUp,
    /// The library says that the wait would never end.
    Deadlock(String),
    /// Something else, which is wrong.
    Other(String),
}

/// The messages between the program and its member.
pub trait Talk {
    /// The lock is held.
    fn held(&mut self);
    /// Waits until all other members hold their locks.
    fn go(&mut self);
}

/// Plays the member with these locks. Members of the kind Sharing share them with others.
pub fn play(member: Member, own: &FileLock, wants: &FileLock, talk: &mut dyn Talk) -> Outcome {
    match member.kind {
        Kind::Thread | Kind::Sharing | Kind::Process => {
            hold(member, own, talk, || want(member, wants))
        }
        Kind::Bare => hold(member, own, talk, || bare(member, wants.path())),
        Kind::Parent | Kind::Parents => {
            let own = own.lock().map_err(failed)?;
            talk.held();
            talk.go();
            parent(member, own, wants.path())
        }
        Kind::Flock => Err(Failed::Other("flock(1) is no member of ours".into())),
    }
}

/// Holds the lock in the way of this member, while it waits for the other lock.
fn hold(
    member: Member,
    own: &FileLock,
    talk: &mut dyn Talk,
    want: impl FnOnce() -> Outcome,
) -> Outcome {
    let bare = member.kind == Kind::Bare;
    match member.way_out {
        Some(WayOut::Guard) => {
            let (told, taken) = std::sync::mpsc::channel();
            let (go, begun) = std::sync::mpsc::channel::<()>();
            thread::scope(|scope| {
                scope.spawn(move || {
                    let _own = own.lock();
                    let _ = told.send(());
                    let _ = begun.recv();
                    thread::sleep(OUT_AFTER);
                });
                let _ = taken.recv();
                talk.held();
                talk.go();
                let _ = go.send(());
                want()
            })
        }
        Some(WayOut::Owned) => {
            let own = own.acquire_owned(Request::exclusive()).map_err(failed)?;
            talk.held();
            talk.go();
            thread::scope(|scope| {
                scope.spawn(move || {
                    thread::sleep(OUT_AFTER);
                    drop(own);
                });
                want()
            })
        }
        Some(WayOut::Std) => {
            let own = locked(own.path())?;
            talk.held();
            talk.go();
            thread::scope(|scope| {
                scope.spawn(|| {
                    thread::sleep(OUT_AFTER);
                    let _ = sys::flock(&own, libc::LOCK_UN);
                });
                want()
            })
        }
        Some(WayOut::Heir) => {
            let own = locked(own.path())?;
            talk.held();
            talk.go();
            let child = sys::fork(|| {
                thread::sleep(OUT_AFTER);
                i32::from(sys::flock(&own, libc::LOCK_UN).is_err())
            });
            let outcome = want();
            child.wait();
            outcome
        }
        Some(WayOut::HeirThread) => {
            let own = locked(own.path())?;
            talk.held();
            talk.go();
            let child = sys::fork(|| {
                let (apart, looked) = (AtomicBool::new(false), Barrier::new(2));
                let unlocks = || {
                    apart.store(sys::own_descriptor_table(), Ordering::Relaxed);
                    looked.wait();
                    thread::sleep(OUT_AFTER);
                    i32::from(sys::flock(&own, libc::LOCK_UN).is_err())
                };
                thread::scope(|scope| {
                    let thread = scope.spawn(unlocks);
                    looked.wait();
                    if apart.load(Ordering::Relaxed) {
                        sys::close(own.as_raw_fd());
                    }
                    thread.join().expect("no panic")
                })
            });
            let outcome = want();
            child.wait();
            outcome
        }
        _ if bare => {
            let _own = locked(own.path())?;
            talk.held();
            talk.go();
            want()
        }
        _ => {
            let _own = own.lock().map_err(failed)?;
            talk.held();
            talk.go();
            want()
        }
    }
}

fn want(member: Member, wants: &FileLock) -> Outcome {
    match member.way_out {
        Some(WayOut::Limit) => wants.try_lock_for(OUT_AFTER).map(drop).map_err(failed),
        Some(WayOut::Token) => {
            let token = CancelToken::new();
            thread::scope(|scope| {
                scope.spawn(|| {
                    thread::sleep(OUT_AFTER);
                    token.cancel();
                });
                let request = Request::exclusive().cancel(&token);
                wants.acquire(request).map(drop).map_err(failed)
            })
        }
        Some(WayOut::Alarm) => {
            alarm();
            until_interrupted(wants)
        }
        Some(WayOut::Callback) => {
            sys::count_signals(libc::SIGUSR1, 0);
            let us = std::process::id();
            // Again and again: a thread that was about to sleep would miss a single signal.
            let child = sys::fork(|| {
                sys::die_with_parent();
                thread::sleep(OUT_AFTER);
                loop {
                    sys::kill(us, libc::SIGUSR1);
                    thread::sleep(Duration::from_millis(100));
                }
            });
            let outcome = until_interrupted(wants);
            sys::kill(child.pid(), libc::SIGKILL);
            child.wait();
            outcome
        }
        _ => wants.lock().map(drop).map_err(failed),
    }
}

/// Waits until a signal comes.
fn until_interrupted(wants: &FileLock) -> Outcome {
    let mut end = |event| match event {
        Waiting::Interrupted => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    let request = Request::exclusive().on_wait(&mut end);
    wants.acquire(request).map(drop).map_err(failed)
}

fn bare(member: Member, wants: &Path) -> Outcome {
    if member.way_out == Some(WayOut::Alarm) {
        alarm();
    }
    let file = open(wants)?;
    match sys::flock(&file, libc::LOCK_EX) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(Failed::GaveUp),
        Err(error) => Err(Failed::Other(error.to_string())),
    }
}

/// One child waits for the lock. The plan says what the parent does meanwhile.
fn parent(member: Member, own: Guard<'_>, wants: &Path) -> Outcome {
    let us = std::env::current_exe().map_err(other)?;
    let mut waiter = Command::new(us);
    waiter
        .arg("waiter")
        .arg(wants)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let mut waiter = waiter.spawn().map_err(other)?;
    let mut idle = None;
    if member.kind == Kind::Parents {
        let seconds = if member.way_out.is_some() {
            OUT_AFTER.as_secs_f64()
        } else {
            100.0
        };
        let mut command = Command::new("sleep");
        command.arg(seconds.to_string()).stdout(Stdio::null());
        idle = Some(command.spawn().map_err(other)?);
    }
    if member.way_out.is_some()
        && let Some(idle) = &mut idle
    {
        // The lock is released when this returns, whatever the other child does.
        let _ = idle.wait();
        drop(own);
    }
    let status = waiter.wait().map_err(other)?;
    if let Some(mut idle) = idle {
        let _ = idle.kill();
        let _ = idle.wait();
    }
    match status.code() {
        Some(0) => Ok(()),
        Some(DEADLOCK) => Err(Failed::Deadlock("of a child".into())),
        _ => Err(Failed::Other(format!("a child: {status}"))),
    }
}

/// The exit status of a child whose wait was ended.
const DEADLOCK: i32 = 3;

/// The child: waits for one lock, and has none.
pub fn waiter(wants: &Path) -> i32 {
    sys::die_with_parent();
    match FileLock::open(wants).and_then(|lock| lock.lock().map(drop)) {
        Ok(()) => 0,
        Err(Error::Deadlock { .. }) => DEADLOCK,
        Err(_) => 1,
    }
}

fn failed(error: Error) -> Failed {
    match error {
        Error::Deadlock { .. } => Failed::Deadlock(error.to_string()),
        Error::TimedOut(_) | Error::Cancelled { .. } => Failed::GaveUp,
        _ => Failed::Other(error.to_string()),
    }
}

fn other(error: io::Error) -> Failed {
    Failed::Other(error.to_string())
}

fn open(path: &Path) -> Result<File, Failed> {
    File::options()
        .read(true)
        .write(true)
        .open(path)
        .map_err(other)
}

fn locked(path: &Path) -> Result<File, Failed> {
    let file = open(path)?;
    sys::flock(&file, libc::LOCK_EX).map_err(other)?;
    Ok(file)
}

fn alarm() {
    sys::count_signals(libc::SIGALRM, 0);
    sys::alarm(OUT_AFTER);
}

/// A member that is a process uses its standard input and output.
pub struct Pipes;

impl Talk for Pipes {
    fn held(&mut self) {
        say("held");
    }

    fn go(&mut self) {
        let _ = io::stdin().lock().read_line(&mut String::new());
    }
}

fn say(what: &str) {
    let mut out = io::stdout();
    let _ = writeln!(out, "{what}").and_then(|()| out.flush());
}

/// The whole life of a member that is a process. The last line says how its wait ended.
pub fn process(member: Member, own: &Path, wants: &Path) {
    sys::die_with_parent();
    let open = |path: &Path| FileLock::open(path).map_err(failed);
    let outcome = open(own).and_then(|own| play(member, &own, &open(wants)?, &mut Pipes));
    say(&told(&outcome));
}

/// The outcome as a line.
pub fn told(outcome: &Outcome) -> String {
    match outcome {
        Ok(()) => "ok".into(),
        Err(Failed::GaveUp) => "gave up".into(),
        Err(Failed::Deadlock(text)) => format!("deadlock {text}"),
        Err(Failed::Other(text)) => format!("wrong {text}"),
    }
}
