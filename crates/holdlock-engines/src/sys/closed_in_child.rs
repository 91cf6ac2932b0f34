//! Sockets of which children of fork keep no copy.
//!
//! A child of fork has a copy of each descriptor. The server sees the end of a connection only when
//! all copies are closed: a child that kept one would keep the lock of a parent that was killed.
//! Therefore the sockets are in a table, and a handler of pthread_atfork closes them before fork
//! returns in the child. It says nothing on the connection, which is the parent's. (Programs that
//! are executed get no copy: close-on-exec.)
//!
//! # No child keeps one
//!
//! The kernel copies the table of open files before it copies the memory. A socket that another
//! thread opens or closes during a fork can therefore be among the child's files while the child's
//! memory shows the moment before its entry was made, or after its entry was removed. No thread can
//! wait for another one's fork, because the handlers of the program may wait for that thread.
//! Instead, handlers count the forks that have begun and those that are over (`fork`):
//!
//! * Opening: if no fork was under way before the socket was opened, and none has begun when its
//!   entry is complete, then no child has a copy that it does not know. Otherwise the caller closes
//!   the socket, which is not connected yet, and opens another one after a moment.
//! * Closing: the entry stays as it is. It is written anew when the slot is taken again while no
//!   fork is under way: then no fork that began before the socket was closed still copies.
//!
//! An entry has the inode as well, which is written before the number. Each socket has an inode of
//! its own, so an entry of a closed socket does no harm to the file that has got its number.
//!
//! Other descriptors need none of this: a copy of an event, a timer or an epoll keeps no connection
//! alive, and programs do not see it.
//!
//! The table is never locked, because the thread that would have to unlock it does not exist in a
//! child.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU64, Ordering};

use tokio::io::unix::AsyncFd;

use super::fork::{self, Generation};

const SLOTS: usize = 32;

/// An entry of the table.
struct Slot {
    /// Whether the socket is open. Children do not read this.
    is_taken: AtomicBool,
    /// The number of the descriptor plus one; 0 while the rest is written.
    number: AtomicI32,
    device: AtomicU64,
    inode: AtomicU64,
}

/// A part of the table.
struct Block {
    slots: [Slot; SLOTS],
    next: AtomicPtr<Block>,
}

static FIRST: Block = Block::new();

impl Slot {
    const fn new() -> Slot {
        Slot {
            is_taken: AtomicBool::new(false),
            number: AtomicI32::new(0),
            device: AtomicU64::new(0),
            inode: AtomicU64::new(0),
        }
    }

    /// Takes the slot if it is free, and no child may need the entry of a socket that was closed.
    fn take(&self) -> bool {
        if self.is_taken.swap(true, Ordering::SeqCst) {
            return false;
        }
        let is_free = self.number.load(Ordering::SeqCst) == 0 || fork::begun_if_over().is_some();
        if !is_free {
            self.is_taken.store(false, Ordering::SeqCst);
        }
        is_free
    }

    fn write(&self, number: RawFd, (device, inode): Identity) {
        self.number.store(0, Ordering::SeqCst);
        self.device.store(device, Ordering::SeqCst);
        self.inode.store(inode, Ordering::SeqCst);
        self.number.store(number + 1, Ordering::SeqCst);
    }

    /// Whether the number is still that of the socket.
    fn is_its(&self, number: RawFd) -> bool {
        let inode = self.inode.load(Ordering::SeqCst);
        identity(number) == Some((self.device.load(Ordering::SeqCst), inode))
    }
}

impl Block {
    const fn new() -> Block {
        Block {
            slots: [const { Slot::new() }; SLOTS],
            next: AtomicPtr::new(std::ptr::null_mut()),
        }
    }

    fn next(&self) -> Option<&'static Block> {
        let next = self.next.load(Ordering::Acquire);
        // SAFETY: null, or a block that `append` has leaked: it lives for ever.
        unsafe { next.as_ref() }
    }

    /// The block after this one; it is made if there is none.
    fn append(&self) -> &'static Block {
        let fresh = Box::into_raw(Box::new(Block::new()));
        let null = std::ptr::null_mut();
        let order = (Ordering::AcqRel, Ordering::Acquire);
        let next = match self.next.compare_exchange(null, fresh, order.0, order.1) {
            Ok(_) => fresh,
            Err(theirs) => {
                // SAFETY: made above, and no other thread has seen it.
                drop(unsafe { Box::from_raw(fresh) });
                theirs
            }
        };
        // SAFETY: not null, and never freed.
        unsafe { &*next }
    }
}

fn take_slot() -> &'static Slot {
    let mut block = &FIRST;
    loop {
        if let Some(slot) = block.slots.iter().find(|slot| slot.take()) {
            return slot;
        }
        block = block.next().unwrap_or_else(|| block.append());
    }
}

/// The device and the inode.
pub(super) type Identity = (u64, u64);

/// Allowed between fork and exec.
pub(super) fn identity(number: RawFd) -> Option<Identity> {
    // SAFETY: `stat` is plain data for which all-zero is valid.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: valid memory for the answer. A number that is not open is an error.
    let failed = unsafe { libc::fstat(number, &mut stat) };
    (failed == 0).then_some((stat.st_dev, stat.st_ino))
}

/// A socket that is closed in children of fork.
pub(crate) struct ClosedInChild {
    /// None only while it is dropped.
    socket: Option<OwnedFd>,
    slot: &'static Slot,
    generation: Generation,
}

impl ClosedInChild {
    /// Opens a socket by `open`, and says whether each child knows it. If not, a child may have a
    /// copy that it keeps.
    pub(crate) fn open(
        open: impl FnOnce() -> io::Result<OwnedFd>,
    ) -> io::Result<(ClosedInChild, bool)> {
        fork::register();
        let begun = fork::begun_if_over();
        let socket = open()?;
        let Some(identity) = identity(socket.as_raw_fd()) else {
            return Err(io::Error::last_os_error());
        };
        let slot = take_slot();
        slot.write(socket.as_raw_fd(), identity);
        let is_known = begun == Some(fork::begun());
        let socket = ClosedInChild {
            socket: Some(socket),
            slot,
            generation: fork::generation(),
        };
        Ok((socket, is_known))
    }

    /// False when the program has closed it: the number may be that of another file.
    pub(crate) fn is_ours(&self) -> bool {
        self.slot.is_its(self.as_raw_fd())
    }

    /// Lets a task of the helper thread wait for it.
    pub(crate) fn watch(self) -> io::Result<AsyncFd<ClosedInChild>> {
        // SAFETY: the socket is owned by the result, which has to be dropped to close it, and its
        // number does not change.
        let watched = unsafe { AsyncFd::register(self) };
        watched.map_err(|error| error.into_parts().1)
    }
}

impl AsFd for ClosedInChild {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_ref().expect("taken by drop alone").as_fd()
    }
}

impl AsRawFd for ClosedInChild {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl Drop for ClosedInChild {
    fn drop(&mut self) {
        let Some(socket) = self.socket.take() else {
            return;
        };
        // In a child, the number and the slot belong to others.
        let is_here = self.generation.is_current();
        if is_here && self.slot.is_its(socket.as_raw_fd()) {
            drop(socket);
        } else {
            // The program has closed it, and the number may be that of another file.
            let _ = socket.into_raw_fd();
        }
        if is_here {
            self.slot.is_taken.store(false, Ordering::SeqCst);
        }
    }
}

/// Closes the sockets of the parent. Runs in the child before fork returns there.
pub(super) fn close_all() {
    let mut block = Some(&FIRST);
    while let Some(this) = block {
        for slot in &this.slots {
            let number = slot.number.swap(0, Ordering::SeqCst) - 1;
            if number >= 0 && slot.is_its(number) {
                // SAFETY: the inode proves that the number is a socket of the table. Its owner, a
                // task of the parent's helper thread, does not exist here, and what refers to the
                // task is never dropped.
                unsafe { libc::close(number) };
            }
            slot.is_taken.store(false, Ordering::SeqCst);
        }
        block = this.next();
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::{Mutex, PoisonError};

    use rustix::net::{AddressFamily, SocketType, socket};

    use super::*;

    /// The tests fork one after the other.
    static FORKS: Mutex<()> = Mutex::new(());

    fn opened() -> ClosedInChild {
        ClosedInChild::open(unconnected).expect("opens").0
    }

    fn unconnected() -> io::Result<OwnedFd> {
        Ok(socket(AddressFamily::INET, SocketType::STREAM, None)?)
    }

    /// Whether this is so in a child.
    fn in_child(is_so: impl FnOnce() -> bool) -> bool {
        let mut status = 0;
        // SAFETY: the child makes calls that are allowed between fork and exec, and ends. The
        // parent waits for it, with valid memory for the answer.
        unsafe {
            let child = libc::fork();
            if child == 0 {
                libc::_exit((!is_so()).into());
            }
            assert_eq!(libc::waitpid(child, &mut status, 0), child);
        }
        status == 0
    }

    #[test]
    fn a_socket_that_is_opened_during_a_fork_is_not_used() {
        let _one = FORKS.lock().unwrap_or_else(PoisonError::into_inner);
        let mut has_copy = false;
        let forked = ClosedInChild::open(|| {
            let socket = unconnected()?;
            has_copy = in_child(|| identity(socket.as_raw_fd()).is_some());
            Ok(socket)
        });
        let (_socket, is_known) = forked.expect("opens");
        assert!(has_copy);
        assert!(!is_known);
        let (_socket, is_known) = ClosedInChild::open(unconnected).expect("opens");
        assert!(is_known);
    }

    #[test]
    fn a_child_closes_sockets_and_no_file_that_has_got_the_number_of_one() {
        let _one = FORKS.lock().unwrap_or_else(PoisonError::into_inner);
        let (open, closed) = (opened(), opened());
        let (open_at, closed_at) = (open.as_raw_fd(), closed.as_raw_fd());
        let file = File::open("/").expect("opens");
        // SAFETY: takes no pointers. The owner of the number notices that it is another file's.
        let replaced = unsafe { libc::dup2(file.as_raw_fd(), closed_at) };
        assert_eq!(replaced, closed_at);
        assert!(in_child(
            || identity(open_at).is_none() && identity(closed_at).is_some()
        ));
        drop(closed);
        assert!(in_child(|| identity(closed_at).is_some()));
        // SAFETY: opened above by dup2, and nothing owns it.
        unsafe { libc::close(closed_at) };
    }

    #[test]
    fn a_child_knows_the_sockets_that_are_closed_during_its_fork() {
        let _one = FORKS.lock().unwrap_or_else(PoisonError::into_inner);
        let closed = opened();
        let (slot, number) = (closed.slot, closed.as_raw_fd());
        fork::before();
        drop(closed);
        let other = opened();
        // After the fork another test may use the slot.
        let kept = slot.number.load(Ordering::SeqCst);
        fork::in_parent();
        assert!(!std::ptr::eq(slot, other.slot));
        assert_eq!(kept, number + 1);
    }
}
