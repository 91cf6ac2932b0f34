//! Closes the parent's lock files in a child of fork(2), for the reasons given in `lock_fd`.
//!
//! The code here runs between fork and exec: it only makes calls that are allowed there, and does
//! not allocate.

use std::cell::Cell;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::Ordering;

use super::descriptor_table::{CHANGES, FILLING, LOST, MARK, OPENING, blocks};
use super::identity;

thread_local! {
    /// [`CHANGES`] when the last fork of this thread began.
    static AT_FORK: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Runs in the parent before the fork.
pub(super) fn note_changes() {
    let _ = AT_FORK.try_with(|noted| noted.set(Some(CHANGES.load(Ordering::SeqCst))));
}

/// Whether another thread may have closed lock files during the fork.
fn has_changed() -> bool {
    let noted = AT_FORK.try_with(Cell::take).ok().flatten();
    noted != Some(CHANGES.load(Ordering::SeqCst))
}

/// Closes the parent's lock files. Runs in the child before fork returns there.
pub(super) fn close_lock_files() {
    // First close the marked descriptors that are not in the table, while the table still shows
    // which are.
    let is_opening = OPENING.swap(0, Ordering::SeqCst) > 0;
    if has_changed() || is_opening {
        close_unregistered();
    }
    let mut placeholder = Placeholder::NotOpen;
    for block in blocks() {
        for slot in &block.slots {
            let entry = slot.number.swap(0, Ordering::SeqCst);
            if entry != 0 && entry != FILLING && entry != LOST {
                let number = (entry - 1) as libc::c_int;
                if identity::of_number(number) == Some(slot.identity()) && has_mark(number) {
                    placeholder.cover(number);
                }
            }
        }
        block.used.store(0, Ordering::Relaxed);
    }
    if let Placeholder::Apart(number) = placeholder {
        close(number);
    }
}

/// Replaces a lock file in a child: an open file that cannot be read, written or locked.
enum Placeholder {
    NotOpen,
    /// Open at a number of its own, which is closed in the end.
    Apart(libc::c_int),
    /// Open at the number of a lock file, where it stays.
    InPlace(libc::c_int),
}

impl Placeholder {
    /// Closes a lock file of the parent, and puts the placeholder on its number.
    fn cover(&mut self, number: libc::c_int) {
        if let Placeholder::NotOpen = self {
            // If no descriptor is free, the one that is closed here makes room.
            let nothing = open_nothing().or_else(|| {
                close(number);
                open_nothing()
            });
            *self = match nothing {
                Some(nothing) if nothing == number => Placeholder::InPlace(nothing),
                Some(nothing) => Placeholder::Apart(nothing),
                None => Placeholder::NotOpen,
            };
        }
        match *self {
            Placeholder::InPlace(nothing) if nothing == number => {}
            Placeholder::InPlace(nothing) | Placeholder::Apart(nothing) => {
                // SAFETY: dup3 takes no pointers. The table and the inode prove that the number was
                // a lock file's at the moment of the fork, and only handlers of pthread_atfork have
                // run since then. The number's owner in this process, of an older generation, only
                // uses it to refer to the placeholder.
                let covered = unsafe { libc::dup3(nothing, number, libc::O_CLOEXEC) };
                if covered < 0 {
                    // The program has lowered RLIMIT_NOFILE below the number. No other file can get
                    // the number.
                    close(number);
                }
            }
            Placeholder::NotOpen => close(number),
        }
    }
}

fn open_nothing() -> Option<libc::c_int> {
    let flags = libc::O_PATH | libc::O_CLOEXEC;
    // SAFETY: a NUL-terminated string. open(2) is allowed between fork and exec.
    let nothing = unsafe { libc::open(c"/".as_ptr(), flags) };
    (nothing >= 0).then_some(nothing)
}

fn close(number: libc::c_int) {
    // SAFETY: as for dup3 above; or a marked descriptor, see `close_unregistered`; or one that was
    // opened here.
    unsafe { libc::close(number) };
}

/// Closes the lock files that other threads of the parent had opened and not yet registered, or
/// closed and removed from the table. They have no owner in this process.
fn close_unregistered() {
    each_descriptor(|number| {
        if !is_registered(number) && is_marked(number) {
            close(number);
        }
    });
}

/// Whether the loop over the table covers this number: a slot has both the number and the inode.
/// The number alone may be in the slot of a lock file that was closed, if another one has got it.
fn is_registered(number: libc::c_int) -> bool {
    let entry = number as u64 + 1;
    let mut slots = blocks().flat_map(|block| &block.slots);
    slots.any(|slot| {
        slot.number.load(Ordering::SeqCst) == entry
            && identity::of_number(number) == Some(slot.identity())
    })
}

/// Whether `LockFd::open` opened this descriptor. Terminals, sockets and pipes are excluded,
/// because other code may set O_ASYNC on them.
fn is_marked(number: libc::c_int) -> bool {
    // SAFETY: fcntl with F_GETFD takes no pointers.
    let on_exec = unsafe { libc::fcntl(number, libc::F_GETFD) };
    on_exec >= 0
        && on_exec & libc::FD_CLOEXEC != 0
        && has_mark(number)
        && identity::is_storage(number)
}

fn has_mark(number: libc::c_int) -> bool {
    // SAFETY: fcntl with F_GETFL takes no pointers.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFL) };
    flags >= 0 && flags & MARK != 0
}

/// Calls `look` with the number of each open descriptor.
fn each_descriptor(mut look: impl FnMut(libc::c_int)) {
    let flags = libc::O_DIRECTORY | libc::O_CLOEXEC;
    // SAFETY: a NUL-terminated string. open(2) is allowed between fork and exec.
    let list = unsafe { libc::open(c"/proc/self/fd".as_ptr(), flags) };
    if list < 0 {
        // Try all numbers if /proc is missing or no descriptor is free.
        (0..limit()).for_each(look);
        return;
    }
    // SAFETY: the descriptor was opened just now and has no other owner.
    let list = unsafe { OwnedFd::from_raw_fd(list) };
    let mut names = [0_u8; 4096];
    loop {
        // SAFETY: an open directory, and a buffer of the given length.
        let filled = unsafe {
            libc::syscall(
                libc::SYS_getdents64,
                list.as_raw_fd(),
                names.as_mut_ptr(),
                names.len(),
            )
        };
        let Some(names) = usize::try_from(filled).ok().and_then(|n| names.get(..n)) else {
            return;
        };
        if names.is_empty() {
            return;
        }
        numbers_of(names, &mut look);
    }
}

/// Calls `look` with the numbers among the names of a `struct linux_dirent64` list.
fn numbers_of(mut entries: &[u8], look: &mut impl FnMut(libc::c_int)) {
    // d_ino, d_off, d_reclen (2 bytes), d_type (1 byte), then the name up to a NUL.
    const LENGTH: usize = 16;
    const NAME: usize = 19;
    while let Some(&[low, high]) = entries.get(LENGTH..LENGTH + 2) {
        let length = usize::from(u16::from_ne_bytes([low, high]));
        let (Some(entry), Some(rest)) = (entries.get(NAME..length), entries.get(length..)) else {
            return;
        };
        let digits = entry.iter().take_while(|byte| **byte != 0);
        let number = digits.copied().try_fold(0, |number: libc::c_int, digit| {
            let digit = digit.is_ascii_digit().then(|| digit - b'0')?;
            number.checked_mul(10)?.checked_add(digit.into())
        });
        if let Some(number) = number {
            look(number);
        }
        entries = rest;
    }
}

/// The highest possible number of a descriptor, plus one; at most a million.
fn limit() -> libc::c_int {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: valid memory for the answer.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    libc::c_int::try_from(limit.rlim_cur.min(1 << 20)).unwrap_or(1 << 20)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::path::Path;

    use super::super::descriptor_table::register;
    use super::super::file::{self, Access};
    use super::*;

    #[test]
    fn every_open_descriptor_is_found() {
        let file = File::open("/dev/null").expect("opens");
        let mut found = Vec::new();
        each_descriptor(|number| found.push(number));
        assert!(found.contains(&file.as_raw_fd()), "{found:?}");
        assert!(!is_marked(file.as_raw_fd()));
    }

    #[test]
    fn a_child_keeps_no_file_that_has_the_number_of_a_closed_lock_file() {
        // The state between the closing of one lock file and the registration of the next: the slot
        // still has the inode of the first one. Both are directories here, which always exist.
        let closed = File::open("/").expect("opens");
        let closed = identity::of(closed.as_fd()).expect("open");
        let opened = file::open(Path::new("/proc"), Access::Read, true).expect("opens");
        OPENING.fetch_add(1, Ordering::SeqCst);
        let (block, slot) = register(opened.as_fd(), closed);
        // SAFETY: the child makes calls that are allowed between fork and exec, and ends.
        let child = unsafe {
            let child = libc::fork();
            if child == 0 {
                let is_open = libc::fcntl(opened.as_raw_fd(), libc::F_GETFD) != -1;
                libc::_exit(is_open.into());
            }
            child
        };
        let mut status = 0;
        // SAFETY: valid memory for the answer.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        OPENING.fetch_sub(1, Ordering::SeqCst);
        slot.number.store(0, Ordering::SeqCst);
        block.used.fetch_sub(1, Ordering::Relaxed);
        assert_eq!(status, 0, "the child has the file open");
    }
}
