//! The clock of deadlines: CLOCK_BOOTTIME, which goes on while the machine is suspended.
//! `std::time::Instant` stands still then, and would call a lock valid whose lease has ended.

use std::fmt;
use std::io;
use std::time::Duration;

use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;

use super::event;
use super::sentinel::OwnFd;

/// A moment on the clock CLOCK_BOOTTIME: the time since the machine was started, with the time in
/// which it was suspended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootTime(Duration);

impl BootTime {
    /// Now.
    pub fn now() -> BootTime {
        let now = clock_gettime(ClockId::Boottime);
        BootTime(Duration::new(now.tv_sec as u64, now.tv_nsec as u32))
    }

    /// How long it is until then; zero if the moment has passed.
    pub fn remaining(self) -> Duration {
        self.0.saturating_sub(BootTime::now().0)
    }

    /// Whether the moment has passed.
    pub fn has_passed(self) -> bool {
        self <= BootTime::now()
    }

    /// The time since the machine was started.
    pub fn since_boot(self) -> Duration {
        self.0
    }

    pub(crate) fn from_nanos(nanos: u64) -> BootTime {
        BootTime(Duration::from_nanos(nanos))
    }

    pub(crate) fn as_nanos(self) -> u64 {
        self.0.as_nanos().try_into().unwrap_or(u64::MAX)
    }

    pub(crate) fn plus(self, time: Duration) -> BootTime {
        BootTime(self.0.saturating_add(time))
    }

    /// How long ago the moment was.
    pub fn elapsed(self) -> Duration {
        BootTime::now().0.saturating_sub(self.0)
    }
}

impl fmt::Debug for BootTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BootTime({:?})", self.0)
    }
}

/// A timer of CLOCK_BOOTTIME. It fires also right after the machine was suspended, which tokio's
/// timers do not.
pub(crate) struct Timer(AsyncFd<OwnFd>);

impl Timer {
    pub(crate) fn new() -> io::Result<Timer> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Boottime, flags)?;
        Ok(Timer(event::watch(timer.into())?))
    }

    /// Sleeps until `then`. A new call replaces one that was dropped.
    pub(crate) async fn until(&self, then: BootTime) -> io::Result<()> {
        // Zero would disarm the timer.
        let since_boot = then.0.max(Duration::from_nanos(1));
        let zero = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let setting = Itimerspec {
            it_interval: zero,
            it_value: Timespec {
                tv_sec: since_boot.as_secs().try_into().unwrap_or(i64::MAX),
                tv_nsec: since_boot.subsec_nanos().into(),
            },
        };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::ABSTIME, &setting)?;
        loop {
            let mut ready = self.0.readable().await?;
            let expired = ready.try_io(|timer| {
                rustix::io::read(timer, &mut [0_u8; 8][..]).map_err(io::Error::from)
            });
            if let Ok(result) = expired {
                return result.map(drop);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use holdlock_test_support::{has, skipped};

    use super::*;

    /// A time namespace in which CLOCK_BOOTTIME is a day ahead of CLOCK_MONOTONIC, as on a machine
    /// that was suspended for so long.
    #[test]
    fn the_time_that_a_machine_spends_in_a_suspend_counts() {
        if !has("unshare") {
            return;
        }
        let ahead = ["--time", "--boottime", "86400"];
        if !matches!(Command::new("unshare").args(ahead).arg("true").output(),
            Ok(output) if output.status.success())
        {
            return skipped("this user may not make a time namespace");
        }
        let run = Command::new("unshare")
            .args(ahead)
            .arg(std::env::current_exe().expect("this program"))
            .args(["--ignored", "--exact", "sys::clock::tests::after_a_suspend"])
            .output();
        let run = run.expect("starts");
        let said = String::from_utf8_lossy(&run.stdout);
        assert!(run.status.success() && said.contains("1 passed"), "{said}");
    }

    #[test]
    #[ignore = "the test above runs it in a time namespace"]
    fn after_a_suspend() {
        // First the clock that is behind: its second may end before the other one is read.
        let awake = clock_gettime(ClockId::Monotonic).tv_sec as u64;
        let now = BootTime::now();
        assert!(now.since_boot().as_secs() >= awake + 86_400);
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let timer = Timer::new().expect("a timer");
            let soon = timer.until(now.plus(Duration::from_millis(10)));
            let fired = tokio::time::timeout(Duration::from_secs(10), soon).await;
            fired.expect("it fires").expect("works");
        });
    }
}
