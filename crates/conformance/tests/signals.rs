//! Waits among signals: blocked, replaced, interrupting. The tests of this file
//! change the process's signal handlers, so they run one after the other.

use std::ops::ControlFlow;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::time::{Duration, Instant};

use holdlock::{CancelToken, Error, FileLock, Request, Waiting};
use holdlock_conformance::{Actor, Scratch, queue, sys, watchdog};

const ACTOR: &str = env!("CARGO_BIN_EXE_holdlock-actor");

fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A wait on a held lock ends at its deadline.
#[track_caller]
fn keeps_deadlines(lock: &FileLock) {
    let timeout = Duration::from_millis(50);
    let started = Instant::now();
    let error = lock.try_lock_for(timeout).expect_err("held");
    let waited = started.elapsed();
    assert!(matches!(error, Error::TimedOut(_)), "{error}");
    assert!(waited >= timeout, "{waited:?}");
    assert!(waited < Duration::from_secs(10), "{waited:?}");
}

#[test]
fn a_deadline_is_met_while_the_caller_blocks_our_signal_and_sigalrm() {
    let _alone = alone();
    let _dog = watchdog::watch(30);
    let scratch = Scratch::new();
    let _holder = Actor::holding(ACTOR, &scratch.lock());
    let lock = FileLock::open(scratch.lock()).expect("opens");
    keeps_deadlines(&lock);
    let signal = holdlock::wait_signal().expect("a signal");
    sys::block(libc::SIGALRM);
    // All of them, so that no signal is left unblocked.
    sys::block_real_time_signals();
    keeps_deadlines(&lock);
    assert_eq!(holdlock::wait_signal(), Some(signal));
    assert!(sys::is_blocked(libc::SIGALRM));
    assert!(sys::is_blocked(signal), "the caller's mask was changed");
    // The same in the queue of the threads of this process.
    let lock = FileLock::open(scratch.path("other.lock")).expect("opens");
    let _held = lock.lock().expect("locked");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            sys::block_real_time_signals();
            keeps_deadlines(&lock);
        });
    });
}

#[test]
fn the_programs_handlers_do_not_run_on_the_alternate_stack() {
    let _alone = alone();
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let _holder = Actor::holding(ACTOR, &scratch.lock());
    let lock = FileLock::open(scratch.lock()).expect("opens");
    sys::count_signals_on_the_alternate_stack(libc::SIGUSR2);
    let before = sys::SIGNALS.load(Ordering::SeqCst);
    let (tell, told) = mpsc::channel();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            tell.send(sys::thread_id()).expect("heard");
            let end = Instant::now() + Duration::from_secs(3);
            while Instant::now() < end {
                let limit = Duration::from_micros(100);
                lock.try_lock_for(limit).expect_err("held");
            }
        });
        let thread = told.recv().expect("began");
        while !waiter.is_finished() {
            sys::kill_thread(thread, libc::SIGUSR2);
        }
    });
    assert_eq!(sys::SIGNALS.load(Ordering::SeqCst), before);
}

#[test]
fn signals_that_the_program_reads_are_left_to_it() {
    let _alone = alone();
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let _holder = Actor::holding(ACTOR, &scratch.lock());
    for (when, count) in [("first", 20), ("late", 20), ("pending", 1)] {
        let told = Command::new(env!("CARGO_BIN_EXE_signal-reader"))
            .arg(scratch.lock())
            .arg(when)
            .output()
            .expect("runs");
        let told = String::from_utf8_lossy(&told.stdout).into_owned();
        assert_eq!(told, format!("{count} of {count}, kept\n"), "{when}");
    }
}

/// The limit of the wait under the storm, in nanoseconds of the monotonic clock.
static LIMIT: AtomicU64 = AtomicU64::new(u64::MAX);
/// How often the handler of the storm ran after the limit.
static AFTER_LIMIT: AtomicU64 = AtomicU64::new(0);
static STORM: OnceLock<sys::ThreadTimer> = OnceLock::new();

/// Takes 2 ms, and runs again 50 µs later: in that time the thread gets back into its wait, or a
/// part of the way out of it.
extern "C" fn storm(_signal: libc::c_int) {
    let began = sys::monotonic();
    let limit = LIMIT.load(Ordering::SeqCst);
    if began > limit {
        AFTER_LIMIT.fetch_add(1, Ordering::SeqCst);
    }
    while sys::monotonic() < began + 2_000_000 {
        std::hint::spin_loop();
    }
    if limit != u64::MAX
        && let Some(timer) = STORM.get()
    {
        timer.set(50_000);
    }
}

#[test]
fn a_deadline_is_met_though_the_thread_is_nearly_always_in_a_signal_handler() {
    let _alone = alone();
    let _dog = watchdog::watch(120);
    let scratch = Scratch::new();
    let _holder = Actor::holding(ACTOR, &scratch.lock());
    let lock = FileLock::open(scratch.lock()).expect("opens");
    let timer = *STORM.get_or_init(|| sys::ThreadTimer::new(libc::SIGUSR2));
    for others_wait in [false, true] {
        // With SA_RESTART: after this handler the wait continues.
        sys::install_with(libc::SIGUSR2, libc::SA_RESTART, others_wait, storm);
        let mut after_limit = [0; 5].map(|_: u64| {
            AFTER_LIMIT.store(0, Ordering::SeqCst);
            LIMIT.store(sys::monotonic() + 20_000_000, Ordering::SeqCst);
            timer.set(1);
            let error = lock
                .try_lock_for(Duration::from_millis(20))
                .expect_err("held");
            LIMIT.store(u64::MAX, Ordering::SeqCst);
            assert!(matches!(error, Error::TimedOut(_)), "{error}");
            AFTER_LIMIT.load(Ordering::SeqCst)
        });
        after_limit.sort_unstable();
        println!("{after_limit:?} handlers ran after the limit");
        // Two to twenty, until the thread is out of the library; now and then sixty on a busy
        // machine, where it has the processor for a part of the pauses only. Two hundred nearly
        // each time if a signal of the library is lost because it arrives together with the
        // storm's, or in its handler.
        assert!(after_limit[2] < 60, "{after_limit:?}");
    }
}

#[test]
fn a_limit_is_kept_after_a_callback_that_lost_our_signal_and_waited_itself() {
    let _alone = alone();
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let (path, other) = (scratch.lock(), scratch.path("other.lock"));
    let _holders = (Actor::holding(ACTOR, &path), Actor::holding(ACTOR, &other));
    sys::count_signals(libc::SIGUSR1, 0);
    let lock = FileLock::open(&path).expect("opens");
    let inner = FileLock::open(&other).expect("opens");
    let (tell, told) = mpsc::channel();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let mut asked = 0;
            let mut waits_itself = |what| {
                if what == Waiting::Began {
                    tell.send(sys::thread_id()).expect("heard");
                } else {
                    asked += 1;
                    // Other code takes our signal, so the inner wait uses another one.
                    let signal = holdlock::wait_signal().expect("a signal");
                    sys::count_signals(signal, libc::SA_RESTART);
                    keeps_deadlines(&inner);
                }
                ControlFlow::Continue(())
            };
            let request = Request::exclusive()
                .timeout(Duration::from_secs(5))
                .on_wait(&mut waits_itself);
            let error = lock.acquire(request).map(drop).expect_err("held");
            assert!(matches!(error, Error::TimedOut(_)), "{error}");
            let waited = error.conflict().expect("a conflict").waited();
            assert!(asked > 0, "not asked within the limit: {waited:?}");
            waited
        });
        let thread = told.recv().expect("the wait began");
        queue::wait_for(&path, std::process::id());
        sys::kill_thread(thread, libc::SIGUSR1);
        let waited = waiter.join().expect("no panic");
        assert!(waited < Duration::from_secs(20), "{waited:?}");
    });
}

#[test]
fn a_deadline_is_met_after_other_code_took_our_signal() {
    let _alone = alone();
    let _dog = watchdog::watch(30);
    let scratch = Scratch::new();
    let _holder = Actor::holding(ACTOR, &scratch.lock());
    let lock = FileLock::open(scratch.lock()).expect("opens");
    keeps_deadlines(&lock);
    let signal = holdlock::wait_signal().expect("a signal");
    // SA_RESTART would put the waiter back to sleep for ever.
    sys::count_signals(signal, libc::SA_RESTART);
    let before = sys::SIGNALS.load(Ordering::SeqCst);
    keeps_deadlines(&lock);
    assert_ne!(holdlock::wait_signal(), Some(signal));
    let after = sys::SIGNALS.load(Ordering::SeqCst);
    assert_eq!(before, after, "the signal is theirs now");
}

#[test]
fn another_signal_may_be_chosen_and_a_taken_one_may_not() {
    let _alone = alone();
    let free = libc::SIGRTMIN() + 3;
    holdlock::set_wait_signal(free).expect("free");
    assert_eq!(holdlock::wait_signal(), Some(free));
    let taken = libc::SIGRTMIN() + 4;
    sys::count_signals(taken, 0);
    let error = holdlock::set_wait_signal(taken).expect_err("taken");
    assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
    let error = holdlock::set_wait_signal(libc::SIGTERM).expect_err("no real-time signal");
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
}

#[test]
fn signals_of_the_host_are_no_error_and_are_reported() {
    let _alone = alone();
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut holder = Actor::start(ACTOR, &path);
    sys::count_signals(libc::SIGUSR1, 0);
    for timed in [false, true] {
        holder.must("lock");
        let lock = FileLock::open(&path).expect("opens");
        let (tell, told) = mpsc::channel();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                let mut interruptions = 0;
                let mut note = |what| {
                    match what {
                        Waiting::Began => tell.send(sys::thread_id()).expect("heard"),
                        _ => interruptions += 1,
                    }
                    ControlFlow::Continue(())
                };
                let mut request = Request::exclusive().on_wait(&mut note);
                if timed {
                    request = request.timeout(Duration::from_secs(60));
                }
                drop(lock.acquire(request).expect("locked"));
                interruptions
            });
            let thread = told.recv().expect("the wait began");
            for _ in 0..100 {
                queue::wait_for(&path, std::process::id());
                let before = sys::SIGNALS.load(Ordering::SeqCst);
                sys::kill_thread(thread, libc::SIGUSR1);
                queue::eventually("the handler ran", || {
                    sys::SIGNALS.load(Ordering::SeqCst) > before
                });
            }
            queue::wait_for(&path, std::process::id());
            holder.must("release");
            let interruptions = waiter.join().expect("no panic");
            // A signal that arrives between two calls interrupts nothing.
            assert!(interruptions > 50, "{interruptions}");
        });
    }
}

#[test]
fn the_callback_can_end_a_wait_after_a_signal() {
    let _alone = alone();
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let _holder = Actor::holding(ACTOR, &path);
    sys::count_signals(libc::SIGUSR1, 0);
    let lock = FileLock::open(&path).expect("opens");
    let (tell, told) = mpsc::channel();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let mut interrupted = |what| match what {
                Waiting::Interrupted => ControlFlow::Break(()),
                _ => {
                    tell.send(sys::thread_id()).expect("heard");
                    ControlFlow::Continue(())
                }
            };
            lock.acquire(Request::exclusive().on_wait(&mut interrupted))
                .map(drop)
        });
        let thread = told.recv().expect("the wait began");
        queue::wait_for(&path, std::process::id());
        sys::kill_thread(thread, libc::SIGUSR1);
        let ended = waiter.join().expect("no panic");
        assert!(matches!(ended, Err(Error::Cancelled { .. })));
    });
}

#[test]
fn a_callback_that_panics_in_the_queue_leaves_no_place_taken() {
    let _alone = alone();
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    sys::count_signals(libc::SIGUSR1, 0);
    let lock = FileLock::open(scratch.lock()).expect("opens");
    let held = lock.lock().expect("locked");
    let (tell, told) = mpsc::channel();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let mut panics = |what| match what {
                Waiting::Interrupted => panic!("on purpose"),
                _ => {
                    tell.send(sys::thread_id()).expect("heard");
                    ControlFlow::Continue(())
                }
            };
            let request = Request::exclusive().on_wait(&mut panics);
            lock.acquire(request).map(drop)
        });
        let thread = told.recv().expect("the wait began");
        queue::wait_for_thread(thread);
        sys::kill_thread(thread, libc::SIGUSR1);
        waiter.join().expect_err("the panic comes through");
    });
    drop(held);
    drop(lock.lock().expect("nobody stands before us"));
}

static TOKEN: OnceLock<CancelToken> = OnceLock::new();

extern "C" fn cancel(_signal: libc::c_int) {
    TOKEN.get().expect("a token").cancel();
}

#[test]
fn a_signal_handler_may_cancel_even_the_thread_it_runs_in() {
    let _alone = alone();
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let _holder = Actor::holding(ACTOR, &path);
    let token = TOKEN.get_or_init(CancelToken::new);
    // With SA_RESTART, as in most programs: the call continues after the handler.
    sys::install(libc::SIGUSR2, libc::SA_RESTART, cancel);
    let lock = FileLock::open(&path).expect("opens");
    let (tell, told) = mpsc::channel();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let mut began = |_| {
                tell.send(sys::thread_id()).expect("heard");
                ControlFlow::Continue(())
            };
            let request = Request::exclusive().cancel(token).on_wait(&mut began);
            lock.acquire(request).map(drop)
        });
        let thread = told.recv().expect("the wait began");
        queue::wait_for(&path, std::process::id());
        sys::kill_thread(thread, libc::SIGUSR2);
        let ended = waiter.join().expect("no panic");
        assert!(matches!(ended, Err(Error::Cancelled { .. })));
    });
}

#[test]
fn no_signal_is_left_over_to_interrupt_the_caller() {
    let _alone = alone();
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let _holder = Actor::holding(ACTOR, &scratch.lock());
    let lock = FileLock::open(scratch.lock()).expect("opens");
    for _ in 0..100 {
        let token = CancelToken::new();
        std::thread::scope(|scope| {
            scope.spawn(|| token.cancel());
            let request = Request::exclusive()
                .timeout(Duration::from_millis(2))
                .cancel(&token);
            assert!(lock.acquire(request).is_err());
            // nanosleep returns early if a signal interrupts it.
            let slept = sys::sleep(Duration::from_millis(3));
            assert!(slept, "a late signal interrupted the caller");
        });
    }
}

#[test]
fn a_lease_on_the_lock_file_is_waited_for() {
    let _alone = alone();
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    std::fs::write(scratch.lock(), "").expect("written");
    let file = std::fs::File::open(scratch.lock()).expect("opens");
    sys::count_signals(libc::SIGIO, libc::SA_RESTART);
    let before = sys::SIGNALS.load(Ordering::SeqCst);
    if !sys::lease(&file) {
        return holdlock_conformance::skipped("this file system grants no leases");
    }
    std::thread::scope(|scope| {
        let opener = scope.spawn(|| FileLock::open(scratch.lock()).map(drop));
        queue::eventually("the lease is called back", || {
            sys::SIGNALS.load(Ordering::SeqCst) > before
        });
        sys::unlease(&file);
        opener.join().expect("no panic").expect("opens");
    });
}
