//! Starts a thread, also in a child of fork(2).
//!
//! A thread of the standard library begins with a mutex of that library. If a thread of the parent
//! had it locked at the moment of the fork, a thread in the child would wait for it for ever. The C
//! library has made pthread_create(3) safe in children.

use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;

use super::thread::with_signals_blocked;

/// Far more than a thread here needs: the C library takes the program's thread-local memory out of
/// it. What is not used costs no memory.
const STACK_SIZE: usize = 1 << 20;

struct Start {
    name: CString,
    run: Box<dyn FnOnce() + Send>,
}

/// Starts a thread that nobody joins. It blocks all signals: the program's own threads get them.
pub(crate) fn start_thread(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let start = Box::into_raw(Box::new(Start {
        name: CString::new(name)?,
        run: Box::new(run),
    }));
    let result = with_signals_blocked(|| {
        // Programs with much thread-local memory need a larger stack.
        match create(Some(STACK_SIZE), start) {
            libc::EINVAL => create(None, start),
            result => result,
        }
    });
    if result != 0 {
        // SAFETY: made above, and no thread has got it.
        drop(unsafe { Box::from_raw(start) });
        return Err(io::Error::from_raw_os_error(result));
    }
    Ok(())
}

/// The thread owns `start`, if the result is 0. Without a size, the stack has the usual one.
fn create(stack_size: Option<usize>, start: *mut Start) -> libc::c_int {
    let mut attributes = MaybeUninit::uninit();
    // SAFETY: the first call fills the attributes in, and the last one ends their use. `main` gets
    // what it expects.
    unsafe {
        let attributes = attributes.as_mut_ptr();
        let mut result = libc::pthread_attr_init(attributes);
        if result != 0 {
            return result;
        }
        libc::pthread_attr_setdetachstate(attributes, libc::PTHREAD_CREATE_DETACHED);
        if let Some(size) = stack_size {
            result = libc::pthread_attr_setstacksize(attributes, size);
        }
        if result == 0 {
            let mut thread = MaybeUninit::uninit();
            result = libc::pthread_create(thread.as_mut_ptr(), attributes, main, start.cast());
        }
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
    let _ = catch_unwind(AssertUnwindSafe(start.run));
    null_mut()
}
