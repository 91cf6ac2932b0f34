//! A request by fcntl(2), as a program makes it that knows nothing of open file descriptions. Such
//! a lock belongs to the process, so the process has one thread and opens the file once.

use std::fs::File;

use rustix::fs::{FlockOperation, fcntl_lock};

use super::Taker;
use super::flock::uninterrupted;
use crate::torture::finding::Kind;
use crate::torture::mark::Inside;
use crate::torture::mode::Mode;

pub(in crate::torture) fn round(taker: &mut Taker, mode: Mode, file: &File) {
    let inside = taker.inside(mode);
    taker.me.ask(inside, mode, None);
    let operation = match inside {
        Inside::Shared => FlockOperation::LockShared,
        _ => FlockOperation::LockExclusive,
    };
    if let Err(error) = uninterrupted(|| fcntl_lock(file, operation)) {
        let text = format!("fcntl(2): {error}");
        taker.me.find(Kind::Failed, mode, None, text);
        return taker.me.released(mode);
    }
    let section = taker.me.enter(mode, inside);
    taker.linger();
    section.leave();
    let _ = fcntl_lock(file, FlockOperation::Unlock);
    taker.me.released(mode);
}
