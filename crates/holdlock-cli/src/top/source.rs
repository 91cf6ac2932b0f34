//! Reads the locks of the host, at a cost that stays low.

use std::ffi::OsStr;
use std::time::{Duration, Instant, SystemTime};

use holdlock::inspect::HostWatch;
use rustix::time::{ClockId, clock_gettime};

use super::model::{self, Host};
use super::seen::Seen;
use super::text::clean;
use crate::exit::Failure;
use crate::show::proc_failure;

/// After a look at everything, the next one comes after this many times its duration. A look
/// costs 80 ms with 1 000 locks of 500 processes, and 0.3 ms with few.
const REST: u32 = 150;

pub(super) enum Source {
    Host(Box<OfHost>),
    #[cfg(feature = "engines")]
    Engine(Box<super::engine::OfEngine>),
}

impl Source {
    /// The locks of this host; with a URL those of an engine.
    pub(super) fn new(engine: Option<&OsStr>) -> Result<Source, Failure> {
        match engine {
            None => Ok(Source::Host(Box::new(OfHost::new()))),
            #[cfg(feature = "engines")]
            Some(url) => {
                let source = super::engine::OfEngine::new(url)?;
                Ok(Source::Engine(Box::new(source)))
            }
            #[cfg(not(feature = "engines"))]
            Some(url) => Err(crate::engines::refused(url)),
        }
    }

    pub(super) fn host(&self) -> &Host {
        match self {
            Source::Host(source) => &source.host,
            #[cfg(feature = "engines")]
            Source::Engine(source) => source.host(),
        }
    }

    /// Why no signal is sent to a holder, if its name is not to be believed. The kernel names the
    /// holders of this host.
    pub(super) fn refuses(&self, _pid: u32) -> Option<String> {
        match self {
            Source::Host(_) => None,
            #[cfg(feature = "engines")]
            Source::Engine(source) => source.refuses(_pid),
        }
    }

    /// Reads the locks. If that fails, the last result remains, with the reason of the failure.
    pub(super) fn look(&mut self) {
        match self {
            Source::Host(source) => source.look(),
            #[cfg(feature = "engines")]
            Source::Engine(source) => source.look(),
        }
    }
}

pub(super) struct OfHost {
    watch: HostWatch,
    seen: Seen,
    /// When to look at everything again.
    next_all: Instant,
    host: Host,
}

impl OfHost {
    fn new() -> OfHost {
        let now = Instant::now();
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        OfHost {
            watch: HostWatch::new(),
            seen: Seen::default(),
            next_all: now,
            host: Host {
                name: clean(name.trim()),
                at: SystemTime::now(),
                now,
                files: Vec::new(),
                cycles: Vec::new(),
                unseen: Vec::new(),
                trouble: None,
                is_engine: false,
            },
        }
    }

    fn look(&mut self) {
        let all = Instant::now() >= self.next_all;
        let before = processor_time();
        let changed = if all {
            self.watch.look_at_all()
        } else {
            self.watch.look()
        };
        self.host.now = Instant::now();
        self.host.at = SystemTime::now();
        match changed {
            Ok(changed) => {
                self.host.trouble = None;
                // A deadlock also depends on what the ancestors of waiters do.
                if changed || all && self.host.waiting() > 0 {
                    self.take_over();
                }
            }
            Err(error) => {
                let failure = proc_failure("cannot look at the locks", error);
                self.host.trouble = Some(failure.message);
            }
        }
        if all {
            self.next_all = Instant::now() + processor_time().saturating_sub(before) * REST;
        }
    }

    fn take_over(&mut self) {
        let snapshot = self.watch.snapshot();
        self.seen.update(snapshot, self.host.now);
        self.host.files = model::files(snapshot, &self.seen, self.host.now);
        self.host.unseen = model::unseen(snapshot);
        let cycles = snapshot.deadlocks();
        self.host.cycles = cycles.iter().map(model::cycle).collect();
    }
}

/// The processor time of this thread. The elapsed time is much longer: most of it the kernel waits
/// until running lock calls have finished.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.try_into().unwrap_or_default()
}
