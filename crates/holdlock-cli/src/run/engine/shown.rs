//! Progress while a request waits at an engine.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use holdlock_engines::{EngineLock, Members};

use crate::run::Settings;
use crate::run::progress::{Display, Seen};
use crate::sys::signals;

/// How often the holders are asked for while a wait is shown.
const LOOK: Duration = Duration::from_secs(5);

/// The display, with a thread of its own.
pub(super) struct Shown {
    display: Arc<Mutex<Display>>,
    over: Sender<()>,
}

impl Shown {
    pub(super) fn start(lock: EngineLock, settings: &Settings, began: Instant) -> Shown {
        let mut display = Display::new(settings, began);
        display.call_it(lock.name().as_ref());
        let display = Arc::new(Mutex::new(display));
        let (over, told) = channel();
        let shared = display.clone();
        let show = move || {
            let (mut seen, mut next_look) = (Seen::default(), Instant::now());
            loop {
                let now = Instant::now();
                let shows = lock_display(&shared).shows_holders(now);
                if shows && now >= next_look {
                    seen = lock
                        .members()
                        .map_or_else(|_| Seen::default(), |m| seen_of(&m));
                    next_look = Instant::now() + LOOK;
                }
                let now = Instant::now();
                let Some(next) = lock_display(&shared).show(&seen, now) else {
                    return;
                };
                let pause = next.min(next_look.max(now)).saturating_duration_since(now);
                let pause = pause.max(Duration::from_millis(10));
                if told.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("holdlock-show".to_owned());
        // Signals are for the thread that supervises the command. Without a thread, the wait is not
        // shown.
        let _ = signals::without_any(|| thread.spawn(show));
        Shown { display, over }
    }

    pub(super) fn end(self, acquired: bool) {
        lock_display(&self.display).end(acquired);
        let _ = self.over.send(());
    }
}

fn lock_display(display: &Mutex<Display>) -> MutexGuard<'_, Display> {
    display.lock().unwrap_or_else(PoisonError::into_inner)
}

fn seen_of(members: &Members) -> Seen {
    let us = Some(std::process::id());
    let mut waiters = members.waiters.iter();
    let place = waiters.position(|waiter| waiter.pid_here() == us);
    let holder = members.holders.first();
    Seen::elsewhere(
        holder.map(ToString::to_string),
        holder.and_then(|holder| holder.since),
        members.holders.len().saturating_sub(1),
        place.map(|place| (place + 1, members.waiters.len())),
    )
}
