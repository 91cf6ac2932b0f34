//! Many processes and threads at one lock, some of which are killed: no two are inside together.

use std::fs::{DirEntry, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use holdlock::{Mode, Request};
use holdlock_engines::{EngineGuard, EngineLock, Error};

use super::actor::Actor;
use super::random;

const TRACE: &str = "inside-";

/// The actor's part: `DIRECTORY SEED MILLISECONDS`. Says how often it was inside.
pub(super) fn churn(lock: &EngineLock, arguments: &str) -> String {
    let mut arguments = arguments.split(' ');
    let directory = arguments.next().expect("a directory").to_owned();
    let mut number = || {
        arguments
            .next()
            .expect("a number")
            .parse::<u64>()
            .expect("a number")
    };
    let (seed, millis) = (number(), number());
    let end = Instant::now() + Duration::from_millis(millis);
    let threads = (0..2).map(|thread| {
        let (lock, directory) = (lock.clone(), directory.clone());
        let mut state = seed * 2 + thread + 1;
        std::thread::spawn(move || {
            let mut inside = 0;
            while Instant::now() < end {
                inside += u64::from(once(&lock, Path::new(&directory), &mut state));
            }
            inside
        })
    });
    let threads: Vec<_> = threads.collect();
    let counts = threads
        .into_iter()
        .map(|thread| thread.join().expect("no panic"));
    counts.sum::<u64>().to_string()
}

fn once(lock: &EngineLock, directory: &Path, state: &mut u64) -> bool {
    let mode = if random(state).is_multiple_of(4) {
        Mode::Shared
    } else {
        Mode::Exclusive
    };
    let request = match random(state) % 4 {
        0 => Request::new(mode).try_once(),
        1 => Request::new(mode).timeout(Duration::from_millis(random(state) % 40)),
        _ => Request::new(mode).timeout(Duration::from_secs(60)),
    };
    let guard = match lock.acquire(request) {
        Ok(guard) => guard,
        Err(error) if error.is_conflict() => return false,
        Err(Error::Unreachable { .. }) => return false,
        Err(error) => panic!("{error:?}"),
    };
    let deadline = guard.deadline();
    inside(
        &guard,
        directory,
        Duration::from_micros(random(state) % 2000),
    );
    // A victim's lease is short: on a slow machine it may have run out.
    let released = guard.release();
    assert!(released.is_ok() || deadline.has_passed(), "{released:?}");
    true
}

/// Shared holders have shared kernel locks on the mark, exclusive ones want to be alone.
fn inside(guard: &EngineGuard, directory: &Path, stay: Duration) {
    let mark = File::open(directory.join("mark")).expect("a file");
    let alone = match guard.mode() {
        Mode::Exclusive => mark.try_lock(),
        Mode::Shared => mark.try_lock_shared(),
    };
    if alone.is_err() {
        if guard.deadline().has_passed() {
            return;
        }
        match guard.mode() {
            Mode::Exclusive => mark.lock().expect("locked"),
            Mode::Shared => mark.lock_shared().expect("locked"),
        }
        let excludes_us = |trace: &Trace| guard.mode() == Mode::Exclusive || trace.is_exclusive();
        assert!(
            traces(directory).iter().any(excludes_us),
            "somebody was inside"
        );
    }
    if guard.mode() == Mode::Exclusive {
        traces(directory).iter().for_each(Trace::remove);
    }
    let trace = Trace::leave(directory, guard.mode());
    if guard.mode() == Mode::Exclusive {
        // The fenced register: no holder comes after one with a greater token.
        let mut options = OpenOptions::new();
        let register = options.read(true).write(true).mode(0o600);
        let mut register = register.open(directory.join("token")).expect("a file");
        let mut bytes = [0; 8];
        let _ = register.read_exact(&mut bytes);
        let token = guard.token().expect("a token");
        assert!(u64::from_ne_bytes(bytes) < token, "the tokens do not rise");
        register.rewind().expect("works");
        register.write_all(&token.to_ne_bytes()).expect("works");
    }
    std::thread::sleep(stay);
    if !guard.deadline().has_passed() {
        trace.remove();
    }
}

/// A file of a holder that is inside. It stays behind when the holder is killed, and when it was
/// late. The kernel ends a killed process step by step: it may close the connection, by which
/// others get the lock, a while before the mark.
struct Trace(PathBuf);

impl Trace {
    fn leave(directory: &Path, mode: Mode) -> Trace {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{TRACE}{mode:?}-{}-{number}", std::process::id());
        let path = directory.join(name);
        File::create(&path).expect("created");
        Trace(path)
    }

    fn is_exclusive(&self) -> bool {
        self.0.to_string_lossy().contains("Exclusive")
    }

    fn remove(&self) {
        std::fs::remove_file(&self.0).expect("removed");
    }
}

fn traces(directory: &Path) -> Vec<Trace> {
    let entries = std::fs::read_dir(directory).expect("a directory").flatten();
    let is_trace = |entry: &DirEntry| entry.file_name().to_string_lossy().starts_with(TRACE);
    let traces = entries.filter(is_trace);
    traces.map(|entry| Trace(entry.path())).collect()
}

/// Lets processes and threads churn, and kills those whose URL is that of victims.
pub(crate) fn no_two_are_inside_together(url: &str, of_victims: &str) {
    let directory = tempfile::tempdir().expect("a directory");
    for file in ["mark", "token"] {
        std::fs::write(directory.path().join(file), "").expect("written");
    }
    let start = |url: &str, seed: u64, millis: u64| {
        let mut actor = Actor::start(url);
        actor.tell(&format!(
            "churn {} {seed} {millis}",
            directory.path().display()
        ));
        actor
    };
    let mut steady: Vec<Actor> = (0..4).map(|seed| start(url, seed, 5000)).collect();
    let mut state = 3;
    for seed in 0..15 {
        let victim = start(of_victims, 100 + seed, 60_000);
        std::thread::sleep(Duration::from_millis(100 + random(&mut state) % 300));
        victim.kill();
    }
    for actor in &mut steady {
        let inside: u64 = actor.answer().parse().expect("a number");
        assert!(inside > 0);
    }
}
