//! Starting a thread that gets none of the program's signals, also in a child of fork(2).
//!
//! A thread of the standard library begins with a mutex of that library. If a thread of the parent
//! had it locked at the moment of the fork, a thread in the child would wait for it for ever. The C
//! library has made pthread_create(3) safe in children.

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;

/// As threads of the standard library have.
const STACK_SIZE: usize = 2 << 20;

struct Start {
    name: &'static CStr,
    body: Box<dyn FnOnce() + Send>,
}

/// Starts a thread that nobody joins, in which all signals are blocked: their handlers run in
/// threads of the program.
pub(crate) fn start(name: &'static CStr, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let start = Box::into_raw(Box::new(Start {
        name,
        body: Box::new(body),
    }));
    let mut all = MaybeUninit::uninit();
    let mut before = MaybeUninit::uninit();
    // SAFETY: both sets are written before they are read: the first by sigfillset, the second by
    // pthread_sigmask, which fails only for a wrong first argument.
    let result = unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
        let result = create(start);
        libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), null_mut());
        result
    };
    if result != 0 {
        // SAFETY: made above, and no thread has got it.
        drop(unsafe { Box::from_raw(start) });
        return Err(io::Error::from_raw_os_error(result));
    }
    Ok(())
}

/// The thread owns `start`, if the result is 0.
fn create(start: *mut Start) -> libc::c_int {
    let mut attributes = MaybeUninit::uninit();
    let mut thread = MaybeUninit::uninit();
    // SAFETY: the first call fills the attributes in, and the last one ends their use. `main` gets
    // what it expects.
    unsafe {
        let attributes = attributes.as_mut_ptr();
        let result = libc::pthread_attr_init(attributes);
        if result != 0 {
            return result;
        }
        libc::pthread_attr_setdetachstate(attributes, libc::PTHREAD_CREATE_DETACHED);
        libc::pthread_attr_setstacksize(attributes, STACK_SIZE);
        let result = libc::pthread_create(thread.as_mut_ptr(), attributes, main, start.cast());
        libc::pthread_attr_destroy(attributes);
        result
    }
}

extern "C" fn main(start: *mut libc::c_void) -> *mut libc::c_void {
    // SAFETY: `start` comes from `Box::into_raw`, and this thread alone has it.
    let start = unsafe { Box::from_raw(start.cast::<Start>()) };
    // SAFETY: a NUL-terminated string. Longer names are cut.
    unsafe { libc::prctl(libc::PR_SET_NAME, start.name.as_ptr(), 0, 0, 0) };
    // A panic has been reported, and ends this thread alone.
    let _ = catch_unwind(AssertUnwindSafe(start.body));
    null_mut()
}
