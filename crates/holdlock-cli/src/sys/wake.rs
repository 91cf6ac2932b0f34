//! Continues this process at a given time if it is stopped.
#![allow(unsafe_code)]

use std::io;
use std::ptr;
use std::time::Duration;

use super::check;

/// The pause between repetitions.
const AGAIN: Duration = Duration::from_secs(1);

/// A timer that sends this process SIGCONT, which ends a stop even if the signal is blocked or
/// ignored (measured on Linux 6.18).
pub(crate) struct Wake(libc::timer_t);

impl Wake {
    /// Sends the signal after this time, and then every second.
    pub(crate) fn after(time: Duration) -> io::Result<Wake> {
        // SAFETY: plain data for which all-zero is valid.
        let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
        event.sigev_notify = libc::SIGEV_SIGNAL;
        event.sigev_signo = libc::SIGCONT;
        let mut timer: libc::timer_t = ptr::null_mut();
        // SAFETY: a valid event and a valid place for the timer.
        check(unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, &mut timer) })?;
        let wake = Wake(timer);
        wake.put_off(time)?;
        Ok(wake)
    }

    /// Sends the signal after this time, and not at the time that was set before.
    pub(crate) fn put_off(&self, time: Duration) -> io::Result<()> {
        let setting = libc::itimerspec {
            // Zero would disarm it.
            it_value: timespec(time.max(Duration::from_nanos(1))),
            it_interval: timespec(AGAIN),
        };
        // SAFETY: our own timer and a valid setting.
        check(unsafe { libc::timer_settime(self.0, 0, &setting, ptr::null_mut()) })?;
        Ok(())
    }

    /// Sends no more signals.
    pub(crate) fn pause(&self) {
        // SAFETY: plain data for which all-zero is valid; our own timer.
        unsafe { libc::timer_settime(self.0, 0, &std::mem::zeroed(), ptr::null_mut()) };
    }
}

fn timespec(time: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: time.as_secs().min(i64::MAX as u64) as _,
        tv_nsec: time.subsec_nanos().into(),
    }
}

impl Drop for Wake {
    fn drop(&mut self) {
        // SAFETY: our own timer, and no longer used.
        unsafe { libc::timer_delete(self.0) };
    }
}
