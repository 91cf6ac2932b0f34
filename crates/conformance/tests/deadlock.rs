//! A wait that closes a cycle ends with an error that spells the cycle out; the other waits go on.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Barrier, mpsc};
use std::time::{Duration, Instant};

use holdlock::{Error, FileLock};
use holdlock_conformance::{Actor, Scratch, has, queue, skipped, sys, watchdog};

fn paths(scratch: &Scratch, count: usize) -> Vec<PathBuf> {
    let path = |number| scratch.path(&format!("{number}.lock"));
    (0..count).map(path).collect()
}

fn many(paths: &[PathBuf], options: &[&str]) -> Actor {
    let mut command = Command::new(env!("CARGO_BIN_EXE_many"));
    command.args(options).args(paths);
    Actor::from_command(command)
}

/// Each holds the lock of its number; all but the last wait for the lock of the next one.
fn chain(paths: &[PathBuf], options: &[&str]) -> Vec<Actor> {
    let mut actors: Vec<Actor> = paths.iter().map(|_| many(paths, options)).collect();
    for (number, actor) in actors.iter_mut().enumerate() {
        actor.must(&format!("lock {number}"));
    }
    let last = actors.len() - 1;
    for (number, actor) in actors.iter_mut().take(last).enumerate() {
        actor.tell(format!("lock {}", number + 1));
    }
    actors
}

#[test]
fn a_process_that_closes_a_cycle_gets_an_error_and_the_others_continue() {
    let _dog = watchdog::watch(120);
    for (length, options) in [(2, &[][..]), (3, &[]), (2, &["ofd"])] {
        let first = (0..5).find(|_| the_last_gives_way(length, options));
        assert!(first.is_some(), "it was late in every round");
    }
}

/// A cycle that the last process closes. It started last, so it is the one to give way. False if it
/// stood still for so long that another one gave way.
fn the_last_gives_way(length: usize, options: &[&str]) -> bool {
    let scratch = Scratch::new();
    let paths = paths(&scratch, length);
    let mut actors = chain(&paths, options);
    if options.is_empty() {
        for (number, actor) in actors.iter().take(length - 1).enumerate() {
            queue::wait_for(&paths[number + 1], actor.pid());
        }
    }
    let pids: Vec<u32> = actors.iter().map(Actor::pid).collect();
    let (tell, told) = mpsc::channel();
    let began = Instant::now();
    actors[length - 1].tell("lock 0");
    std::thread::scope(|scope| {
        for (number, mut actor) in actors.into_iter().enumerate() {
            let tell = tell.clone();
            scope.spawn(move || {
                let answer = actor.answer();
                let _ = tell.send((number, answer, actor));
            });
        }
        let (victim, answer, mut actor) = told.recv().expect("an answer");
        let took = began.elapsed();
        assert!(answer.starts_with("Deadlock"), "{victim}: {answer}");
        assert!(took < Duration::from_secs(20), "{answer}");
        // The others give it a second.
        let in_time = victim == length - 1;
        assert!(in_time || took >= Duration::from_secs(1), "{victim}");
        for (path, pid) in paths.iter().zip(pids) {
            assert!(answer.contains(path.to_str().expect("text")), "{answer}");
            assert!(answer.contains(&format!("pid {pid}")), "{answer}");
        }
        // It still has its own lock; when that is free, the others acquire theirs one after
        // another.
        actor.must(&format!("release {victim}"));
        for next in (0..victim).rev().chain((victim + 1..length).rev()) {
            let (number, answer, actor) = told.recv().expect("an answer");
            if answer.starts_with("Deadlock") && began.elapsed() >= Duration::from_secs(1) {
                return false;
            }
            assert_eq!((number, &*answer), (next, "ok"));
            drop(actor);
        }
        in_time
    })
}

#[test]
fn no_cycle_is_looked_for_if_the_request_declines() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let paths = paths(&scratch, 2);
    let mut pair = [many(&paths, &[]), many(&paths, &[])];
    for (number, process) in pair.iter_mut().enumerate() {
        process.must(&format!("lock {number}"));
    }
    for (number, process) in pair.iter_mut().enumerate() {
        process.tell(format!("blind {}", 1 - number));
        queue::wait_for(&paths[1 - number], process.pid());
    }
    // By now both would have been examined.
    std::thread::sleep(Duration::from_millis(3000));
    for (number, process) in pair.iter().enumerate() {
        queue::wait_for(&paths[1 - number], process.pid());
    }
}

#[test]
fn a_cycle_with_others_is_noticed_too() {
    let _dog = watchdog::watch(60);
    if !has("flock") {
        return;
    }
    let scratch = Scratch::new();
    let paths = paths(&scratch, 2);
    let mut ours = many(&paths, &[]);
    ours.must("lock 0");
    // flock(1) runs a command under the second lock that waits for the first.
    let mut theirs = Command::new("flock")
        .arg(&paths[1])
        .arg("flock")
        .arg(&paths[0])
        .arg("true")
        .stdin(Stdio::null())
        .spawn()
        .expect("flock starts");
    queue::eventually("flock(1) queues", || !queue::waiters(&paths[0]).is_empty());
    let answer = ours.ask("lock 1");
    assert!(answer.starts_with("Deadlock"), "{answer}");
    assert!(answer.contains("flock"), "{answer}");
    ours.must("release 0");
    assert!(theirs.wait().expect("it ends").success());
}

#[test]
fn what_another_thread_holds_is_no_reason_to_give_up() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let paths = paths(&scratch, 2);
    let mut theirs = many(&paths, &[]);
    theirs.must("lock 1");
    let mut ours = many(&paths, &[]);
    ours.must("elsewhere 0");
    theirs.tell("lock 0");
    queue::wait_for(&paths[0], theirs.pid());
    ours.tell("lock 1");
    queue::wait_for(&paths[1], ours.pid());
    // Both have been examined: our other thread could release its lock at any time.
    std::thread::sleep(Duration::from_millis(3000));
    queue::wait_for(&paths[1], ours.pid());
    queue::wait_for(&paths[0], theirs.pid());
}

#[test]
fn a_cycle_of_threads_is_noticed() {
    let _dog = watchdog::watch(60);
    one_thread_gives_way(&paths(&Scratch::new(), 2));
}

/// Two threads that hold a lock each and wait for that of the other.
fn one_thread_gives_way(paths: &[PathBuf]) {
    let locks = [0, 1].map(|number| FileLock::open(&paths[number]).expect("opens"));
    let both = Barrier::new(2);
    let begin = |own: usize| {
        let _own = locks[own].lock().expect("locked");
        both.wait();
        locks[1 - own].lock().map(drop)
    };
    let results = std::thread::scope(|scope| {
        let threads = [0, 1].map(|own| scope.spawn(move || begin(own)));
        threads.map(|thread| thread.join().expect("no panic"))
    });
    let errors: Vec<String> = results
        .into_iter()
        .filter_map(Result::err)
        .inspect(|error| assert!(matches!(error, Error::Deadlock { .. }), "{error}"))
        .map(|error| error.to_string())
        .collect();
    assert_eq!(
        errors.len(),
        1,
        "one gives way, the other goes on: {errors:?}"
    );
    for path in paths {
        assert!(
            errors[0].contains(path.to_str().expect("text")),
            "{errors:?}"
        );
    }
}

/// Whether a thread of this process sleeps in this function of the kernel.
fn is_asleep_in(task: impl std::fmt::Display, function: &str) -> bool {
    let wchan = std::fs::read_to_string(format!("/proc/self/task/{task}/wchan"));
    wchan.is_ok_and(|wchan| wchan.contains(function))
}

#[test]
fn a_thread_that_waits_for_a_lease_hides_no_cycle_of_other_threads() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let leased = File::create(scratch.path("leased")).expect("created");
    // The kernel asks for the lease by SIGIO.
    sys::count_signals(libc::SIGIO, libc::SA_RESTART);
    if !sys::lease(&leased) {
        return skipped("this file system grants no leases");
    }
    let lock = FileLock::open(scratch.path("leased")).expect("opens");
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| lock.lock().map(drop));
        queue::eventually("the waiter waits for the lease", || {
            let tasks = std::fs::read_dir("/proc/self/task").expect("proc");
            let mut tasks = tasks.flatten().map(|task| task.file_name());
            tasks.any(|task| is_asleep_in(task.display(), "break_lease"))
        });
        let began = Instant::now();
        one_thread_gives_way(&paths(&scratch, 2));
        // The kernel itself ends the lease after 45 s.
        assert!(began.elapsed() < Duration::from_secs(30));
        assert!(!waiter.is_finished(), "before the end of the lease");
        sys::unlease(&leased);
        waiter.join().expect("no panic").expect("locked");
    });
}

#[test]
fn a_thread_behind_a_holder_without_descriptor_hides_no_cycle_of_other_threads() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let lock = FileLock::open(scratch.path("lost")).expect("opens");
    let holder = lock.lock().expect("free");
    sys::close(holder.as_fd().as_raw_fd());
    let (name, named) = mpsc::channel();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            name.send(sys::thread_id()).expect("heard");
            lock.lock().map(drop)
        });
        let task = named.recv().expect("named");
        queue::eventually("the waiter sleeps", || is_asleep_in(task, "futex"));
        one_thread_gives_way(&paths(&scratch, 2));
        assert!(!waiter.is_finished(), "before the end of the holder");
        drop(holder);
        waiter.join().expect("no panic").expect("locked");
    });
}

#[test]
fn a_cycle_through_threads_and_processes_is_noticed() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let paths = paths(&scratch, 3);
    let locks = [0, 1].map(|number| FileLock::open(&paths[number]).expect("opens"));
    let far = FileLock::open(&paths[2]).expect("opens");
    let mut theirs = many(&paths, &[]);
    theirs.must("lock 2");
    let held = Barrier::new(2);
    let (name, named) = mpsc::channel();
    // One thread holds 0 and waits for 1; another holds 1 and waits for 2; a process holds 2 and
    // waits for 0.
    std::thread::scope(|scope| {
        let (locks, held) = (&locks, &held);
        let first = scope.spawn(move || {
            let _own = locks[0].lock().expect("locked");
            held.wait();
            name.send(sys::thread_id()).expect("heard");
            locks[1].lock().map(drop)
        });
        let _own = locks[1].lock().expect("locked");
        held.wait();
        // The last one to wait gives way.
        queue::wait_for_thread(named.recv().expect("named"));
        theirs.tell("lock 0");
        queue::wait_for(&paths[0], theirs.pid());
        let error = far.lock().expect_err("a cycle");
        assert!(
            matches!(error, Error::Deadlock { cycle: Some(_), .. }),
            "{error}"
        );
        drop(_own);
        first.join().expect("no panic").expect("goes on");
    });
    assert_eq!(theirs.answer(), "ok");
}

#[test]
fn a_long_queue_is_no_deadlock() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let paths = paths(&scratch, 2);
    let mut holder = many(&paths, &[]);
    holder.must("lock 0");
    let mut waiters: Vec<Actor> = (0..3).map(|_| many(&paths, &[])).collect();
    waiters[0].must("lock 1");
    for waiter in &mut waiters {
        waiter.tell("lock 0");
        queue::wait_for(&paths[0], waiter.pid());
    }
    std::thread::sleep(Duration::from_millis(1200));
    holder.must("release 0");
    for mut waiter in waiters {
        assert_eq!(waiter.answer(), "ok");
    }
}
