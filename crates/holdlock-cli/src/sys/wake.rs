//! Continues this process at a given time if it is stopped.
#![allow(unsafe_code)]

use std::io;
use std::ptr;
use std::time::Duration;

use super::check;

/// The pause between repetitions.
const AGAIN: Duration = Duration::from_secs(1);

/// A stop that comes before we have fetched a timer's SIGCONT removes it, and with it all
/// repetitions of this timer (measured on Linux 6.18). The other timers go on.
const TIMERS: u32 = 4;

/// Timers that send this process SIGCONT, which ends a stop even if the signal is blocked or
/// ignored (measured on Linux 6.18).
pub(crate) struct Wake(Vec<Timer>);

impl Wake {
    /// Sends the signal after this time, and then several times a second.
    pub(crate) fn after(time: Duration) -> io::Result<Wake> {
        let timers = (0..TIMERS)
            .map(|_| Timer::new())
            .collect::<Result<_, _>>()?;
        let wake = Wake(timers);
        wake.put_off(time)?;
        Ok(wake)
    }

    /// Sends the signal after this time, and not at the time that was set before.
    pub(crate) fn put_off(&self, time: Duration) -> io::Result<()> {
        // Zero would disarm a timer.
        let mut at = time.max(Duration::from_nanos(1));
        for timer in &self.0 {
            timer.set(at, AGAIN)?;
            at = at.saturating_add(AGAIN / TIMERS);
        }
        Ok(())
    }

    /// Sends the signal after this time, and then several times a second, until this process ends.
    pub(crate) fn keep(self, time: Duration) {
        // The timers that were set go on as they were.
        let _ = self.put_off(time);
        std::mem::forget(self);
    }

    /// Sends no more signals.
    pub(crate) fn pause(&self) {
        for timer in &self.0 {
            let _ = timer.set(Duration::ZERO, Duration::ZERO);
        }
    }
}

struct Timer(libc::timer_t);

impl Timer {
    fn new() -> io::Result<Timer> {
        // SAFETY: plain data for which all-zero is valid.
        let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
        event.sigev_notify = libc::SIGEV_SIGNAL;
        event.sigev_signo = libc::SIGCONT;
        let mut timer: libc::timer_t = ptr::null_mut();
        // SAFETY: a valid event and a valid place for the timer.
        check(unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, &mut timer) })?;
        Ok(Timer(timer))
    }

    fn set(&self, after: Duration, again: Duration) -> io::Result<()> {
        let setting = libc::itimerspec {
            it_value: timespec(after),
            it_interval: timespec(again),
        };
        // SAFETY: our own timer and a valid setting.
        check(unsafe { libc::timer_settime(self.0, 0, &setting, ptr::null_mut()) })?;
        Ok(())
    }
}

fn timespec(time: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: time.as_secs().min(i64::MAX as u64) as _,
        tv_nsec: time.subsec_nanos().into(),
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // SAFETY: our own timer, and no longer used.
        unsafe { libc::timer_delete(self.0) };
    }
}
