//! The few system calls that need unsafe code, and short names for clocks and CPUs.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::ptr::NonNull;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

use crate::board::Board;

/// Nanoseconds of a clock that all processes share.
pub(crate) fn monotonic() -> u64 {
    nanoseconds(ClockId::Monotonic)
}

/// Nanoseconds of CPU time this process has used, in all its threads.
pub(crate) fn cpu_time() -> u64 {
    nanoseconds(ClockId::ProcessCPUTime)
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// flock(2) through libc.
pub(crate) fn libc_flock(file: &File, operation: libc::c_int) -> io::Result<()> {
    // SAFETY: flock takes no pointers; `file` is open for the time of the borrow.
    check(unsafe { libc::flock(file.as_raw_fd(), operation) })
}

/// lstat(2) through libc: device and inode.
pub(crate) fn libc_lstat(path: &CStr) -> io::Result<(u64, u64)> {
    // SAFETY: `stat` is plain data for which all-zero is valid.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: a NUL-terminated string and a valid place for the answer, both alive in the call.
    check(unsafe { libc::lstat(path.as_ptr(), &mut stat) })?;
    Ok((stat.st_dev, stat.st_ino))
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The CPUs this thread may run on.
pub(crate) fn cpus() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU)
        .filter(|cpu| set.is_set(*cpu))
        .collect())
}

/// Keeps this thread on one CPU until dropped.
pub(crate) struct Pinned {
    before: CpuSet,
}

pub(crate) fn pin(cpu: usize) -> io::Result<Pinned> {
    let before = sched_getaffinity(None)?;
    let mut only = CpuSet::new();
    only.set(cpu);
    sched_setaffinity(None, &only)?;
    Ok(Pinned { before })
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let _ = sched_setaffinity(None, &self.before);
    }
}

/// A [`Board`] in a file that processes share.
pub(crate) struct SharedBoard {
    place: NonNull<Board>,
}

impl SharedBoard {
    /// A fresh board. The file must not exist yet.
    pub(crate) fn create(path: &Path) -> io::Result<SharedBoard> {
        let file = File::create_new(path)?;
        file.set_len(size_of::<Board>() as u64)?;
        SharedBoard::open(path)
    }

    /// A board that another process has created.
    pub(crate) fn open(path: &Path) -> io::Result<SharedBoard> {
        let file = File::options().read(true).write(true).open(path)?;
        if file.metadata()?.len() < size_of::<Board>() as u64 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // SAFETY: a new mapping at a place of the kernel's choice replaces nothing.
        let place = unsafe {
            mmap(
                std::ptr::null_mut(),
                size_of::<Board>(),
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                &file,
                0,
            )
        }?;
        let place = NonNull::new(place.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(SharedBoard { place })
    }
}

impl Deref for SharedBoard {
    type Target = Board;

    fn deref(&self) -> &Board {
        // SAFETY: the mapping is page-aligned, as large as a Board, lives as long as `self` and
        // lies within the file, which nobody shortens. A Board consists of atomic
        // integers only: any bytes are valid, and others may change them at any time.
        unsafe { self.place.as_ref() }
    }
}

impl Drop for SharedBoard {
    fn drop(&mut self) {
        // SAFETY: mapped by `open` with this size; borrows of the board end before `self` does.
        let _ = unsafe { munmap(self.place.as_ptr().cast(), size_of::<Board>()) };
    }
}
