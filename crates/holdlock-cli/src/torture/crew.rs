//! The worker processes of a run: started, killed, stopped, and replaced.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use super::board::{Board, now};
use super::engine::Engine;
use super::fault::Fault;
use super::mark::OUTSIDE;
use super::place::Place;
use super::worker::{FCNTL, Orders, THREADS, WORKER};
use crate::engines::ENGINE;
use crate::exit::{Failure, OS_ERROR};

/// The threads of a worker that take locks.
pub(super) const THREADS_EACH: usize = 4;

/// One place for a worker process.
struct Worker {
    child: Child,
    kind: &'static str,
    first: usize,
    count: usize,
    ended: bool,
}

/// All of them.
pub(super) struct Crew {
    board: &'static Board,
    number: u32,
    workers: Vec<Worker>,
    seed: u64,
    fault: Option<Fault>,
    directory: PathBuf,
    engine: Option<Engine>,
    /// The process that is stopped now, and until when.
    stopped: Option<(usize, Instant)>,
    pub(super) kills: u64,
    pub(super) stops: u64,
}

impl Crew {
    /// Starts `processes` workers, and one that uses fcntl(2) if `fcntl` says so.
    pub(super) fn start(
        (board, file): (&'static Board, &File),
        processes: usize,
        fcntl: bool,
        seed: u64,
        fault: Option<Fault>,
        place: &Place,
    ) -> Result<Crew, Failure> {
        let mut crew = Crew {
            board,
            number: Board::number_of(file),
            workers: Vec::new(),
            seed,
            fault,
            directory: place.directory.clone(),
            engine: place.engine.as_ref().map(|(engine, _)| engine.clone()),
            stopped: None,
            kills: 0,
            stops: 0,
        };
        for worker in 0..processes {
            crew.add(THREADS, worker * THREADS_EACH, THREADS_EACH)?;
        }
        if fcntl {
            crew.add(FCNTL, processes * THREADS_EACH, 1)?;
        }
        Ok(crew)
    }

    fn add(&mut self, kind: &'static str, first: usize, count: usize) -> Result<(), Failure> {
        let child = self.spawn(kind, first, count)?;
        self.workers.push(Worker {
            child,
            kind,
            first,
            count,
            ended: false,
        });
        Ok(())
    }

    fn spawn(&self, kind: &str, first: usize, count: usize) -> Result<Child, Failure> {
        use std::os::unix::process::CommandExt;
        let orders = Orders {
            supervisor: std::process::id(),
            board: self.number,
            first,
            count,
            seed: self.seed,
            fault: self.fault,
            directory: self.directory.clone(),
        };
        let mut command = Command::new("/proc/self/exe");
        match self.engine.as_ref().map(Engine::variable) {
            // In the environment, and not among the words: it may contain a password.
            Some((name, url)) => command.env(name, url),
            None => command.env_remove(ENGINE),
        };
        command
            .args([WORKER, kind])
            .args(orders.words())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            // Ctrl-C is for the supervisor, which then ends the workers.
            .process_group(0)
            .spawn()
            .map_err(|error| Failure::system("cannot start a worker", error))
    }

    /// The processes that run.
    pub(super) fn pids(&self) -> impl Iterator<Item = u32> {
        let running = self.workers.iter().filter(|worker| !worker.ended);
        running.map(|worker| worker.child.id())
    }

    /// Kills a worker and starts another one in its place.
    pub(super) fn kill(&mut self, index: usize) -> Result<(), Failure> {
        self.go_on_if(|stopped, _| stopped == index);
        let failed = |error| Failure::system("cannot kill a worker", error);
        self.board.death_begins();
        self.workers[index].child.kill().map_err(failed)?;
        self.kills += 1;
        self.bury(index)?;
        let Worker {
            kind, first, count, ..
        } = self.workers[index];
        self.workers[index].child = self.spawn(kind, first, count)?;
        Ok(())
    }

    /// Waits for the end of a worker that was killed, and clears what it has left.
    fn bury(&mut self, index: usize) -> Result<(), Failure> {
        let failed = |error| Failure::system("cannot wait for a worker", error);
        let worker = &mut self.workers[index];
        // The pid stays the worker's until its marks are cleared.
        while let Err(error) = waitid(
            id(&worker.child),
            WaitIdOptions::EXITED | WaitIdOptions::NOWAIT,
        ) {
            if error != rustix::io::Errno::INTR {
                return Err(failed(error.into()));
            }
        }
        self.board.death_is_over();
        let last = worker.first + worker.count;
        for participant in worker.first..last {
            let words = &self.board.participants[participant];
            words.incarnation.fetch_add(1, Ordering::SeqCst);
            self.board.marks[participant].store(OUTSIDE, Ordering::SeqCst);
            for word in [&words.doing, &words.until, &words.thread] {
                word.store(0, Ordering::SeqCst);
            }
        }
        worker.child.wait().map(drop).map_err(failed)
    }

    /// Stops a worker for a time. One at a time.
    pub(super) fn stop(&mut self, index: usize, time: Duration) {
        if self.stopped.is_none() && self.signal(index, Signal::STOP) {
            self.board.stopped_since.store(now(), Ordering::SeqCst);
            self.stopped = Some((index, Instant::now() + time));
            self.stops += 1;
        }
    }

    /// Continues the worker whose stop is over.
    pub(super) fn go_on(&mut self) {
        self.go_on_if(|_, until| Instant::now() >= until);
    }

    /// Continues the worker that is stopped.
    pub(super) fn go_on_all(&mut self) {
        self.go_on_if(|_, _| true);
    }

    fn go_on_if(&mut self, is_over: impl Fn(usize, Instant) -> bool) {
        if let Some((index, until)) = self.stopped
            && is_over(index, until)
        {
            self.signal(index, Signal::CONT);
            let since = self.board.stopped_since.swap(0, Ordering::SeqCst);
            let lasted = now().saturating_sub(since);
            self.board.stopped.fetch_add(lasted, Ordering::SeqCst);
            self.stopped = None;
        }
    }

    /// When the current stop ends.
    pub(super) fn next_go_on(&self) -> Option<Instant> {
        self.stopped.map(|(_, until)| until)
    }

    fn signal(&self, index: usize, signal: Signal) -> bool {
        let pid = Pid::from_child(&self.workers[index].child);
        kill_process(pid, signal).is_ok()
    }

    /// Looks for workers that have ended. True: all have. An error if one ended that should not.
    pub(super) fn has_ended(&mut self, may_end: bool) -> Result<bool, Failure> {
        let failed = |error| Failure::system("cannot wait for a worker", error);
        for worker in &mut self.workers {
            if worker.ended {
                continue;
            }
            if let Some(status) = worker.child.try_wait().map_err(failed)? {
                worker.ended = true;
                if !(may_end && status.success()) {
                    return Err(died(status));
                }
            }
        }
        Ok(self.workers.iter().all(|worker| worker.ended))
    }
}

fn died(status: ExitStatus) -> Failure {
    if status.code() == Some(OS_ERROR.into()) {
        let message = "a worker could not continue (see above), so this run says nothing about \
                       the locks";
        return Failure::new(OS_ERROR, message);
    }
    let message = format!("a worker has ended, but not by this run ({status}): was it killed?");
    Failure::new(OS_ERROR, message)
}

fn id(child: &Child) -> WaitId<'static> {
    WaitId::Pid(Pid::from_child(child))
}

impl Drop for Crew {
    fn drop(&mut self) {
        for worker in self.workers.iter_mut().filter(|worker| !worker.ended) {
            let _ = worker.child.kill();
            let _ = worker.child.wait();
        }
    }
}
