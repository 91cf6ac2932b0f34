//! Learning that a lock was lost: by waiting, by a descriptor, by a callback, or by a future.

use std::fmt;
use std::future::Future;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::keeper::serve::LOOK;
use crate::sys::event::Event;
use crate::sys::fork::{Generation, generation};
use crate::sys::{sentinel, thread};

/// What is known about a lock that was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    definite: bool,
    why: String,
}

impl Loss {
    /// The lock is gone: another process may have acquired it already.
    pub(crate) fn definite(why: impl Into<String>) -> Loss {
        Loss {
            definite: true,
            why: why.into(),
        }
    }

    /// Nothing was heard of the engine until the deadline.
    pub(crate) fn unsure(why: impl Into<String>) -> Loss {
        Loss {
            definite: false,
            why: why.into(),
        }
    }

    /// Whether the engine has said that the lock is gone, or has ended the connection. Otherwise
    /// the engine did not answer in time: it may have freed the lock, or may be about to.
    pub fn is_definite(&self) -> bool {
        self.definite
    }

    /// The reason.
    pub fn why(&self) -> &str {
        &self.why
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.definite {
            true => write!(f, "the lock was lost: {}", self.why),
            false => write!(f, "the lock may have been lost: {}", self.why),
        }
    }
}

type Callback = Box<dyn FnOnce(&Loss) + Send>;

/// Fires once, when a lock is lost before its guard has released it. A signal that has fired stays
/// so.
///
/// It fires at once when the engine ends the connection, and otherwise at the guard's
/// [`deadline`](crate::EngineGuard::deadline): before the engine frees the lock. In that second
/// case the lock may turn out to have been kept, which
/// [`EngineGuard::check`](crate::EngineGuard::check) tells. If the process was stopped at the
/// deadline, or the machine suspended, the engine is asked first, for a second at most; while the
/// engine still keeps the lock for certain, no longer than that.
#[derive(Clone)]
pub struct LostSignal(Arc<Shared>);

struct Shared {
    event: Event,
    generation: Generation,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    loss: Option<Loss>,
    /// Of the futures that were polled, by their numbers.
    wakers: Vec<(u64, Waker)>,
    futures: u64,
    callbacks: Vec<Callback>,
}

impl LostSignal {
    pub(crate) fn new() -> std::io::Result<LostSignal> {
        Ok(LostSignal(Arc::new(Shared {
            event: Event::new()?,
            generation: generation(),
            state: Mutex::default(),
        })))
    }

    /// What is known, if the lock was lost. Looks only at this process's memory. In a child of fork
    /// the lock counts as lost.
    pub fn loss(&self) -> Option<Loss> {
        if !self.is_ours() {
            return Some(of_the_parent());
        }
        match self.state().loss.clone() {
            Some(loss) if loss.definite => Some(loss),
            // Nobody keeps the lock any more, nor tells of its loss.
            _ if sentinel::is_gone() => Some(Loss::unsure(sentinel::GONE)),
            loss => loss,
        }
    }

    /// Sleeps until the lock is lost, at most for `timeout`.
    pub fn wait(&self, timeout: Duration) -> Option<Loss> {
        let deadline = Instant::now().checked_add(timeout);
        while self.is_ours() && !sentinel::is_gone() {
            let look = Instant::now() + LOOK;
            match self
                .0
                .event
                .wait(Some(deadline.map_or(look, |end| end.min(look))))
            {
                Ok(true) => break,
                Ok(false) if deadline.is_some_and(|end| end <= Instant::now()) => return None,
                // Nothing yet, or a signal handler has run.
                Ok(false) | Err(_) => {}
            }
        }
        self.loss()
    }

    /// Calls `callback` when the lock is lost, in a thread of its own; at once if it was lost
    /// already. A guard that is released before never calls it.
    pub fn on_lost(&self, callback: impl FnOnce(&Loss) + Send + 'static) {
        if !self.is_ours() {
            return;
        }
        let mut state = self.state();
        state.callbacks.push(Box::new(callback));
        let loss = state.loss.clone();
        if let Some(loss) = loss {
            let callbacks = std::mem::take(&mut state.callbacks);
            drop(state);
            call(callbacks, loss);
        }
    }

    /// A future that is ready when the lock is lost, under whatever runtime.
    pub fn future(&self) -> LostFuture {
        LostFuture {
            signal: self.clone(),
            number: None,
        }
    }

    /// Fires, unless it has fired before. A definite loss replaces an unsure one.
    pub(crate) fn fire(&self, loss: Loss) {
        let mut state = self.state();
        let first = state.loss.is_none();
        if first || loss.definite {
            state.loss = Some(loss.clone());
        }
        if !first {
            return;
        }
        let wakers = std::mem::take(&mut state.wakers);
        let callbacks = std::mem::take(&mut state.callbacks);
        drop(state);
        self.0.event.set();
        wakers.into_iter().for_each(|(_, waker)| waker.wake());
        call(callbacks, loss);
    }

    fn is_ours(&self) -> bool {
        self.0.generation.is_current()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        let state = &self.0.state;
        state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A callback may block: the helper thread has other locks to keep.
fn call(callbacks: Vec<Callback>, loss: Loss) {
    if callbacks.is_empty() {
        return;
    }
    let run = move || callbacks.into_iter().for_each(|callback| callback(&loss));
    // Without a thread the program learns it by `loss`, as it would without a callback.
    let _ = thread::start(c"holdlock-lost", run);
}

fn of_the_parent() -> Loss {
    Loss::definite("this is a child of fork, and the lock is its parent's")
}

/// Readable when the lock is lost, for programs that wait by poll(2). Nobody needs to read it.
impl AsFd for LostSignal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.event.as_fd()
    }
}

impl fmt::Debug for LostSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LostSignal").field(&self.loss()).finish()
    }
}

/// Ready when a lock is lost; made by [`LostSignal::future`].
#[must_use = "futures do nothing unless awaited"]
#[derive(Debug)]
pub struct LostFuture {
    signal: LostSignal,
    /// Which waker is its own, once it has one.
    number: Option<u64>,
}

impl Future for LostFuture {
    type Output = Loss;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Loss> {
        let signal = self.signal.clone();
        if !signal.is_ours() {
            return Poll::Ready(of_the_parent());
        }
        let mut waker = context.waker().clone();
        let mut state = signal.state();
        if let Some(loss) = &state.loss {
            return Poll::Ready(loss.clone());
        }
        let known = |(number, _): &&mut (u64, Waker)| Some(*number) == self.number;
        match state.wakers.iter_mut().find(known) {
            Some((_, known)) => std::mem::swap(known, &mut waker),
            None => {
                let number = state.futures;
                state.futures += 1;
                state.wakers.push((number, waker.clone()));
                self.number = Some(number);
            }
        }
        // The waker is dropped last: that may drop a task, with futures of this signal.
        drop(state);
        Poll::Pending
    }
}

impl Drop for LostFuture {
    fn drop(&mut self) {
        if self.number.is_none() || !self.signal.is_ours() {
            return;
        }
        let mut state = self.signal.state();
        let is_own = |(number, _): &(u64, Waker)| Some(*number) == self.number;
        let own = state.wakers.iter().position(is_own);
        let own = own.map(|index| state.wakers.swap_remove(index));
        // As above.
        drop(state);
        drop(own);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Count>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_future_that_is_dropped_leaves_no_waker() {
        let signal = LostSignal::new().expect("a descriptor");
        let counts = [(); 3].map(|()| Arc::new(Count::default()));
        let poll = |future: Pin<&mut LostFuture>, count: &Arc<Count>| {
            let waker = Waker::from(count.clone());
            future.poll(&mut Context::from_waker(&waker)).is_pending()
        };
        for _ in 0..10 {
            assert!(poll(pin!(signal.future()), &counts[0]));
        }
        assert_eq!(Arc::strong_count(&counts[0]), 1);
        // One that comes to another task wakes that one.
        let mut moved = pin!(signal.future());
        assert!(poll(moved.as_mut(), &counts[1]) && poll(moved.as_mut(), &counts[2]));
        signal.fire(Loss::definite("it ended"));
        let woken = counts.map(|count| count.0.load(Ordering::Relaxed));
        assert_eq!(woken, [0, 0, 1]);
        assert!(!poll(moved, &Arc::default()));
    }
}
