//! Random programs of tasks and threads that share locks: `tasks LOCK ROUNDS [SEED]`. Tasks wait
//! with and without limits and tokens, are dropped and cancelled; threads wait between them.
//!
//! Exits with 0 if no two were inside that exclude each other, every wait ended that had to, no
//! wait ended early, and nothing is left at the end: neither a lock, a thread nor an open file.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use holdlock::{CancelToken, Error, FileLock, LockFuture, LockOptions, Mode, OwnedGuard, Request};
use holdlock_conformance::{queue, watchdog};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let rounds: u64 = arguments[2].parse().expect("a number");
    let seed = arguments
        .get(3)
        .map_or(1, |seed| seed.parse().expect("a number"));
    for round in seed..seed + rounds {
        let _dog = watchdog::watch(120);
        program(Path::new(&arguments[1]), round);
    }
    println!("ok");
}

/// xorshift: good enough, and the same program for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

/// What the threads of a program share.
struct Scene {
    /// Two clones, and a lock of its own on the same file.
    locks: [FileLock; 3],
    /// The number of shared holders, or -1.
    inside: AtomicI32,
    /// Holders remove the file: then an overlap is possible, and not looked for.
    removes: bool,
    acquired: AtomicU64,
}

fn program(path: &Path, seed: u64) {
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let removes = dice.one_in(5);
    let options = LockOptions::new()
        .fair(dice.one_in(3))
        .delete_on_release(dice.one_in(4))
        .signals(!dice.one_in(6));
    let lock = options.open(path).expect("opens");
    let scene = Scene {
        locks: [lock.clone(), lock, options.open(path).expect("opens")],
        inside: AtomicI32::new(0),
        removes,
        acquired: AtomicU64::new(0),
    };
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let dice = Dice(dice.0 ^ dice.below(u64::MAX) | 1);
            scope.spawn(|| Loop::new(&scene, dice).run());
        }
        for _ in 0..dice.below(3) {
            let dice = Dice(dice.0 ^ dice.below(u64::MAX) | 1);
            scope.spawn(|| thread(&scene, dice));
        }
    });
    assert!(scene.acquired.load(Ordering::Relaxed) > 0);
    for lock in &scene.locks {
        drop(
            lock.try_lock_for(Duration::from_secs(20))
                .expect("free at the end"),
        );
    }
    queue::eventually("no thread serves tasks", || {
        !is_any_thread("holdlock-async")
    });
}

fn is_any_thread(start: &str) -> bool {
    let tasks = std::fs::read_dir("/proc/self/task").expect("readable");
    let mut names = tasks
        .flatten()
        .flat_map(|task| std::fs::read_to_string(task.path().join("comm")));
    names.any(|name| name.starts_with(start))
}

impl Scene {
    /// The holder's work.
    fn visit(&self, guard: OwnedGuard, dice: &mut Dice) {
        self.acquired.fetch_add(1, Ordering::Relaxed);
        let (mode, is_checked) = (guard.mode(), !self.removes);
        let before = match mode {
            Mode::Exclusive => self.inside.swap(-1, Ordering::SeqCst),
            Mode::Shared => self.inside.fetch_add(1, Ordering::SeqCst).min(0),
        };
        assert!(before == 0 || !is_checked, "{mode:?} beside {before}");
        if dice.one_in(4) {
            std::thread::sleep(Duration::from_micros(dice.below(600)));
        }
        if self.removes && dice.one_in(8) {
            let _ = std::fs::remove_file(guard.path());
        }
        match mode {
            Mode::Exclusive => self.inside.store(0, Ordering::SeqCst),
            Mode::Shared => drop(self.inside.fetch_sub(1, Ordering::SeqCst)),
        }
        guard.release().expect("released");
    }

    /// Whether a request may fail in this way.
    fn may_be(&self, error: &Error, limited: bool, cancelled: bool) -> bool {
        match error {
            Error::TimedOut(_) => limited,
            Error::Cancelled { .. } => cancelled,
            Error::RemovedWhileHeld(_) => self.removes,
            _ => false,
        }
    }

    fn lock<'s>(&'s self, dice: &mut Dice) -> &'s FileLock {
        &self.locks[dice.below(3) as usize]
    }
}

/// A thread that locks by the same objects, and waits among the tasks.
fn thread(scene: &Scene, mut dice: Dice) {
    for _ in 0..60 {
        let mode = if dice.one_in(2) {
            Mode::Shared
        } else {
            Mode::Exclusive
        };
        let limited = dice.one_in(2);
        let mut request = Request::new(mode);
        if limited {
            request = request.timeout(Duration::from_micros(dice.below(3000) + 1));
        }
        match scene.lock(&mut dice).acquire_owned(request) {
            Ok(guard) => scene.visit(guard, &mut dice),
            Err(error) => assert!(scene.may_be(&error, limited, false), "{error}"),
        }
    }
}

struct Flag {
    woken: AtomicBool,
    thread: Thread,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

struct Waiting {
    future: Pin<Box<LockFuture>>,
    flag: Arc<Flag>,
    began: Instant,
    limit: Option<Duration>,
    token: Option<CancelToken>,
    cancelled: bool,
}

/// An event loop with its tasks. Polls a task only when it was woken, so a lost wake-up hangs.
struct Loop<'s> {
    scene: &'s Scene,
    dice: Dice,
    tasks: Vec<Waiting>,
}

impl<'s> Loop<'s> {
    fn new(scene: &'s Scene, dice: Dice) -> Loop<'s> {
        Loop {
            scene,
            dice,
            tasks: Vec::new(),
        }
    }

    fn run(mut self) {
        for _ in 0..120 {
            match self.dice.below(8) {
                0..4 => self.begin(),
                4 => self.drop_one(),
                5 => self.cancel_one(),
                _ => self.look(),
            }
            self.look();
        }
        while !self.tasks.is_empty() {
            std::thread::park_timeout(Duration::from_secs(200));
            self.look();
        }
    }

    fn begin(&mut self) {
        let dice = &mut self.dice;
        let mode = if dice.one_in(3) {
            Mode::Shared
        } else {
            Mode::Exclusive
        };
        let mut request = Request::new(mode);
        let limit = dice
            .one_in(3)
            .then(|| Duration::from_micros(dice.below(4000) + 1));
        let token = dice.one_in(3).then(CancelToken::new);
        if let Some(token) = &token {
            request = request.cancel(token);
        }
        if let Some(limit) = limit {
            request = request.timeout(limit);
        }
        let woken = AtomicBool::new(true);
        self.tasks.push(Waiting {
            future: Box::pin(self.scene.lock(dice).acquire_async(request)),
            flag: Arc::new(Flag {
                woken,
                thread: std::thread::current(),
            }),
            began: Instant::now(),
            limit,
            token,
            cancelled: false,
        });
    }

    fn one(&mut self) -> Option<usize> {
        let count = self.tasks.len() as u64;
        (count > 0).then(|| self.dice.below(count) as usize)
    }

    fn drop_one(&mut self) {
        if let Some(at) = self.one() {
            drop(self.tasks.swap_remove(at));
        }
    }

    fn cancel_one(&mut self) {
        let Some(at) = self.one() else {
            return;
        };
        let task = &mut self.tasks[at];
        match &task.token {
            Some(token) if self.dice.one_in(2) => {
                token.cancel();
                task.cancelled = true;
            }
            // Without effect on a task that was not polled yet.
            _ if !task.flag.woken.load(Ordering::SeqCst) => {
                task.future.cancel();
                task.cancelled = true;
            }
            _ => {}
        }
    }

    /// Polls the tasks that were woken.
    fn look(&mut self) {
        let mut at = 0;
        while at < self.tasks.len() {
            let task = &mut self.tasks[at];
            if !task.flag.woken.swap(false, Ordering::SeqCst) {
                at += 1;
                continue;
            }
            let waker = Waker::from(task.flag.clone());
            match task.future.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Pending => at += 1,
                Poll::Ready(answer) => {
                    let task = self.tasks.swap_remove(at);
                    match answer {
                        Ok(guard) => self.scene.visit(guard, &mut self.dice),
                        Err(error) => {
                            let limited = task
                                .limit
                                .is_some_and(|limit| task.began.elapsed() >= limit);
                            let fits = self.scene.may_be(&error, limited, task.cancelled);
                            assert!(fits, "{error}");
                        }
                    }
                }
            }
        }
    }
}
