//! The table of this process's lock file descriptors, as `lock_fd` explains it.
//!
//! No code here waits for another thread, so a child of fork can use the table at once.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use super::identity::Identity;

/// How many threads are opening a lock file now.
pub(super) static OPENING: AtomicU32 = AtomicU32::new(0);

/// How often a thread has ended to open a lock file, or has closed one.
pub(super) static CHANGES: AtomicU64 = AtomicU64::new(0);

/// The flag by which a child recognises a lock file that is not in its table.
pub(super) const MARK: libc::c_int = libc::O_ASYNC;

const SLOTS_OF_A_BLOCK: usize = 42;

/// A part of the table of lock file descriptors.
pub(super) struct Block {
    pub(super) slots: [Slot; SLOTS_OF_A_BLOCK],
    pub(super) used: AtomicUsize,
    next: AtomicPtr<Block>,
}

/// One descriptor in the table. The inode is written before the number and read after it.
pub(super) struct Slot {
    /// The descriptor's number + 1; 0 while the slot is free, [`FILLING`] while it is being filled
    /// in, [`LOST`] if the number was given to a file that was opened later.
    pub(super) number: AtomicU64,
    device: AtomicU64,
    inode: AtomicU64,
}

pub(super) const FILLING: u64 = u64::MAX;
pub(super) const LOST: u64 = u64::MAX - 1;

impl Slot {
    const fn free() -> Slot {
        Slot {
            number: AtomicU64::new(0),
            device: AtomicU64::new(0),
            inode: AtomicU64::new(0),
        }
    }

    pub(super) fn identity(&self) -> Identity {
        Identity {
            device: self.device.load(Ordering::SeqCst),
            inode: self.inode.load(Ordering::SeqCst),
        }
    }
}

impl Block {
    const fn new() -> Block {
        Block {
            slots: [const { Slot::free() }; SLOTS_OF_A_BLOCK],
            used: AtomicUsize::new(0),
            next: AtomicPtr::new(std::ptr::null_mut()),
        }
    }

    fn next(&self) -> Option<&'static Block> {
        // SAFETY: a linked block is never freed.
        unsafe { self.next.load(Ordering::Acquire).as_ref() }
    }

    /// The next block; makes one if there is none. Not a OnceLock: if another thread were filling
    /// that in during a fork, the child would wait for that thread.
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
                // SAFETY: no other thread has seen `fresh`; `theirs` is linked and never freed.
                unsafe {
                    drop(Box::from_raw(fresh));
                    &*theirs
                }
            }
        }
    }

    fn take_slot(&'static self) -> Option<&'static Slot> {
        if self.used.load(Ordering::Relaxed) >= SLOTS_OF_A_BLOCK {
            return None;
        }
        let taken = self.slots.iter().find(|slot| {
            slot.number
                .compare_exchange(0, FILLING, Ordering::SeqCst, Ordering::Relaxed)
                .is_ok()
        })?;
        self.used.fetch_add(1, Ordering::Relaxed);
        Some(taken)
    }
}

static TABLE: Block = Block::new();

/// Notes that a descriptor that was opened just now belongs to no older entry. The LockFd of an
/// older entry notices that it has lost its descriptor, and frees the slot when it is dropped.
pub(super) fn disown(fd: BorrowedFd<'_>) {
    let entry = entry_of(fd);
    for slot in blocks().flat_map(|block| &block.slots) {
        if slot.number.load(Ordering::SeqCst) == entry {
            let _ = slot
                .number
                .compare_exchange(entry, LOST, Ordering::SeqCst, Ordering::Relaxed);
        }
    }
}

/// The number of a slot that has this descriptor.
pub(super) fn entry_of(fd: BorrowedFd<'_>) -> u64 {
    fd.as_raw_fd() as u64 + 1
}

/// Enters a descriptor that was opened just now.
pub(super) fn register(fd: BorrowedFd<'_>, identity: Identity) -> (&'static Block, &'static Slot) {
    disown(fd);
    let mut block: &'static Block = &TABLE;
    loop {
        if let Some(slot) = block.take_slot() {
            slot.device.store(identity.device, Ordering::SeqCst);
            slot.inode.store(identity.inode, Ordering::SeqCst);
            slot.number.store(entry_of(fd), Ordering::SeqCst);
            return (block, slot);
        }
        block = block.next_or_new();
    }
}

pub(super) fn blocks() -> impl Iterator<Item = &'static Block> {
    std::iter::successors(Some(&TABLE), |block| block.next())
}
