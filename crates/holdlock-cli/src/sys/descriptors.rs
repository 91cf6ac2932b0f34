//! What children inherit.

/// Marks every descriptor above 2 as not for children, those included which whoever started us
/// left open. Where the kernel cannot (before 5.11), they stay as they are.
pub(crate) fn keep_from_children() {
    // SAFETY: sets a flag that matters at exec(2) only; no descriptor is closed in this process.
    unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3 as libc::c_uint,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC as libc::c_uint,
        );
    }
}
