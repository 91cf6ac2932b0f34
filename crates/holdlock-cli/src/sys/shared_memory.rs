//! Memory that processes share.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::sync::atomic::AtomicU64;

use rustix::mm::{MapFlags, ProtFlags, mmap};

/// A type that several processes may change at the same time.
///
/// # Safety
///
/// The type consists of atomic integers: every byte pattern is a value, and other processes may
/// change it at any time. It needs no alignment beyond a page.
pub(crate) unsafe trait Shareable {}

// SAFETY: an atomic integer.
unsafe impl Shareable for AtomicU64 {}
// SAFETY: atomic integers one after the other.
unsafe impl<T: Shareable, const N: usize> Shareable for [T; N] {}

/// Declares a struct of shareable fields, and that it is shareable itself.
macro_rules! shareable {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[repr(C)]
        pub(crate) struct $name {
            $($(#[$field_doc])* pub(crate) $field: $type,)*
        }
        const _: fn() = || {
            const fn is_shareable<T: crate::sys::shared_memory::Shareable>() {}
            $(is_shareable::<$type>();)*
        };
        #[allow(unsafe_code)]
        // SAFETY: every field is shareable, as the lines above check.
        unsafe impl crate::sys::shared_memory::Shareable for $name {}
    };
}
pub(crate) use shareable;

/// Maps the beginning of a file, which is made long enough. Never unmapped.
pub(crate) fn map<T: Shareable>(file: &File) -> io::Result<&'static T> {
    let size = size_of::<T>();
    if file.metadata()?.len() < size as u64 {
        file.set_len(size as u64)?;
    }
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a fresh shared mapping at an address of the kernel's choice replaces nothing.
    let address = unsafe {
        mmap(
            std::ptr::null_mut(),
            size,
            access,
            MapFlags::SHARED,
            file,
            0,
        )
    }?;
    // SAFETY: the mapping is page-aligned, as large as a T, and never unmapped; the file is long
    // enough and no caller shortens it. `Shareable` says that all bytes are valid at any time.
    Ok(unsafe { &*address.cast::<T>() })
}
