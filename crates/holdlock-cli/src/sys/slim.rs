//! Little memory while waiting.
//!
//! A static program has its code for itself, and the kernel maps what stands
//! around each page that was touched: a megabyte, of which a waiter needs two
//! pages. Code and constants that were read from the file are dropped from the
//! page table before a long sleep, and read again from the page cache as far
//! as they are needed afterwards: a few microseconds.

use std::ffi::{c_int, c_void};

/// Gives back what can be read from the program's file again.
pub(crate) fn give_back_code() {
    // SAFETY: the callback has the type asked for, keeps nothing, and ignores its data.
    unsafe { libc::dl_iterate_phdr(Some(each_object), std::ptr::null_mut()) };
}

unsafe extern "C" fn each_object(
    object: *mut libc::dl_phdr_info,
    _size: usize,
    _data: *mut c_void,
) -> c_int {
    // SAFETY: the C library passes a loaded object and all its headers.
    let (base, headers) = unsafe {
        let object = &*object;
        let count = usize::from(object.dlpi_phnum);
        (
            object.dlpi_addr,
            std::slice::from_raw_parts(object.dlpi_phdr, count),
        )
    };
    for header in headers {
        // Whatever may be written may have been: it would come back as it was in the file.
        if header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0 {
            let start = (base + header.p_vaddr) & !(PAGE - 1);
            let length = base + header.p_vaddr + header.p_memsz - start;
            // SAFETY: a mapping of a file that was never writable: its pages are the file's,
            // before and after. Where it is none, as the kernel's own, the call only fails.
            unsafe { libc::madvise(start as *mut c_void, length as usize, libc::MADV_DONTNEED) };
        }
    }
    0
}

/// The smallest there is; a segment's start has its own alignment where pages are larger.
const PAGE: u64 = 4096;
