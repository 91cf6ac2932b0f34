//! A process that locks the given files by bare system calls, and does not use the library before
//! the order `look`.
//!
//! Orders name a file by its number, from 0: `flock N MODE`, `ofd N MODE [START LENGTH]`,
//! `posix N MODE [START LENGTH]`, with a MODE of `ex`, `sh` or `un`; `lease N`; `close N`;
//! `many N COUNT START`: COUNT POSIX locks on every other byte; `beside N COUNT`: exclusive flocks
//! on COUNT new files in its directory; `apart N COUNT`: each in a new directory. Answer: `ok`.
//!
//! `keep` starts a child that inherits all descriptors, and answers its pid. `queue N COUNT` starts
//! COUNT children that wait for an exclusive flock one after the other, and answers their pids.
//! `zombie N` starts a child that takes an exclusive flock and ends, and does not reap it. `thread`
//! starts a thread that does nothing; `leave` ends the first thread and no other. `look N`, `try N`
//! and `holders N` ask the library.

use std::fs::File;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};

use holdlock::{FileLock, LockOptions, inspect};
use holdlock_conformance::{sys, told};

fn main() {
    // Two processes that wait for each other would otherwise wait for ever.
    sys::die_with_parent();
    let paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let open = |path: &PathBuf| Some(open(path));
    let mut files: Vec<Option<File>> = paths.iter().map(open).collect();
    say("ready");
    for order in std::io::stdin().lock().lines().map_while(Result::ok) {
        let words: Vec<&str> = order.split_whitespace().collect();
        say(&obey(&words, &paths, &mut files));
    }
}

fn open(path: &Path) -> File {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    options.open(path).expect("opens")
}

fn obey(words: &[&str], paths: &[PathBuf], files: &mut Vec<Option<File>>) -> String {
    let number = |at: usize| {
        words
            .get(at)
            .map_or(0, |word| word.parse().expect("a number"))
    };
    let which = number(1) as usize;
    let file = || files[which].as_ref().expect("open");
    match words[0] {
        "flock" => {
            let operation = match words[2] {
                "ex" => libc::LOCK_EX,
                "sh" => libc::LOCK_SH,
                _ => libc::LOCK_UN,
            };
            sys::flock(file(), operation).expect("locked");
        }
        "ofd" => {
            let request = (number(3), number(4));
            sys::fcntl_lock(file(), libc::F_OFD_SETLKW, kind(words[2]), request).expect("locked");
        }
        "posix" => {
            let request = (number(3), number(4));
            sys::fcntl_lock(file(), libc::F_SETLKW, kind(words[2]), request).expect("locked");
        }
        "many" => {
            for at in 0..number(2) {
                let byte = (number(3) + 2 * at, 1);
                sys::fcntl_lock(file(), libc::F_SETLKW, libc::F_WRLCK, byte).expect("locked");
            }
        }
        "beside" | "apart" => {
            for at in 0..number(2) {
                let file = locked_near(&paths[which], at, words[0] == "apart");
                files.push(Some(file));
            }
        }
        "lease" => assert!(sys::lease(file()), "a lease"),
        "close" => drop(files[which].take()),
        "keep" => return sys::fork(sys::sleep_until_killed).pid().to_string(),
        "queue" => return queue(&paths[which], number(2)),
        "thread" => drop(std::thread::spawn(sys::sleep_until_killed)),
        "leave" => {
            std::thread::spawn(sys::sleep_until_killed);
            say("ok");
            sys::end_thread();
        }
        "zombie" => {
            let path = paths[which].clone();
            let child = sys::fork(move || {
                let file = open(&path);
                i32::from(sys::flock(&file, libc::LOCK_EX | libc::LOCK_NB).is_err())
            });
            return child.pid().to_string();
        }
        "look" => return told::lines(&inspect::file(&paths[which]).expect("looks")).join(" | "),
        "try" => {
            let lock = FileLock::open(&paths[which]).expect("opens");
            return lock
                .try_lock()
                .map_or_else(|error| error.to_string(), |_| "ok".into());
        }
        "holders" => {
            // A lock on the path would close the file, and so end the POSIX locks of this process.
            let lock = LockOptions::new().open_file(file()).expect("opens");
            let holders = lock.holders().expect("looks");
            let pids: Vec<String> = holders
                .iter()
                .map(|holder| holder.pid.to_string())
                .collect();
            return pids.join(" ");
        }
        other => panic!("{other}"),
    }
    "ok".into()
}

fn kind(mode: &str) -> i32 {
    match mode {
        "ex" => libc::F_WRLCK,
        "sh" => libc::F_RDLCK,
        _ => libc::F_UNLCK,
    }
}

/// Makes a new file near a path, or in a new directory there, and takes an exclusive flock on it.
fn locked_near(path: &Path, number: u64, apart: bool) -> File {
    let mut near = path.with_file_name(format!("{}-{number}", std::process::id()));
    if apart {
        std::fs::create_dir(&near).expect("made");
        near.push("a.lock");
    }
    let file = open(&near);
    sys::flock(&file, libc::LOCK_EX).expect("locked");
    file
}

/// Each child sleeps in the kernel's queue before the next one starts.
fn queue(path: &Path, count: u64) -> String {
    let mut pids = Vec::new();
    for _ in 0..count {
        let path = path.to_owned();
        let child = sys::fork(move || {
            sys::die_with_parent();
            let file = open(&path);
            i32::from(sys::flock(&file, libc::LOCK_EX).is_err())
        });
        sys::wait_until_queued(child.pid(), &[libc::SYS_flock]);
        pids.push(child.pid().to_string());
    }
    pids.join(" ")
}

/// The process that asked may have ended by now.
fn say(answer: &str) {
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{answer}").and_then(|()| out.flush());
}
