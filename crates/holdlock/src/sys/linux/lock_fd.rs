//! Descriptors of lock files: no child of fork(2) keeps them, and nothing is done to a descriptor
//! that is not ours any more.
//!
//! # No child keeps them
//!
//! A child's copy of a locked descriptor keeps the lock alive after the parent's death, and an
//! unlock through the copy unlocks the parent. So every descriptor is entered in a table, and a
//! handler of pthread_atfork goes through the table in the child. It puts a placeholder on each
//! number: a guard that was copied into the child still names that number, which must not become
//! the number of an innocent file.
//!
//! A fork by another thread may come between open(2) and the entry in the table: the child then
//! has a descriptor that its table lacks. Neither side can wait for the other, because the
//! handlers of the host may hold a mutex that the opening thread needs. So a lock file is opened
//! between two changes of a counter, [`OPENING`], and with a mark which every copy of the
//! descriptor has from its first moment on (O_ASYNC, which means nothing to regular files,
//! directories and block devices, and which nobody else sets on them). A child that finds the
//! counter above zero goes through all its descriptors and closes those with the mark.
//!
//! Why that misses none: the kernel copies the table of open files before it copies the memory.
//! If the copied table has the descriptor, then the counter had been raised before the memory was
//! copied. If the copied memory shows a lowered counter, it shows the entry as well, which was
//! made before: fork copies memory page by page, but a page that was copied cannot be written
//! by another thread before all pages are.
//!
//! # Nothing is done to a stranger's file
//!
//! Programs close descriptors that they do not know (close_range, daemons, a shell's `exec 3>&-`),
//! and the number becomes another file's. So a number is looked at before it is locked, unlocked,
//! closed or covered. That it is the same inode proves nothing: it may be the same lock file, opened
//! by somebody else, or a new file that got the number of a removed inode. Two things prove it:
//!
//! * the mark: nobody else opens files so;
//! * the table: when a number is entered for a new lock file, the kernel has just given it out, so
//!   that an older entry of that number is one whose descriptor was closed.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use super::identity::{self, Identity};
use super::{file, fork};

/// How many threads are opening a lock file now.
static OPENING: AtomicU32 = AtomicU32::new(0);

/// The flag by which a child recognises a lock file that its table lacks.
pub(super) const MARK: libc::c_int = libc::O_ASYNC;

const BLOCK: usize = 42;

/// The descriptors of our lock files.
struct Block {
    slots: [Slot; BLOCK],
    used: AtomicUsize,
    next: AtomicPtr<Block>,
}

/// One descriptor. The inode is written before the number and read after it.
struct Slot {
    /// The descriptor's number + 1; 0 while the slot is free, [`TAKEN`] while it is filled in,
    /// [`LOST`] when the number was given to a lock file that was opened later.
    number: AtomicU64,
    device: AtomicU64,
    inode: AtomicU64,
}

const TAKEN: u64 = u64::MAX;
const LOST: u64 = u64::MAX - 1;

impl Slot {
    const fn free() -> Slot {
        Slot {
            number: AtomicU64::new(0),
            device: AtomicU64::new(0),
            inode: AtomicU64::new(0),
        }
    }
}

impl Block {
    const fn new() -> Block {
        Block {
            slots: [const { Slot::free() }; BLOCK],
            used: AtomicUsize::new(0),
            next: AtomicPtr::new(std::ptr::null_mut()),
        }
    }

    fn next(&self) -> Option<&'static Block> {
        // SAFETY: a block once linked is never freed.
        unsafe { self.next.load(Ordering::Acquire).as_ref() }
    }

    /// The next block, made if there is none. No OnceLock: a child that was forked while
    /// another thread fills one in would wait for that thread.
    fn next_or_new(&self) -> &'static Block {
        if let Some(next) = self.next() {
            return next;
        }
        let fresh = Box::into_raw(Box::new(Block::new()));
        let linked = self.next.compare_exchange(
            std::ptr::null_mut(),
            fresh,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        match linked {
            // SAFETY: linked just now, and never freed.
            Ok(_) => unsafe { &*fresh },
            Err(theirs) => {
                // SAFETY: nobody else has seen `fresh`; `theirs` is linked and never freed.
                unsafe {
                    drop(Box::from_raw(fresh));
                    &*theirs
                }
            }
        }
    }

    fn take_slot(&'static self) -> Option<&'static Slot> {
        if self.used.load(Ordering::Relaxed) >= BLOCK {
            return None;
        }
        let taken = self.slots.iter().find(|slot| {
            slot.number
                .compare_exchange(0, TAKEN, Ordering::SeqCst, Ordering::Relaxed)
                .is_ok()
        })?;
        self.used.fetch_add(1, Ordering::Relaxed);
        Some(taken)
    }
}

static TABLE: Block = Block::new();

/// The time between open(2) and the entry in the table.
struct Opening {
    generation: u32,
}

impl Opening {
    fn begin() -> Opening {
        let generation = fork::generation();
        OPENING.fetch_add(1, Ordering::SeqCst);
        Opening { generation }
    }

    /// Whether this is the process that began: a signal handler may have forked meanwhile.
    fn is_here(&self) -> bool {
        self.generation == fork::generation()
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        if self.is_here() {
            OPENING.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// A descriptor of a lock file, which belongs to the process that opened it and to no child.
pub(crate) struct LockFd {
    fd: Option<File>,
    pub(crate) identity: Identity,
    generation: u32,
    slot: &'static Slot,
    block: &'static Block,
    /// The flags with which it was opened, as far as they stay for ever.
    flags: libc::c_int,
    /// The description was given to other processes, and has no mark any more.
    given_away: AtomicBool,
}

impl LockFd {
    /// Opens by `open`, which has to set the [mark](MARK) as the functions of `file` do, and
    /// enters the descriptor in the table.
    ///
    /// `Interrupted` in a child which a signal handler has forked in the middle of this.
    pub(crate) fn open(open: impl FnOnce() -> io::Result<File>) -> io::Result<LockFd> {
        let opening = Opening::begin();
        let fd = open()?;
        let identity = identity::of(fd.as_fd())?;
        let flags = file::lasting_flags(fd.as_fd());
        let (block, slot) = enter(&fd, identity);
        let opened = LockFd {
            fd: Some(fd),
            identity,
            generation: opening.generation,
            slot,
            block,
            flags,
            given_away: AtomicBool::new(false),
        };
        if opening.is_here() {
            Ok(opened)
        } else {
            Err(io::ErrorKind::Interrupted.into())
        }
    }

    /// Whether the descriptor still is what we opened. False in a child of fork.
    #[inline]
    pub(crate) fn is_ours(&self) -> bool {
        let Some(fd) = &self.fd else {
            return false;
        };
        let entry = fd.as_raw_fd() as u64 + 1;
        self.slot.number.load(Ordering::SeqCst) == entry
            && self.generation == fork::generation()
            && if self.given_away.load(Ordering::Relaxed) {
                identity::of(fd.as_fd()).is_ok_and(|now| now == self.identity)
            } else {
                file::lasting_flags(fd.as_fd()) == self.flags
            }
    }

    pub(crate) fn file(&self) -> &File {
        self.fd.as_ref().expect("taken out by drop alone")
    }

    /// Takes the mark off the description, of which other processes are to keep copies.
    pub(crate) fn give_away(&self) -> io::Result<()> {
        self.given_away.store(true, Ordering::Relaxed);
        file::take_mark_off(self.as_fd())
    }
}

fn enter(fd: &File, identity: Identity) -> (&'static Block, &'static Slot) {
    let entry = fd.as_raw_fd() as u64 + 1;
    for block in blocks() {
        for slot in &block.slots {
            // The owner sees that it has lost its descriptor, and frees the slot when it goes.
            if slot.number.load(Ordering::SeqCst) == entry {
                let _ =
                    slot.number
                        .compare_exchange(entry, LOST, Ordering::SeqCst, Ordering::Relaxed);
            }
        }
    }
    let mut block: &'static Block = &TABLE;
    loop {
        if let Some(slot) = block.take_slot() {
            slot.device.store(identity.device, Ordering::SeqCst);
            slot.inode.store(identity.inode, Ordering::SeqCst);
            slot.number.store(entry, Ordering::SeqCst);
            return (block, slot);
        }
        block = block.next_or_new();
    }
}

fn blocks() -> impl Iterator<Item = &'static Block> {
    std::iter::successors(Some(&TABLE), |block| block.next())
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
            // Another file's number. In a child it is the placeholder's, for as long as a guard may
            // name it.
            let _ = fd.into_raw_fd();
        }
        if self.generation == fork::generation() {
            // Out of the table last, so that no child keeps a copy. Should the number be another
            // file's by now, a child sees that by the mark.
            self.slot.number.store(0, Ordering::SeqCst);
            self.block.used.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// In the child, before fork returns there: nothing of the parent's lock files stays open.
/// Only calls that are allowed between fork and exec, and no memory is asked for.
pub(super) fn give_up_in_child() {
    // First those without an owner here, while the table tells which of the marked have one.
    if OPENING.swap(0, Ordering::SeqCst) > 0 {
        close_unentered();
    }
    let mut placeholder = Placeholder(None);
    for block in blocks() {
        for slot in &block.slots {
            let entry = slot.number.swap(0, Ordering::SeqCst);
            if entry != 0 && entry != TAKEN && entry != LOST {
                let number = (entry - 1) as libc::c_int;
                let identity = Identity {
                    device: slot.device.load(Ordering::SeqCst),
                    inode: slot.inode.load(Ordering::SeqCst),
                };
                if identity::of_number(number) == Some(identity) && has_mark(number) {
                    placeholder.cover(number);
                }
            }
        }
        block.used.store(0, Ordering::Relaxed);
    }
}

/// What stands in the place of a lock file in a child: an open file that can neither be read nor
/// written nor locked.
struct Placeholder(Option<libc::c_int>);

impl Placeholder {
    /// Closes a lock file of the parent's, and leaves the placeholder on its number.
    fn cover(&mut self, number: libc::c_int) {
        if self.0.is_none() {
            // Where no descriptor is left the number that is freed here serves.
            self.0 = open_nothing().or_else(|| {
                close(number);
                open_nothing()
            });
        }
        match self.0 {
            Some(nothing) if nothing == number => {}
            Some(nothing) => {
                // SAFETY: dup3 takes no pointers. The table and the inode say that the number was
                // a lock file's at the moment of the fork, and since then only handlers of
                // pthread_atfork have run. Its owner here, of an older generation, will not use it
                // for anything but naming the placeholder.
                unsafe { libc::dup3(nothing, number, libc::O_CLOEXEC) };
            }
            None => close(number),
        }
    }
}

fn open_nothing() -> Option<libc::c_int> {
    let flags = libc::O_PATH | libc::O_CLOEXEC;
    // SAFETY: a NUL-terminated string; open(2) is allowed between fork and exec.
    let nothing = unsafe { libc::open(c"/".as_ptr(), flags) };
    (nothing >= 0).then_some(nothing)
}

fn close(number: libc::c_int) {
    // SAFETY: as for dup3 above; or a marked descriptor, see `close_unentered`.
    unsafe { libc::close(number) };
}

/// Closes the lock files which other threads of the parent had opened and not yet entered.
/// Nobody in this process owns them.
fn close_unentered() {
    each_descriptor(|number| {
        if !is_entered(number) && is_marked(number) {
            close(number);
        }
    });
}

fn is_entered(number: libc::c_int) -> bool {
    let entry = number as u64 + 1;
    blocks().any(|block| {
        let mut slots = block.slots.iter();
        slots.any(|slot| slot.number.load(Ordering::SeqCst) == entry)
    })
}

/// Whether this is a descriptor opened by [`LockFd::open`]. Of terminals, sockets and pipes, where
/// O_ASYNC is in use, the flag proves nothing.
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
    // SAFETY: a NUL-terminated string; open(2) is allowed between fork and exec.
    let list = unsafe { libc::open(c"/proc/self/fd".as_ptr(), flags) };
    if list < 0 {
        // Without /proc, or where no descriptor is left, all numbers are tried.
        (0..limit()).for_each(look);
        return;
    }
    // SAFETY: opened just now, and nobody else's.
    let list = unsafe { OwnedFd::from_raw_fd(list) };
    let mut names = [0_u8; 4096];
    loop {
        // SAFETY: an open directory and a buffer of the length that is told.
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

/// The numbers among the names of a `struct linux_dirent64` list.
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

/// The highest number that a descriptor can have, plus one; no more than a million.
fn limit() -> libc::c_int {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: a valid place for the answer.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    libc::c_int::try_from(limit.rlim_cur.min(1 << 20)).unwrap_or(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_open_descriptor_is_found() {
        let file = File::open("/dev/null").expect("opens");
        let mut found = Vec::new();
        each_descriptor(|number| found.push(number));
        assert!(found.contains(&file.as_raw_fd()), "{found:?}");
        assert!(!is_marked(file.as_raw_fd()));
    }
}
