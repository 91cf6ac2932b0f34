//! A note of this process that other processes may read: a file in memory (memfd_create(2)) that
//! the process keeps open.
//!
//! The note has the threads of the process that only help this library, and whether the wait of its
//! main thread has a limit. Others need both to be certain of a deadlock; they find the note among
//! the descriptors of the process, which its user and root may read.
//!
//! | bytes | what |
//! |---|---|
//! | 0–3 | the version, 1 |
//! | 4–7 | the process's number, as the process sees it: a child of fork inherits the descriptor, but not the note |
//! | 8–15 | the wait of the main thread: 0: nothing is known; 1: it may have a limit; otherwise it has none, and the number is how often the thread had left the processor before, plus 2 |
//! | 16–143 | 32 numbers of helper threads; 0: free |
//!
//! Numbers are of the machine's byte order.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::fork::ForkCell;
use super::identity::{self, Identity};
use super::start::start_thread;
use super::thread::ThreadId;
use super::{by_number, check, file, process};

const VERSION: u32 = 1;
const HELPERS: usize = 32;
const SIZE: usize = size_of::<Note>();

/// The link in /proc/PID/fd of a descriptor of a note.
const LINK: &str = "/memfd:holdlock-note (deleted)";

#[repr(C)]
struct Note {
    version: AtomicU32,
    process: AtomicU32,
    wait: AtomicU64,
    helpers: [AtomicU32; HELPERS],
}

/// A note, and the descriptor by which others find it.
///
/// The process that uses the note never closes the descriptor: others look for it for as long as
/// the process lives, and where other code has closed it meanwhile, the number may be of a file of
/// that code.
struct Page {
    note: &'static Note,
    number: libc::c_int,
    identity: Identity,
}

/// Only a page that is not used is dropped: another thread has made one at the same moment.
impl Drop for Page {
    fn drop(&mut self) {
        close(self.number);
    }
}

/// None where the system gives no memory or no descriptor for it, or the process may write no files
/// (RLIMIT_FSIZE): others are then less certain.
static NOTE: ForkCell<Option<Page>> = ForkCell::new();

fn note() -> Option<&'static Note> {
    let page = NOTE.get_or_make(|| publish().ok());
    page.as_ref().map(|page| page.note)
}

/// Closes the descriptor of the parent's note in a child of fork, which would otherwise collect one
/// for each of its ancestors. Runs in the child before fork returns there.
pub(super) fn close_parents_note() {
    if let Some(Some(page)) = NOTE.last_made()
        && identity::of_number(page.number) == Some(page.identity)
    {
        close(page.number);
    }
}

/// Closes the descriptor of a note.
fn close(number: libc::c_int) {
    // SAFETY: takes no pointers. Either the number was made just now, or the inode proves that it
    // is still that of a note; nothing else refers to it.
    unsafe { libc::close(number) };
}

fn publish() -> io::Result<Page> {
    // The kernel does not only refuse a file above the limit, but ends the process by SIGXFSZ.
    if process::file_size_limit() < SIZE as u64 {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let number = check(by_number::memfd_create(c"holdlock-note", libc::MFD_CLOEXEC))?;
    // SAFETY: made just now, and nobody else's.
    let file = unsafe { File::from_raw_fd(number) };
    file.set_len(SIZE as u64)?;
    let identity = identity::of(file.as_fd())?;
    let note = map(file.as_fd())?;
    note.process.store(std::process::id(), Ordering::Relaxed);
    note.version.store(VERSION, Ordering::Release);
    Ok(Page {
        note,
        number: file.into_raw_fd(),
        identity,
    })
}

/// Maps a note of the right size, in this process and not in its children.
fn map(file: BorrowedFd<'_>) -> io::Result<&'static Note> {
    // SAFETY: a shared mapping of a file of this size, at an address of the kernel's choice.
    let page = unsafe {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        libc::mmap(
            std::ptr::null_mut(),
            SIZE,
            access,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            0,
        )
    };
    if page == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the mapping made above. A child must not write to its parent's note.
    check(unsafe { libc::madvise(page, SIZE, libc::MADV_DONTFORK) }).inspect_err(|_| {
        // SAFETY: the same; nothing refers to it yet.
        unsafe { libc::munmap(page, SIZE) };
    })?;
    // SAFETY: the mapping is never unmapped, is zeroed, aligned to a page, and as large as a Note,
    // of which all fields are atomics. In a child, where it is not mapped, the ForkCell does not
    // give it out.
    Ok(unsafe { &*page.cast::<Note>() })
}

/// Starts a thread that only helps this library. It blocks all signals: the program's own threads
/// get them.
pub(crate) fn start_helper(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    // Made here, not by the new thread at a time of its own: a program that closes descriptors that
    // it does not know may do so as soon as it has its lock, and what gets the number of a note
    // that is half made would be cut to the note's length.
    note();
    let run = move || {
        let _helper = Helper::enter();
        run();
    };
    start_thread(name, run)
}

/// While it lives, the note has the thread that made it as a helper: it neither holds nor releases
/// locks of its own.
pub(crate) struct Helper {
    slot: Option<&'static AtomicU32>,
    thread: ThreadId,
}

impl Helper {
    pub(crate) fn enter() -> Helper {
        let thread = ThreadId::current();
        let number = thread.number();
        let free = |slot: &&AtomicU32| {
            slot.compare_exchange(0, number, Ordering::SeqCst, Ordering::Relaxed)
                .is_ok()
        };
        Helper {
            slot: note().and_then(|note| note.helpers.iter().find(free)),
            thread,
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // Not in a child of fork, whose memory this is not; there is no helper there either.
        if let Some(slot) = self.slot
            && ThreadId::current() == self.thread
        {
            slot.store(0, Ordering::SeqCst);
        }
    }
}

/// What is known of the wait of a process's main thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum WaitNote {
    /// Nobody looks at its waits.
    #[default]
    Unknown,
    /// A limit or something else may end it.
    MayEnd,
    /// Nothing but the lock ends it, if the thread has left the processor just so often.
    NoLimit { switches: u64 },
}

impl WaitNote {
    fn number(self) -> u64 {
        match self {
            WaitNote::Unknown => 0,
            WaitNote::MayEnd => 1,
            WaitNote::NoLimit { switches } => switches.saturating_add(2),
        }
    }

    fn of(number: u64) -> WaitNote {
        match number {
            0 => WaitNote::Unknown,
            1 => WaitNote::MayEnd,
            more => WaitNote::NoLimit { switches: more - 2 },
        }
    }
}

/// Publishes what is known of the wait of the main thread.
pub(crate) fn set_wait(wait: WaitNote) {
    if let Some(note) = note() {
        note.wait.store(wait.number(), Ordering::SeqCst);
    }
}

/// What a process has published.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Published {
    /// The numbers of its helper threads.
    pub(crate) helpers: Vec<u32>,
    /// The wait of its main thread.
    pub(crate) wait: WaitNote,
}

/// What a process says of itself, by the entries of its /proc/PID/fd. None where it does not use
/// this library, has not waited yet, or may not be looked at. With two copies of the library in one
/// process, what both say counts.
pub(crate) fn read(
    pid: u32,
    descriptors: impl Iterator<Item = impl AsRef<Path>>,
) -> Option<Published> {
    let mut found: Option<Published> = None;
    for entry in descriptors {
        let is_note = std::fs::read_link(&entry).is_ok_and(|link| link == Path::new(LINK));
        if let Some(one) = is_note.then(|| read_one(pid, entry.as_ref())).flatten() {
            let all = found.get_or_insert_default();
            all.helpers.extend(one.helpers);
            if one.wait != WaitNote::Unknown {
                all.wait = one.wait;
            }
        }
    }
    found
}

fn read_one(pid: u32, entry: &Path) -> Option<Published> {
    let mut bytes = [0; SIZE];
    // By way of O_PATH: whatever is there now, to open it does nothing unless it is a regular file.
    let pinned = file::pin(entry, true).ok()?;
    pinned.metadata().ok().filter(std::fs::Metadata::is_file)?;
    let opened = File::open(file::descriptor_path(pinned.as_fd())).ok()?;
    opened.read_exact_at(&mut bytes, 0).ok()?;
    let four = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    if four(0)? != VERSION || four(4)? != pid {
        return None;
    }
    let wait = u64::from_ne_bytes(bytes.get(8..16)?.try_into().ok()?);
    let helpers = (0..HELPERS).filter_map(|index| four(16 + 4 * index));
    Some(Published {
        helpers: helpers.filter(|number| *number != 0).collect(),
        wait: WaitNote::of(wait),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours() -> Option<Published> {
        let entries = std::fs::read_dir("/proc/self/fd").expect("readable");
        let entries = entries.flatten().map(|entry| entry.path());
        read(std::process::id(), entries)
    }

    #[test]
    fn what_is_published_is_read() {
        let helper = Helper::enter();
        let number = ThreadId::current().number();
        assert!(ours().expect("a note").helpers.contains(&number));
        for wait in [
            WaitNote::NoLimit { switches: 7 },
            WaitNote::MayEnd,
            WaitNote::Unknown,
        ] {
            set_wait(wait);
            assert_eq!(ours().expect("a note").wait, wait);
        }
        drop(helper);
        assert!(!ours().expect("a note").helpers.contains(&number));
        // A child of fork has the descriptor, and is another process.
        let entries = std::fs::read_dir("/proc/self/fd").expect("readable");
        assert_eq!(read(1, entries.flatten().map(|entry| entry.path())), None);
    }

    #[test]
    fn a_process_that_may_write_no_files_has_no_note_and_lives() {
        let none = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: the child only makes system calls, and ends.
        let child = unsafe {
            let child = libc::fork();
            if child == 0 {
                libc::setrlimit(libc::RLIMIT_FSIZE, &none);
                libc::_exit(publish().is_ok().into());
            }
            child
        };
        let mut status = 0;
        // SAFETY: valid memory for the answer.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert_eq!(status, 0);
    }
}
