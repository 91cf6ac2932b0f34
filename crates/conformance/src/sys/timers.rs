//! Clocks, sleeping, and timers that send signals.

use std::time::Duration;

/// A timer that sends a signal to the thread that made it.
#[derive(Clone, Copy)]
pub struct ThreadTimer(libc::timer_t);

// SAFETY: the kernel's number of a timer, which any thread may set.
unsafe impl Send for ThreadTimer {}

// SAFETY: the same.
unsafe impl Sync for ThreadTimer {}

impl ThreadTimer {
    /// Not set yet. Never deleted.
    pub fn new(signal: i32) -> ThreadTimer {
        // SAFETY: `sigevent` is plain data for which all-zero is valid; a valid place for the id.
        unsafe {
            let mut event: libc::sigevent = std::mem::zeroed();
            event.sigev_notify = libc::SIGEV_THREAD_ID;
            event.sigev_signo = signal;
            event.sigev_notify_thread_id = libc::gettid();
            let mut id: libc::timer_t = std::ptr::null_mut();
            let made = libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, &mut id);
            assert_eq!(made, 0, "timer_create");
            ThreadTimer(id)
        }
    }

    /// Sends the signal once, this many nanoseconds from now; with 0 never. A signal handler may
    /// call this.
    pub fn set(self, nanoseconds: u32) {
        let time = |nanoseconds| libc::timespec {
            tv_sec: 0,
            tv_nsec: nanoseconds,
        };
        let setting = libc::itimerspec {
            it_value: time(libc::c_long::from(nanoseconds)),
            it_interval: time(0),
        };
        // SAFETY: a valid setting, and a timer that is never deleted.
        unsafe { libc::timer_settime(self.0, 0, &setting, std::ptr::null_mut()) };
    }
}

/// The processor time of this thread.
pub fn thread_cpu() -> Duration {
    clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// The processor time of this process, with all its threads.
pub fn process_cpu() -> Duration {
    clock(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn clock(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: a valid place for the answer.
    unsafe { libc::clock_gettime(clock, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Nanoseconds of the monotonic clock. A signal handler may call this.
pub fn monotonic() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: a valid place for the answer.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// nanosleep(2) once. False if a signal interrupted it.
pub fn sleep(time: Duration) -> bool {
    let time = libc::timespec {
        tv_sec: time.as_secs() as libc::time_t,
        tv_nsec: libc::c_long::from(time.subsec_nanos()),
    };
    // SAFETY: a valid time.
    unsafe { libc::nanosleep(&time, std::ptr::null_mut()) == 0 }
}

/// Sends SIGALRM after this time, as alarm(2) does, and again and again: a thread that was about to
/// sleep would miss a single signal.
pub fn alarm(after: Duration) {
    let time = |duration: Duration| libc::timeval {
        tv_sec: duration.as_secs() as libc::time_t,
        tv_usec: duration.subsec_micros().into(),
    };
    let timer = libc::itimerval {
        it_interval: time(Duration::from_millis(100)),
        it_value: time(after),
    };
    // SAFETY: a valid setting, and nobody wants the old one.
    let set = unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut()) };
    assert_eq!(set, 0);
}
