//! What holders do besides: they start processes, and remove the lock file.

use std::ffi::OsString;
use std::process::Command;

use holdlock::Guard;
use rustix::process::{Pid, WaitOptions, waitpid};

use super::Taker;
use crate::sys::thread;
use crate::torture::event::What;
use crate::torture::finding::Kind;
use crate::torture::mode::Mode;
use crate::torture::worker::{LOOK, WORKER};

/// Every so many sections have a child of fork(2), and as many a program.
const SECTIONS: u32 = 3000;

/// Sometimes starts a child, which must neither have the lock nor release it.
pub(super) fn with_children<'l>(taker: &mut Taker, mode: Mode, guard: Guard<'l>) -> Guard<'l> {
    match taker.random.u32(..SECTIONS) {
        0 => fork(taker, mode, guard),
        1 => {
            execute(taker, mode);
            guard
        }
        _ => guard,
    }
}

/// The child drops its copy of the guard.
fn fork<'l>(taker: &Taker, mode: Mode, guard: Guard<'l>) -> Guard<'l> {
    taker.me.note(What::Fork, mode, 0);
    match thread::fork() {
        Ok(None) => {
            drop(guard);
            thread::leave(0)
        }
        Ok(Some(child)) => reap(child),
        // No room for a process now.
        Err(_) => {}
    }
    guard
}

pub(super) fn reap(child: Pid) {
    while let Err(rustix::io::Errno::INTR) = waitpid(Some(child), WaitOptions::empty()) {}
}

/// The program looks whether it has the lock file open.
pub(super) fn execute(taker: &Taker, mode: Mode) {
    taker.me.note(What::Execute, mode, 0);
    let mut program = Command::new("/proc/self/exe");
    program.args([WORKER, LOOK]).arg(&taker.directory);
    let status = program.status().ok().and_then(|status| status.code());
    if status == Some(HAS_LOCK_FILE.into()) {
        let text = "a program that a holder started has a lock file open".to_owned();
        taker.me.find(Kind::Inherited, mode, None, text);
    }
}

/// The exit status of a program that has inherited a lock file.
const HAS_LOCK_FILE: u8 = 3;

/// The program that `execute` starts.
pub(in crate::torture) fn look(directory: &OsString) -> u8 {
    let open = std::fs::read_dir("/proc/self/fd").into_iter().flatten();
    let mut files = open
        .flatten()
        .filter_map(|entry| entry.path().read_link().ok());
    if files.any(|file| file.starts_with(directory)) {
        HAS_LOCK_FILE
    } else {
        crate::exit::SUCCESS
    }
}

/// The last act of a hostile holder.
pub(super) fn meddle(taker: &mut Taker, mode: Mode) {
    let path = mode.lock_file(&taker.directory);
    let other = path.with_extension(format!("{}-{}", taker.me.id, taker.random.u32(..)));
    match taker.random.u32(..8) {
        0 => {
            taker.me.note(What::Remove, mode, 0);
            let _ = std::fs::remove_file(path);
        }
        1 => {
            taker.me.note(What::Rename, mode, 0);
            let _ = std::fs::rename(path, &other);
            let _ = std::fs::remove_file(other);
        }
        2 => {
            taker.me.note(What::Replace, mode, 0);
            if std::fs::write(&other, b"").is_ok() {
                let _ = std::fs::rename(other, path);
            }
        }
        _ => {}
    }
}
