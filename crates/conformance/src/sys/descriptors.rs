//! Descriptors, whatever code owns them.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use super::sleep;

/// Sets or clears O_NONBLOCK; returns whether it was set.
pub fn set_nonblocking(fd: &impl AsRawFd, on: bool) -> bool {
    // SAFETY: fcntl with these commands takes no pointers.
    unsafe {
        let flags = libc::fcntl(fd.as_raw_fd(), libc::F_GETFL);
        let other = flags & !libc::O_NONBLOCK;
        let wanted = if on { other | libc::O_NONBLOCK } else { other };
        libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, wanted);
        flags & libc::O_NONBLOCK != 0
    }
}

/// Closes every descriptor from `first` on, whatever code owns it, as programs do that close
/// inherited descriptors.
pub fn close_all_from(first: i32) {
    // SAFETY: takes no pointers. The callers show what becomes of the owners.
    unsafe { libc::close_range(first as u32, u32::MAX, 0) };
}

/// Closes one descriptor, whatever code owns it.
pub fn close(number: i32) {
    // SAFETY: takes no pointers. The callers show what becomes of the owner.
    unsafe { libc::close(number) };
}

/// Puts a copy of `file` on a descriptor's number, whatever code owned that.
pub fn cover(number: i32, file: &File) {
    // SAFETY: takes no pointers. The callers show what becomes of the owner.
    assert_eq!(unsafe { libc::dup2(file.as_raw_fd(), number) }, number);
}

/// How many of the first hundred descriptors are files below `directory` on which a lock is held
/// now or within some milliseconds. Allocates nothing, so a forked child of a process with threads
/// may call it.
pub fn locked_descriptors_below(directory: &Path) -> usize {
    descriptors_below(directory)
        .filter(|number| is_locked(*number))
        .count()
}

/// Those of the first hundred descriptors that are files below `directory`. Allocates nothing.
pub fn descriptors_below(directory: &Path) -> impl Iterator<Item = i32> {
    let directory = directory.as_os_str().as_bytes();
    let is_below = |link: &[u8]| {
        let below = link.strip_prefix(directory);
        below.is_some_and(|name| name.starts_with(b"/"))
    };
    (3..100).filter(move |number| leads(*number, is_below))
}

/// Whether one of the first hundred descriptors is this file. Allocates nothing.
pub fn is_open(file: &Path) -> bool {
    let file = file.as_os_str().as_bytes();
    (3..100).any(|number| leads(number, |link| link == file))
}

/// Whether the descriptor is of a file whose path is `wanted`.
fn leads(number: i32, wanted: impl Fn(&[u8]) -> bool) -> bool {
    let mut link = [0; 512];
    let door = door(*b"/proc/self/fd/00\0\0\0\0\0", number);
    // SAFETY: a NUL-terminated string, and a buffer of the length that is given.
    let length =
        unsafe { libc::readlink(door.as_ptr().cast(), link.as_mut_ptr().cast(), link.len()) };
    usize::try_from(length).is_ok_and(|length| wanted(&link[..length]))
}

fn is_locked(number: i32) -> bool {
    let door = door(*b"/proc/self/fdinfo/00\0", number);
    (0..50).any(|_| {
        sleep(Duration::from_micros(100));
        let mut text = [0; 1024];
        // SAFETY: a NUL-terminated string, a buffer of the length that is given, and our own
        // descriptor.
        let length = unsafe {
            let info = libc::open(door.as_ptr().cast(), libc::O_RDONLY);
            let length = libc::read(info, text.as_mut_ptr().cast(), text.len());
            libc::close(info);
            length
        };
        let text = usize::try_from(length).map_or(&[][..], |length| &text[..length]);
        text.windows(5).any(|part| part == b"lock:")
    })
}

/// The path with `number` for its two zeros.
fn door(mut path: [u8; 21], number: i32) -> [u8; 21] {
    let at = path.iter().position(|byte| *byte == b'0').unwrap_or(0);
    if number < 10 {
        path[at] += number as u8;
        path[at + 1] = 0;
    } else {
        path[at] += (number / 10) as u8;
        path[at + 1] += (number % 10) as u8;
    }
    path
}
