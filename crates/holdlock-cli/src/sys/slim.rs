//! Little memory while waiting.
//!
//! A static program has its code for itself, and the kernel maps what stands
//! around each page that was touched: a megabyte, of which a waiter needs one
//! page. Code and constants that were read from the file are dropped from the
//! page table before a long sleep, and found in the page cache again as far as
//! they are needed afterwards: a few microseconds.
//!
//! What runs from there into the sleep comes back at once, and 64 or 128 KiB
//! around it, but no more than the mapping it stands in. So the calls of
//! `sleep` are inline system calls and not the C library's, and its pages are
//! made a mapping of their own: 152 to 216 kB resident became 90.

use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::ptr;

use rustix::fs::FlockOperation;
use rustix::mm::Advice;

/// Waits for a lock of flock(2), once: EINTR is returned. The descriptor is open.
#[inline(never)]
pub(crate) fn sleep(fd: RawFd, operation: FlockOperation) -> io::Result<()> {
    let code = Code::find();
    // SAFETY: it is open, as the caller says, and no other thread is there to close it.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    let here =
        (sleep as fn(RawFd, FlockOperation) -> io::Result<()>) as usize & !(PAGE as usize - 1);
    // SAFETY: advice about our own code, which changes nothing of it; the function may go over
    // into a second page. Advice of its own makes it a mapping of its own.
    let _ = unsafe { rustix::mm::madvise(here as *mut c_void, 2 * PAGE as usize, Advice::Random) };
    code.give_back();
    Ok(rustix::fs::flock(fd, operation)?)
}

/// The same in front of any other long sleep, with a little more left behind.
pub(crate) fn give_back_code() {
    Code::find().give_back();
}

/// The mappings which hold what their file holds.
struct Code {
    segments: [(*mut c_void, usize); MOST],
    count: usize,
}

/// A static program has two, a dynamic one two for each library.
const MOST: usize = 16;

impl Code {
    fn find() -> Code {
        let mut code = Code {
            segments: [(ptr::null_mut(), 0); MOST],
            count: 0,
        };
        // SAFETY: the callback has the type asked for and gets the Code it expects, which
        // outlives the call.
        unsafe { libc::dl_iterate_phdr(Some(each_object), (&raw mut code).cast()) };
        code
    }

    #[inline(always)]
    fn give_back(&self) {
        for &(start, length) in self.segments.iter().take(self.count) {
            // SAFETY: a mapping of a file that was never writable: its pages are the file's,
            // before and after. Where it is none, as the kernel's own, the call only fails.
            let _ = unsafe { rustix::mm::madvise(start, length, Advice::LinuxDontNeed) };
        }
    }
}

unsafe extern "C" fn each_object(
    object: *mut libc::dl_phdr_info,
    _size: usize,
    code: *mut c_void,
) -> c_int {
    // SAFETY: the C library passes a loaded object and all its headers, and find its Code.
    let (base, headers, code) = unsafe {
        let object = &*object;
        let count = usize::from(object.dlpi_phnum);
        (
            object.dlpi_addr,
            std::slice::from_raw_parts(object.dlpi_phdr, count),
            &mut *code.cast::<Code>(),
        )
    };
    for header in headers {
        // Whatever may be written may have been: it would come back as it was in the file.
        let constant = header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0;
        if constant && code.count < MOST {
            let start = (base + header.p_vaddr) & !(PAGE - 1);
            let length = base + header.p_vaddr + header.p_memsz - start;
            code.segments[code.count] = (start as *mut c_void, length as usize);
            code.count += 1;
        }
    }
    0
}

/// The smallest there is; a segment's start has its own alignment where pages are larger.
const PAGE: u64 = 4096;
