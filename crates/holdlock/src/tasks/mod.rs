//! Requests of asynchronous code: how tasks queue, and the thread that serves them.
//!
//! A task that finds the lock held takes a place in the gate's queue, among the sleeping threads
//! and in the order of arrival. One thread serves all tasks of one `FileLock`, its clones included:
//! it waits for the turn of the first task, goes on with that task's request as if it had made it
//! (so it also sleeps in the kernel's queue), delivers the result, and takes the next task. It ends
//! when no task is left.
//!
//! Why one thread is enough: no task that is inside ever waits for the thread while the thread
//! waits for another task.
//!
//! * The gate serves its queue in order, and the thread takes the tasks in that order. So while the
//!   thread waits for the turn of a task, no later task is inside.
//! * While the thread waits in the kernel's queue for a task, that task is alone inside.
//! * A task that has joined shared holders and may not stay (their file is no longer at the path)
//!   would have to wait for the other holders, which may be tasks that the thread has yet to serve.
//!   Therefore such a task takes a new place at the end of the queue.
//!
//! Why no task is forgotten: tasks are added, and the thread decides to end, under one mutex.
//!
//! How a wait ends early:
//!
//! * As long as the thread has not begun to serve the task, the caller that ends the wait takes the
//!   task out of both queues and delivers the result. For time limits and tokens that caller is a
//!   thread of its own (see `limits`). If the gate has let the task in at that moment, the thread
//!   is about to serve it, and ends its wait.
//! * Afterwards the thread's own wait has the time limit and the tokens.
//! * A result for a task that was dropped is dropped: the lock is released at once.
//! * If the thread panics while it serves a task, that task gets an error, and the thread goes on.

mod answer;
mod limits;
mod own_thread;
mod panic;
mod source;

use std::collections::VecDeque;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Instant;

use answer::Answer;
use source::release_unseen;

use crate::gate::{EntryTerms, Occupant, Sleeper};
use crate::sys::start::start_thread;
use crate::wait::Stop;
use crate::{CancelToken, Conflict, Error, FileLock, Limit, OwnedGuard, Request};

pub(crate) use own_thread::by_own_thread;
pub(crate) use source::{Acquired, PendingWait, Source, Taken};

/// The tasks that wait for one lock.
#[derive(Default)]
pub(crate) struct TaskQueue {
    list: Mutex<List>,
}

#[derive(Default)]
struct List {
    /// The tasks that the thread has not begun to serve.
    queued: VecDeque<Queued>,
    /// The thread runs, and will look at the list again.
    served: bool,
}

/// A task and its place in the gate's queue.
struct Queued {
    task: Arc<Task>,
    place: Arc<Sleeper>,
}

/// A task that waits.
pub(crate) struct Task {
    lock: FileLock,
    /// Its limit is a deadline or none.
    request: Request,
    began: Instant,
    /// Ends the wait of the thread that serves this task.
    token: CancelToken,
    answer: Mutex<Answer<OwnedGuard>>,
}

impl TaskQueue {
    fn lock(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next task to serve. None: the thread has to end.
    fn next(&self) -> Option<Queued> {
        let mut list = self.lock();
        let next = list.queued.pop_front();
        list.served = next.is_some();
        next
    }
}

impl List {
    fn add(&mut self, task: &Arc<Task>, join: bool) {
        let terms = EntryTerms {
            mode: task.request.mode(),
            occupant: Occupant::ANY,
            join,
        };
        self.queued.push_back(Queued {
            task: task.clone(),
            place: task.lock.gate().queue_up(terms),
        });
    }
}

impl Task {
    /// Begins a wait for a lock that was found held.
    pub(crate) fn begin(
        lock: FileLock,
        request: Request,
        began: Instant,
        waker: &Waker,
    ) -> io::Result<Arc<Task>> {
        let task = Arc::new(Task {
            lock,
            request,
            began,
            token: CancelToken::new(),
            answer: Mutex::new(Answer::Pending(waker.clone())),
        });
        let mut list = task.lock.tasks().lock();
        if list.served {
            // Other tasks come first: until then the thread does not watch this one's limits.
            limits::add(&task)?;
        } else {
            start(&task.lock)?;
        }
        list.served = true;
        list.add(&task, true);
        drop(list);
        Ok(task)
    }

    /// Ends the wait of a task that the thread does not serve yet.
    fn end(self: &Arc<Self>, stop: Stop) {
        if self.withdraw() {
            let stopped = panic::or_error(self.lock.path(), || Err(self.stopped(stop)));
            self.deliver(stopped);
        }
    }

    /// Takes the task out of the queue, if the thread does not serve it yet.
    fn withdraw(self: &Arc<Self>) -> bool {
        let mut list = self.lock.tasks().lock();
        let mut queued = list.queued.iter();
        let Some(at) = queued.position(|queued| Arc::ptr_eq(&queued.task, self)) else {
            return false;
        };
        // If the task is inside by now, the thread is about to serve it.
        if !self.lock.withdraw(&list.queued[at].place) {
            return false;
        }
        let withdrawn = list.queued.remove(at);
        drop(list);
        limits::forget(self);
        drop(withdrawn);
        true
    }

    fn stopped(&self, stop: Stop) -> Error {
        let path = self.lock.path();
        let waited = self.began.elapsed();
        match stop {
            Stop::TimedOut => {
                let identity = self.lock.identity();
                let mode = self.request.mode();
                Error::TimedOut(Conflict::new(path, mode, waited, identity))
            }
            _ => Error::Cancelled {
                path: path.to_owned(),
                waited,
            },
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self.request.limit() {
            Limit::Until(deadline) => Some(deadline),
            _ => None,
        }
    }

    fn answer(&self) -> MutexGuard<'_, Answer<OwnedGuard>> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn deliver(&self, taken: Taken<OwnedGuard>) {
        let waker = match self.answer().put(taken) {
            Ok(waker) => waker,
            // Outside of the mutex.
            Err(taken) => return release_unseen(taken),
        };
        // The waker is the program's code. The other tasks need this thread even if it panics.
        let _ = std::panic::catch_unwind(AssertUnwindSafe(|| waker.wake()));
    }

    /// Waits for the task's turn and for the lock. False: the task has to queue anew.
    fn serve(&self, place: &Arc<Sleeper>) -> bool {
        let theirs = self.request.token().cloned();
        let _forward = theirs.as_ref().map(|theirs| theirs.forward_to(&self.token));
        let request = self.request.clone().cancel(&self.token);
        let mut request = request.notice_deadlocks(false);
        let taken = OwnedGuard::acquire_queued(&self.lock, request.terms(), self.began, place);
        match taken.transpose() {
            Some(taken) => self.deliver(taken),
            None => return false,
        }
        true
    }
}

impl PendingWait<OwnedGuard> for Arc<Task> {
    fn poll(&self, waker: &Waker) -> Option<Box<Taken<OwnedGuard>>> {
        self.answer().poll(waker)
    }

    fn cancel(&self) {
        // First the token: if the thread is about to give the task back to the queue, it sees that.
        self.token.cancel();
        self.end(Stop::Cancelled);
    }

    fn abandon(&self) {
        let answer = std::mem::replace(&mut *self.answer(), Answer::Abandoned);
        if matches!(answer, Answer::Pending(_)) {
            self.token.cancel();
            self.withdraw();
        }
        // Outside of the mutex: this may release the lock.
        answer.release_unseen();
    }
}

/// Starts the thread that serves the tasks of this lock.
///
/// The thread is not published as a helper thread: while one task waits, others may release what
/// they hold, so that the process has a way out of a deadlock. It blocks all signals: the program's
/// other threads get them, and a signal would cost the thread its place in the kernel's queue.
fn start(lock: &FileLock) -> io::Result<()> {
    let lock = lock.clone();
    start_thread("holdlock-async", move || serve_all(&lock, serve))
}

fn serve_all(lock: &FileLock, serve: impl Fn(&Queued)) {
    while let Some(queued) = lock.tasks().next() {
        // If the thread ended here, no other one would be started, and later tasks would not end.
        let served = panic::or_error(lock.path(), || {
            serve(&queued);
            Ok(())
        });
        if let Err(panicked) = served {
            queued.task.deliver(Err(panicked));
        }
    }
}

fn serve(Queued { task, place }: &Queued) {
    limits::forget(task);
    if !task.serve(place) {
        queue_again(task);
    }
}

fn queue_again(task: &Arc<Task>) {
    let mut list = task.lock.tasks().lock();
    if task.token.is_cancelled() {
        drop(list);
        task.deliver(Err(task.stopped(Stop::Cancelled)));
        return;
    }
    // If no thread can watch the limits, the task learns of them when it is served again.
    let _ = limits::add(task);
    list.add(task, false);
}
