//! The few system calls that need unsafe code, and short names for clocks and CPUs.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use holdlock_test_support::shared::{self, Shareable};
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

// SAFETY: a Board consists of atomic integers only.
unsafe impl Shareable for Board {}

/// A fresh board in a file that processes share. The file must not exist yet.
pub(crate) fn create_board(path: &Path) -> io::Result<&'static Board> {
    shared::map(&File::create_new(path).and_then(|_| readable(path))?)
}

/// The board that another process has created.
pub(crate) fn open_board(path: &Path) -> io::Result<&'static Board> {
    shared::map(&readable(path)?)
}

fn readable(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).open(path)
}
