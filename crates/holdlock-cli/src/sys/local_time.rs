//! The local time of day: localtime(3).
#![allow(unsafe_code)]

use std::mem::zeroed;
use std::time::{SystemTime, UNIX_EPOCH};

/// Hour, minute and second.
pub(crate) fn of(time: SystemTime) -> (i32, i32, i32) {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs() as _;
    // SAFETY: both pointers are to live values; tm is plain data that may be zero, and stays so
    // where the time is out of range. Nothing here changes the environment that it reads.
    let broken_down = unsafe {
        let mut tm: libc::tm = zeroed();
        libc::localtime_r(&seconds, &mut tm);
        tm
    };
    (broken_down.tm_hour, broken_down.tm_min, broken_down.tm_sec)
}
