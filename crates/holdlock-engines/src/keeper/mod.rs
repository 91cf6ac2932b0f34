//! The helper thread: one for each process. It talks to the engines and keeps the locks.
//!
//! The thread starts with the first request and runs until the process ends. All signals are
//! blocked in it. It never blocks: each of its tasks waits for events of its own.

pub(crate) mod hold;
pub(crate) mod leaving;
pub(crate) mod serve;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::thread::ThreadId;

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::LocalSet;

use crate::sys::fork::PerProcess;
use crate::sys::thread;

type Job = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()>>> + Send>;

struct Keeper {
    thread: ThreadId,
    jobs: UnboundedSender<Job>,
}

static KEEPER: PerProcess<Keeper> = PerProcess::new();

/// Runs a task in the helper thread. Fails if the thread cannot be started.
pub(crate) fn run<F>(job: impl FnOnce() -> F + Send + 'static) -> io::Result<()>
where
    F: Future<Output = ()> + 'static,
{
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
    KEEPER
        .get()
        .is_some_and(|keeper| keeper.thread == std::thread::current().id())
}

/// Threads that call this at the same time may start two. The later one ends at once: nobody has a
/// job for it.
fn start() -> io::Result<&'static Keeper> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()?;
    let (jobs, mut queue) = unbounded_channel::<Job>();
    let tasks = async move {
        while let Some(job) = queue.recv().await {
            tokio::task::spawn_local(job());
        }
    };
    let thread = thread::start("holdlock-engine", move || {
        LocalSet::new().block_on(&runtime, tasks);
    })?;
    Ok(KEEPER.set(Keeper {
        thread: thread.thread().id(),
        jobs,
    }))
}
