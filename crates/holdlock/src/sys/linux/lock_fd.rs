//! Descriptors of lock files: no child of fork(2) keeps them, and this code never touches a
//! descriptor number that has become another file's.
//!
//! # No child keeps them
//!
//! A child's copy of a locked descriptor keeps the lock alive after the parent's death, and an
//! unlock through the copy unlocks the parent's lock. Therefore every descriptor is registered in a
//! table, and in the child a handler of pthread_atfork goes through the table (see
//! `close_in_child`). It replaces each descriptor by a placeholder: a guard that was copied into
//! the child still refers to the number, which must not become the number of another file.
//!
//! Another thread may fork between open(2) and the registration: then the child has a descriptor
//! that is not in its table. Neither thread can wait for the other one, because the handlers of the
//! program may hold a mutex that the opening thread needs. Therefore a lock file is opened between
//! two changes of a counter, [`OPENING`], and with a mark. Every copy of the descriptor has the
//! mark from the beginning. The mark is O_ASYNC, which has no effect on regular files, directories
//! and block devices, and which other code does not set on them. A child that finds the counter
//! above zero goes through all its descriptors and closes those with the mark.
//!
//! This misses no descriptor that is opened: the kernel copies the table of open files before it
//! copies the memory. If the copied table has the descriptor, then the counter was raised before
//! the memory was copied. If the copied memory shows the counter lowered again, then it also shows
//! the registration, which came before. It does so although fork copies memory page by page:
//! another thread cannot write to a page that was copied until all pages are copied.
//!
//! For the same reason a child can have a descriptor that another thread of the parent closed and
//! removed from the table, both between the two copies. Therefore a second counter, [`CHANGES`],
//! goes up between closing and the removal. A handler that runs before the fork notes it. A child
//! that finds another count than the noted one goes through its descriptors as well: if the copied
//! memory shows the removal, then it also shows the higher count; and the note is older, because
//! the descriptor was closed after the copy of the open files.
//!
//! # Another file's number is never touched
//!
//! Programs close descriptors that they do not know (close_range, daemons, a shell's `exec 3>&-`),
//! and the number may become another file's. Therefore a number is checked before it is locked,
//! unlocked, closed or replaced. The same inode proves nothing: the number may be the same lock
//! file, opened by other code, or a new file that got the number of a removed inode. Two things
//! prove that a descriptor is still ours:
//!
//! * The mark: other code does not open files with it.
//! * The table: when a number is registered for a new lock file, the kernel has just given the
//!   number out. If the table has an older entry with that number, the descriptor of that entry was
//!   closed.
//!
//! Between open(2) and the registration, a new descriptor already has the mark, and an older entry
//! with its number still looks valid. A check therefore looks at the mark first, then at
//! [`OPENING`], and at the table last:
//!
//! * If the counter is zero, the descriptor whose mark the check saw is registered: its thread
//!   raised the counter before open(2) and lowers it after the registration. Then the table shows
//!   an older entry as lost.
//! * If the counter is not zero, the check asks the kernel whether the descriptor is confirmed
//!   (`file::confirm`). Every lock file is confirmed after its registration, so the table shows an
//!   older entry as lost. This takes one more system call, and only while another thread is opening
//!   a lock file.
//!
//! The fences make the order hold on every processor. The looks at the descriptor are system calls,
//! which are no fences: one between two looks keeps the later load behind the earlier look, and one
//! before the confirmation keeps it behind the registration.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd};
use std::sync::atomic::{AtomicBool, Ordering, fence};

use super::descriptor_table::{Block, CHANGES, OPENING, Slot, entry_of, register};
use super::identity::{self, Identity};
use super::{file, fork};

/// The time between open(2) and the registration in the table.
pub(super) struct Opening {
    generation: u32,
}

impl Opening {
    pub(super) fn begin() -> Opening {
        let generation = fork::generation();
        OPENING.fetch_add(1, Ordering::SeqCst);
        Opening { generation }
    }

    /// Whether this is the process that began: a signal handler may have forked since.
    fn is_here(&self) -> bool {
        self.generation == fork::generation()
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        if self.is_here() {
            // What could not be used was closed already, without ever being in the table.
            CHANGES.fetch_add(1, Ordering::SeqCst);
            OPENING.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// A descriptor of a lock file. It belongs to the process that opened it and to none of its
/// children.
pub(crate) struct LockFd {
    fd: Option<File>,
    pub(crate) identity: Identity,
    generation: u32,
    slot: &'static Slot,
    block: &'static Block,
    /// The flags with which the file was opened, without those that can change.
    flags: libc::c_int,
    /// Whether the kernel has confirmed the registration; false only if it cannot do that.
    is_confirmed: bool,
    /// The open file description was given to other processes and has lost its mark.
    given_away: AtomicBool,
}

impl LockFd {
    /// Opens a file by `open`, and registers the descriptor in the table. `open` has to set the
    /// [mark](super::descriptor_table::MARK), as the functions of `file` do.
    ///
    /// Fails with `Interrupted` in a child that a signal handler has forked during this call.
    pub(crate) fn open(open: impl FnOnce() -> io::Result<File>) -> io::Result<LockFd> {
        let opening = Opening::begin();
        let fd = open()?;
        let identity = identity::of(fd.as_fd())?;
        let flags = file::lasting_flags(fd.as_fd());
        let (block, slot) = register(fd.as_fd(), identity);
        // The confirmation tells other threads that the table has this number.
        fence(Ordering::Release);
        let is_confirmed = opening.is_here() && file::confirm(fd.as_fd());
        let opened = LockFd {
            fd: Some(fd),
            identity,
            generation: opening.generation,
            slot,
            block,
            flags,
            is_confirmed,
            given_away: AtomicBool::new(false),
        };
        if opening.is_here() {
            Ok(opened)
        } else {
            Err(io::ErrorKind::Interrupted.into())
        }
    }

    /// Whether the descriptor is still the one that was opened. False in a child of fork.
    #[inline]
    pub(crate) fn is_ours(&self) -> bool {
        let Some(fd) = &self.fd else {
            return false;
        };
        self.generation == fork::generation()
            && self.looks_like_ours(fd.as_fd())
            && self.is_registered(fd.as_fd())
            && self.slot.number.load(Ordering::SeqCst) == entry_of(fd.as_fd())
    }

    fn looks_like_ours(&self, fd: BorrowedFd<'_>) -> bool {
        if self.given_away.load(Ordering::Relaxed) {
            identity::of(fd).is_ok_and(|now| now == self.identity)
        } else {
            file::lasting_flags(fd) == self.flags
        }
    }

    /// Whether the open file that was seen at this number just now is in the table, so that the
    /// table shows whose it is. A later load of the table sees that.
    #[inline]
    fn is_registered(&self, fd: BorrowedFd<'_>) -> bool {
        fence(Ordering::Acquire);
        if OPENING.load(Ordering::SeqCst) == 0 || !self.is_confirmed {
            return true;
        }
        let is_confirmed = file::is_confirmed(fd);
        fence(Ordering::Acquire);
        is_confirmed
    }

    pub(crate) fn file(&self) -> &File {
        self.fd.as_ref().expect("taken out by drop alone")
    }

    /// Takes the mark off the open file description, so that other processes can keep copies of it.
    pub(crate) fn give_away(&self) -> io::Result<()> {
        self.given_away.store(true, Ordering::Relaxed);
        file::take_mark_off(self.as_fd())
    }
}

impl AsFd for LockFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file().as_fd()
    }
}

impl Drop for LockFd {
    fn drop(&mut self) {
        let is_ours = self.is_ours();
        let fd = self.fd.take();
        if is_ours {
            drop(fd);
        } else if let Some(fd) = fd {
            // The number is another file's. In a child it is the placeholder's, which has to stay
            // as long as a guard may refer to it.
            let _ = fd.into_raw_fd();
        }
        if self.generation == fork::generation() {
            // Free the slot after closing, so that no child keeps a copy. If the number is another
            // file's by now, a child notices that: by the missing mark, or, if it is a lock file of
            // ours that is not registered yet, by the other inode. A new descriptor of the same
            // inode it covers by way of this slot.
            CHANGES.fetch_add(1, Ordering::SeqCst);
            self.slot.number.store(0, Ordering::SeqCst);
            self.block.used.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsRawFd, FromRawFd};
    use std::path::Path;

    use super::file::Access;
    use super::*;

    fn lock_file() -> LockFd {
        LockFd::open(open).expect("opens")
    }

    fn open() -> io::Result<File> {
        file::open(Path::new("/proc"), Access::Read, true)
    }

    /// Opens the file of another thread, to which the kernel gives the number of `closed`.
    fn open_at(closed: &LockFd) -> io::Result<File> {
        let opened = open()?;
        // SAFETY: takes no pointers. The result is the number's owner from now on, as `closed` has
        // to notice.
        unsafe {
            libc::dup3(
                opened.as_raw_fd(),
                closed.as_fd().as_raw_fd(),
                libc::O_CLOEXEC,
            );
            Ok(File::from_raw_fd(closed.as_fd().as_raw_fd()))
        }
    }

    #[test]
    fn a_number_is_another_threads_from_the_moment_when_it_opens_its_file() {
        let closed = lock_file();
        assert!(closed.is_ours());
        let mut was_ours = None;
        let opened = LockFd::open(|| {
            let opened = open_at(&closed);
            was_ours = Some(closed.is_ours());
            opened
        });
        assert_eq!(was_ours, Some(false), "before the registration");
        let opened = opened.expect("opens");
        assert!(!closed.is_ours());
        assert!(opened.is_ours());
        drop(closed);
        assert!(opened.is_ours(), "closed by its earlier owner");
    }

    #[test]
    fn a_lock_file_is_ours_also_while_another_thread_opens_one() {
        let ours = lock_file();
        let other = LockFd::open(|| {
            assert!(ours.is_ours());
            open()
        });
        drop(other.expect("opens"));
    }
}
