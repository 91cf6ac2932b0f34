//! The clocks of the kernel as plain numbers, and the clock ticks of /proc.

/// Nanoseconds since boot, without the time in suspend (CLOCK_MONOTONIC). Takes no system call: the
/// vDSO answers.
#[inline]
pub(crate) fn nanoseconds() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: valid memory for the answer. This clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Microseconds since boot, with the time in suspend (CLOCK_BOOTTIME).
#[inline]
pub(crate) fn boot_microseconds() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: valid memory for the answer. This clock exists since Linux 2.6.39.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut now) };
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1000
}

/// Microseconds since 1970 (CLOCK_REALTIME); 0 if the clock shows an earlier time.
#[inline]
pub(crate) fn wall_microseconds() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: valid memory for the answer. This clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &mut now) };
    let seconds = u64::try_from(now.tv_sec);
    seconds.map_or(0, |seconds| seconds * 1_000_000 + now.tv_nsec as u64 / 1000)
}

/// The number of clock ticks in a second. /proc counts times in clock ticks.
pub(crate) fn ticks_per_second() -> f64 {
    // SAFETY: takes no pointers.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    if ticks > 0 { ticks as f64 } else { 100.0 }
}
