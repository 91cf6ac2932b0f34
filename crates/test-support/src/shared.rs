//! Memory that processes share through a file.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU32, AtomicU64};

/// A type that several processes may change at the same time.
///
/// # Safety
///
/// The type consists of atomic integers: every byte pattern is a value, and other processes may
/// change it at any time. It needs no alignment beyond a page.
pub unsafe trait Shareable {}

// SAFETY: an atomic integer.
unsafe impl Shareable for AtomicU32 {}
// SAFETY: an atomic integer.
unsafe impl Shareable for AtomicU64 {}
// SAFETY: atomic integers one after the other.
unsafe impl<T: Shareable, const N: usize> Shareable for [T; N] {}

/// Maps the beginning of a file, which is made long enough. Never unmapped.
///
/// # Errors
///
/// If the file cannot be made longer (ftruncate(2)) or mapped (mmap(2)). The file must be open for
/// reading and writing.
pub fn map<T: Shareable>(file: &File) -> io::Result<&'static T> {
    let size = size_of::<T>();
    if file.metadata()?.len() < size as u64 {
        file.set_len(size as u64)?;
    }
    // SAFETY: a fresh shared mapping at an address of the kernel's choice replaces nothing.
    let address = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            size,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            0,
        )
    };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the mapping is page-aligned, as large as a T, and never unmapped; the file is long
    // enough and no caller shortens it. `Shareable` says that all bytes are valid at any time.
    Ok(unsafe { &*address.cast::<T>() })
}
