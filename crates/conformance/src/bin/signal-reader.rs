//! A program that reads the signal SIGRTMIN + 10 by signalfd(2) while it waits for a lock.
//!
//! Arguments: the lock file, which another process holds, and `first` or `late`: whether the
//! program blocks the signal before it uses the library or after. It sends itself signals during
//! the wait and prints how many arrived, and `kept` or `took`: whether the library left the signal
//! alone. With `pending` it sends itself one signal before the wait, and reads it afterwards.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use holdlock::{CancelToken, FileLock, Request};
use holdlock_conformance::{queue, sys};

const SENT: u32 = 20;

/// The first wait with a time limit installs the handler.
fn wait_a_moment(path: &Path) {
    let (ours, other) = (FileLock::open(path), FileLock::open(path));
    let (ours, other) = (ours.expect("opens"), other.expect("opens"));
    let _held = ours.lock_owned().expect("free");
    let waited = other.try_lock_for(Duration::from_millis(1));
    assert!(waited.is_err());
}

fn main() {
    sys::die_with_parent();
    let mut arguments = std::env::args_os().skip(1);
    let path = PathBuf::from(arguments.next().expect("a path"));
    let signal = libc::SIGRTMIN() + 10;
    let when = arguments.next().expect("when");
    if when != "first" {
        wait_a_moment(&path.with_extension("before"));
        assert_eq!(holdlock::wait_signal(), Some(signal));
    }
    let mut reader = sys::SignalReader::new(signal);
    if when == "pending" {
        sys::kill(std::process::id(), signal);
        wait_a_moment(&path.with_extension("before"));
        return say(u32::from(reader.comes()), 1);
    }
    let lock = FileLock::open(&path).expect("opens");
    let token = CancelToken::new();
    let (tell, told) = mpsc::channel();
    let came = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut began = |_| {
                let _ = tell.send(());
                ControlFlow::Continue(())
            };
            let request = Request::exclusive().cancel(&token).on_wait(&mut began);
            assert!(lock.acquire(request).is_err());
        });
        told.recv().expect("the wait began");
        queue::wait_for(&path, std::process::id());
        let came = (0..SENT).filter(|_| {
            sys::kill(std::process::id(), signal);
            reader.comes()
        });
        let came = came.count() as u32;
        token.cancel();
        came
    });
    say(came, SENT);
}

fn say(came: u32, sent: u32) {
    let ours = holdlock::wait_signal() == Some(libc::SIGRTMIN() + 10);
    println!("{came} of {sent}, {}", if ours { "took" } else { "kept" });
}
