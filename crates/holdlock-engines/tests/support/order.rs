//! Waiters of one lock, and in which order they are served.

use std::sync::mpsc::channel;

use holdlock::{Mode, Request};
use holdlock_engines::EngineLock;
use holdlock_test_support::eventually;

pub(crate) fn wait_for_waiters(lock: &EngineLock, number: usize) {
    eventually(&format!("{number} wait"), || {
        // A slow machine may have no answer in time.
        let members = lock.members();
        members.is_ok_and(|members| members.waiters.len() == number)
    });
}

/// Lets requests of these modes wait behind a holder, one after the other, and returns the groups
/// of those that were there at the same time.
pub(crate) fn served(lock: &EngineLock, modes: &[Mode]) -> Vec<Vec<usize>> {
    let holder = lock.lock().expect("free");
    let (tell, told) = channel();
    let mut releases = Vec::new();
    for (number, &mode) in modes.iter().enumerate() {
        let (release, released) = channel::<()>();
        let (ours, tell) = (lock.clone(), tell.clone());
        std::thread::spawn(move || {
            let guard = ours.acquire(Request::new(mode)).expect("acquired");
            tell.send(number).expect("listens");
            let _ = released.recv();
            guard.release().expect("ours");
        });
        releases.push(release);
        wait_for_waiters(lock, number + 1);
    }
    holder.release().expect("ours");
    let mut groups = Vec::new();
    let mut left = modes.len();
    while left > 0 {
        let mut group = vec![told.recv().expect("one")];
        // The members tell how many came together.
        let mut holders = 0;
        eventually("all who can are there", || {
            let members = lock.members().expect("answers");
            holders = members.holders.len();
            let next_is_shared = members
                .waiters
                .first()
                .is_some_and(|m| m.mode == Mode::Shared);
            let shared = members.holders.iter().all(|m| m.mode == Mode::Shared);
            holders > 0 && !(next_is_shared && shared)
        });
        while group.len() < holders {
            group.push(told.recv().expect("another"));
        }
        group.sort_unstable();
        for &number in &group {
            releases[number].send(()).expect("listens");
        }
        left -= group.len();
        groups.push(group);
        eventually("they have left", || {
            let members = lock.members().expect("answers");
            members.waiters.len() + members.holders.len() <= left
        });
    }
    groups
}
