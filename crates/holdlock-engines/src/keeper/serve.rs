//! One request, from the call to the answer, with all that may end it.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use holdlock::{CancelToken, Limit, OnWait, Request};
use tokio::sync::oneshot;

use super::hold::Handle;
use super::leaving::{CallerSide, HelperSide, sides};
use crate::Error;
use crate::duration::spoken;
use crate::engine::{Attempt, Engine, Progress, Stage, conflict};
use crate::member::Member;
use crate::sys::event::{Event, watch};
use crate::sys::sentinel;

/// How often a caller that waits looks whether the helper thread can answer at all.
pub(crate) const LOOK: Duration = Duration::from_secs(1);
/// How much later a request may end, so that it leaves nothing in the engine.
const LEAVE: Duration = Duration::from_secs(1);

/// A request, as the helper thread reads it.
pub(crate) struct Terms {
    us: Member,
    waits: bool,
    deadline: Option<Instant>,
    cancel: Option<CancelToken>,
    asked: Instant,
}

impl Terms {
    /// The clock of the request runs from now on.
    pub(crate) fn new<W: OnWait>(request: &Request<W>, command: Option<String>) -> Terms {
        let asked = Instant::now();
        let deadline = match request.limit() {
            Limit::Never | Limit::Forever => None,
            Limit::Until(deadline) => Some(deadline),
            // An instant past the end of the clock is for ever.
            Limit::For(time) => asked.checked_add(time),
        };
        Terms {
            us: Member {
                note: request.noted().map(str::to_owned),
                ..Member::of_this_process(request.mode(), command)
            },
            waits: request.limit() != Limit::Never,
            deadline,
            cancel: request.token().cloned(),
            asked,
        }
    }

    pub(crate) fn asked(&self) -> Instant {
        self.asked
    }
}

/// What the caller waits for.
pub(crate) struct Answer {
    /// Ready when the request begins to wait for the lock.
    pub(crate) began: oneshot::Receiver<()>,
    /// Dropping it withdraws the request.
    pub(crate) answer: oneshot::Receiver<Result<Handle, Error>>,
    _side: CallerSide,
}

/// Hands a request to the helper thread.
pub(crate) fn request(engine: &Engine, terms: Terms) -> io::Result<Answer> {
    let (tell_began, began) = oneshot::channel();
    let (tell, answer) = oneshot::channel();
    let engine = engine.clone();
    let (side, helper_side) = sides();
    super::run(move || serve(engine, terms, tell_began, tell, helper_side))?;
    Ok(Answer {
        began,
        answer,
        _side: side,
    })
}

async fn serve(
    engine: Engine,
    terms: Terms,
    began: oneshot::Sender<()>,
    mut tell: oneshot::Sender<Result<Handle, Error>>,
    _side: HelperSide,
) {
    let progress = Rc::new(Progress::new(began));
    // A request whose deadline has passed still acquires a free lock.
    let expired = terms.deadline.is_some_and(|at| at <= terms.asked);
    let attempt = Attempt {
        us: terms.us.clone(),
        waits: terms.waits && !expired,
        deadline: terms.deadline.filter(|_| !expired),
        progress: progress.clone(),
    };
    // Opened before the attempt begins: if its descriptors were the last ones for a moment, the
    // name service would find no server, and nobody would know why.
    let cancelled = cancelled(terms.cancel.as_ref());
    let result = tokio::select! {
        biased;
        // What the attempt has acquired or queued for is given back by its drop.
        () = tell.closed() => None,
        result = engine.acquire(&attempt) => Some(result),
        () = cancelled => Some(Err(Error::Cancelled {
            lock: engine.shown().to_owned(),
            waited: terms.asked.elapsed(),
        })),
        () = passed(attempt.deadline) => Some(Err(timed_out(&engine, &terms, &progress))),
    };
    if !matches!(result, Some(Ok(_))) {
        let _ = tokio::time::timeout(LEAVE, progress.left()).await;
    }
    let Some(result) = result else { return };
    let result = match result {
        Err(Error::WouldBlock(conflict)) if expired => Err(Error::TimedOut(conflict)),
        result => result,
    };
    // If nobody listens, the lock is released with the handle.
    let _ = tell.send(result);
}

fn timed_out(engine: &Engine, terms: &Terms, progress: &Progress) -> Error {
    let lock = engine.shown();
    let waited = terms.asked.elapsed();
    let stage = progress.stage();
    if let Some(conflict) = conflict(lock, terms.us.mode, waited, stage.clone()) {
        return Error::TimedOut(conflict);
    }
    Error::Unreachable {
        lock: lock.to_owned(),
        why: match stage {
            Stage::Uncertain(why) => why,
            _ => format!(
                "no answer within {}; check the address and the network, or wait longer",
                spoken(waited)
            ),
        },
    }
}

async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// Begins to watch the token when it is called, and not when the result is polled.
fn cancelled(token: Option<&CancelToken>) -> impl Future<Output = ()> {
    let watched = token.map(|token| {
        let watched = || -> io::Result<_> {
            let event = Event::new()?;
            let writer = rustix::io::fcntl_dupfd_cloexec(&event, 0)?;
            let event = watch(event.into())?;
            Ok((event, token.write_to(writer)))
        };
        (token, watched())
    });
    async move {
        match watched {
            None => std::future::pending().await,
            Some((_, Ok((event, _notice)))) => {
                let _ = event.readable().await;
            }
            // No descriptor is left.
            Some((token, Err(_))) => {
                while !token.is_cancelled() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        }
    }
}

/// The error for a helper thread that cannot be started.
pub(crate) fn no_thread(engine: &Engine, error: &io::Error) -> Error {
    if sentinel::is_gone() {
        return gone(engine);
    }
    Error::Failed {
        lock: engine.shown().to_owned(),
        operation: "starting the helper thread",
        why: format!("{error}; raise the limit of threads or of open files"),
    }
}

/// The error for a helper thread that will never answer.
pub(crate) fn gone(engine: &Engine) -> Error {
    Error::Failed {
        lock: engine.shown().to_owned(),
        operation: "asking the helper thread",
        why: sentinel::GONE.to_owned(),
    }
}

/// What becomes of a question or a change when the caller does not wait for it any more.
#[derive(Clone, Copy)]
enum Unheard {
    Ends,
    GoesOn,
}

/// Asks the engine something beside a request for the lock, and waits in the calling thread.
pub(crate) fn ask<T, F>(
    engine: &Engine,
    task: impl FnOnce(Engine) -> F + Send + 'static,
) -> Result<T, Error>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Error>> + 'static,
{
    wait(engine, begin(engine, Unheard::Ends, task)?)
}

/// As [`ask`], in asynchronous code. The engine is asked at once.
pub(crate) fn ask_async<T, F>(
    engine: Engine,
    task: impl FnOnce(Engine) -> F + Send + 'static,
) -> impl Future<Output = Result<T, Error>> + Send
where
    T: Send + 'static,
    F: Future<Output = Result<T, Error>> + 'static,
{
    let begun = begin(&engine, Unheard::Ends, task);
    async move { told(&engine, heard(begun?).await) }
}

/// As [`ask`], for what changes something in the engine.
pub(crate) fn change<T, F>(
    engine: &Engine,
    task: impl FnOnce(Engine) -> F + Send + 'static,
) -> Result<T, Error>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Error>> + 'static,
{
    wait(engine, begin(engine, Unheard::GoesOn, task)?)
}

/// As [`change`], in asynchronous code.
pub(crate) fn change_async<T, F>(
    engine: Engine,
    task: impl FnOnce(Engine) -> F + Send + 'static,
) -> impl Future<Output = Result<T, Error>> + Send
where
    T: Send + 'static,
    F: Future<Output = Result<T, Error>> + 'static,
{
    let begun = begin(&engine, Unheard::GoesOn, task);
    async move { told(&engine, heard(begun?).await) }
}

type Reply<T> = oneshot::Receiver<Result<T, Error>>;

fn begin<T, F>(
    engine: &Engine,
    unheard: Unheard,
    task: impl FnOnce(Engine) -> F + Send + 'static,
) -> Result<Reply<T>, Error>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Error>> + 'static,
{
    let (mut tell, answer) = oneshot::channel();
    let asked = engine.clone();
    let job = move || async move {
        let result = match unheard {
            Unheard::GoesOn => task(asked).await,
            Unheard::Ends => tokio::select! {
                biased;
                () = tell.closed() => return,
                result = task(asked) => result,
            },
        };
        let _ = tell.send(result);
    };
    super::run(job).map_err(|error| no_thread(engine, &error))?;
    Ok(answer)
}

fn wait<T>(engine: &Engine, answer: Reply<T>) -> Result<T, Error> {
    /// The engine's own limits are shorter.
    const LIMIT: Duration = Duration::from_secs(60);
    told(engine, block_on(answer, LIMIT))
}

/// What the caller hears. If the program has closed our descriptors, each error has that reason.
fn told<T>(engine: &Engine, answer: Option<Result<T, Error>>) -> Result<T, Error> {
    match answer {
        Some(Ok(found)) => Ok(found),
        _ if sentinel::is_gone() => Err(gone(engine)),
        Some(Err(error)) => Err(error),
        None => Err(Error::Unreachable {
            lock: engine.shown().to_owned(),
            why: "no answer; try again".to_owned(),
        }),
    }
}

/// The answer of the helper thread, in asynchronous code. None if there will be none. Nobody wakes
/// a task then, but one that asks again learns it.
pub(crate) async fn heard<T>(mut answer: oneshot::Receiver<T>) -> Option<T> {
    poll_fn(|context| match Pin::new(&mut answer).poll(context) {
        Poll::Ready(result) => Poll::Ready(result.ok()),
        Poll::Pending if sentinel::is_gone() => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// Wakes a thread that is parked. It needs no descriptor, of which there may be none left: a
/// release that succeeds must not look like a loss.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Unpark>) {
        self.0.unpark();
    }
}

/// Waits in the calling thread for an answer of the helper thread. None if it takes longer.
pub(crate) fn block_on<T>(mut answer: oneshot::Receiver<T>, limit: Duration) -> Option<T> {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    // None: as long as it takes.
    let deadline = Instant::now().checked_add(limit);
    loop {
        if let Poll::Ready(result) = Pin::new(&mut answer).poll(&mut context) {
            return result.ok();
        }
        let left = deadline.map_or(limit, |deadline| {
            deadline.saturating_duration_since(Instant::now())
        });
        if left.is_zero() || sentinel::is_gone() {
            return None;
        }
        thread::park_timeout(left.min(LOOK));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_may_have_the_longest_limit() {
        let (tell, answer) = oneshot::channel();
        let telling = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            tell.send(7)
        });
        assert_eq!(block_on(answer, Duration::MAX), Some(7));
        telling.join().expect("no panic").expect("heard");
    }
}
