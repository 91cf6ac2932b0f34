//! The helper thread: one for each process. It talks to the engines and keeps the locks.
//!
//! The thread starts with the first request and runs until the process ends. All signals are
//! blocked in it. It never blocks: each of its tasks waits for events of its own.

pub(crate) mod hold;
pub(crate) mod leaving;
pub(crate) mod serve;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::LocalSet;

use crate::sys::fork::PerProcess;
use crate::sys::{sentinel, thread};

type Job = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()>>> + Send>;

struct Keeper {
    jobs: UnboundedSender<Job>,
}

static KEEPER: PerProcess<Keeper> = PerProcess::new();

thread_local! {
    /// Whether this is the helper thread.
    static IS_KEEPER: Cell<bool> = const { Cell::new(false) };
}

/// Runs a task in the helper thread. Fails if the thread cannot be started.
pub(crate) fn run<F>(job: impl FnOnce() -> F + Send + 'static) -> io::Result<()>
where
    F: Future<Output = ()> + 'static,
{
    if sentinel::is_gone() {
        return Err(io::Error::other(sentinel::GONE));
    }
    let job: Job = Box::new(move || Box::pin(job()));
    let keeper = match KEEPER.get() {
        Some(keeper) => keeper,
        None => start()?,
    };
    keeper
        .jobs
        .send(job)
        .map_err(|_| io::Error::other("the helper thread has ended"))
}

/// Whether the calling thread is the helper thread.
pub(crate) fn is_this_thread() -> bool {
    IS_KEEPER.get()
}

/// The future, which is not woken any more when the program has closed our descriptors: that would
/// write to a number which is another file's, or panic in the thread that wakes it.
fn careful<F: Future>(body: F) -> impl Future<Output = F::Output> {
    struct Careful(Waker);

    impl Wake for Careful {
        fn wake(self: Arc<Careful>) {
            self.wake_by_ref();
        }

        fn wake_by_ref(self: &Arc<Careful>) {
            if !sentinel::is_gone() {
                self.0.wake_by_ref();
            }
        }
    }

    let mut body = Box::pin(body);
    poll_fn(move |context| {
        let waker = Waker::from(Arc::new(Careful(context.waker().clone())));
        body.as_mut().poll(&mut Context::from_waker(&waker))
    })
}

/// Threads that call this at the same time may start two. The later one ends at once: nobody has a
/// job for it.
fn start() -> io::Result<&'static Keeper> {
    sentinel::set()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .on_thread_park(|| {
            // The epoll is another file, or none: tokio would panic.
            while sentinel::is_gone() {
                std::thread::park();
            }
        })
        .build()?;
    let (jobs, mut queue) = unbounded_channel::<Job>();
    let tasks = async move {
        while let Some(job) = queue.recv().await {
            tokio::task::spawn_local(job());
        }
    };
    thread::start(c"holdlock-engine", move || {
        IS_KEEPER.set(true);
        let tasks_of_thread = LocalSet::new();
        let body = careful(tasks_of_thread.run_until(tasks));
        let ended = panic::catch_unwind(AssertUnwindSafe(|| runtime.block_on(body)));
        if ended.is_err() && sentinel::is_gone() {
            // They would close numbers that are other files' by now.
            std::mem::forget((tasks_of_thread, runtime));
        }
    })?;
    Ok(KEEPER.set(Keeper { jobs }))
}
