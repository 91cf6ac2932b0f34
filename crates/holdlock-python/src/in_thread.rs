//! A request for which the library has no future: a thread of its own waits for it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Far more than the library needs: the C library takes the program's thread-local memory out of
/// it. The thread runs no Python code.
const STACK: usize = 1 << 20;

type Work<A> = Box<dyn FnOnce() -> A + Send>;

/// The future. The thread begins with the first poll; an error: there is no thread. Dropping the
/// future drops the answer.
pub(crate) struct InThread<A> {
    /// None: the thread has it.
    work: Option<Work<A>>,
    place: Arc<Mutex<Place<A>>>,
}

struct Place<A> {
    answer: Option<A>,
    waker: Option<Waker>,
}

fn locked<A>(place: &Mutex<Place<A>>) -> MutexGuard<'_, Place<A>> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<A: Send + 'static> InThread<A> {
    pub(crate) fn new(work: impl FnOnce() -> A + Send + 'static) -> InThread<A> {
        InThread {
            work: Some(Box::new(work)),
            place: Arc::new(Mutex::new(Place {
                answer: None,
                waker: None,
            })),
        }
    }

    fn begin(&self, work: Work<A>) -> io::Result<()> {
        let place = self.place.clone();
        let thread = std::thread::Builder::new().name("holdlock-wait".to_owned());
        let thread = thread.stack_size(STACK).spawn(move || {
            let answer = work();
            let mut place = locked(&place);
            place.answer = Some(answer);
            if let Some(waker) = place.waker.take() {
                waker.wake();
            }
        });
        thread.map(drop)
    }
}

impl<A: Send + 'static> Future for InThread<A> {
    type Output = io::Result<A>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<A>> {
        let mut place = locked(&self.place);
        if let Some(answer) = place.answer.take() {
            return Poll::Ready(Ok(answer));
        }
        place.waker = Some(context.waker().clone());
        drop(place);
        let Some(work) = self.work.take() else {
            return Poll::Pending;
        };
        match self.begin(work) {
            Ok(()) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}
