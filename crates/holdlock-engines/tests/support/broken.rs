//! Answers of a server that are broken on their way.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Once, mpsc};
use std::time::{Duration, Instant};

use holdlock_engines::{EngineLock, Error, open};
use holdlock_test_support::eventually;
use holdlock_test_support::proxy::{Fault, Proxy};

/// How many requests each thread makes, unless the variable HOLDLOCK_BROKEN has another number.
const REQUESTS: u32 = 6;
/// How long a request may wait.
const LIMIT: Duration = Duration::from_millis(100);
/// Far longer than an end of a request takes on a busy machine.
const HANGS: Duration = Duration::from_secs(30);

/// Whether the helper thread has panicked. libtest does not fail because of that.
static PANICKED: AtomicBool = AtomicBool::new(false);

fn watch_helper_thread() {
    static WATCHED: Once = Once::new();
    WATCHED.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let name = std::fs::read_to_string("/proc/thread-self/comm");
            if name.is_ok_and(|name| name.trim_end() == "holdlock-engine") {
                PANICKED.store(true, Ordering::SeqCst);
            }
            before(panic);
        }));
    });
}

/// Requests by way of a proxy that breaks answers, while another holds the lock: each has an end,
/// and none acquires the lock. Then those for a lock that is free: whatever one of them thinks, it
/// does not disturb the others.
pub(crate) fn broken_answers_neither_hang_nor_panic_nor_give_the_lock(
    near: &str,
    proxy: &Proxy,
    far: &str,
) {
    watch_helper_thread();
    let requests = std::env::var("HOLDLOCK_BROKEN").ok();
    let requests = requests.map_or(REQUESTS, |number| number.parse().expect("a number"));
    let direct = open(near).expect("a lock");
    let holder = direct.lock().expect("free");
    let lock = open(far).expect("a lock");
    proxy.fault(Fault::Broken);
    let (tell, told) = mpsc::channel();
    for _ in 0..6 {
        let (lock, tell) = (lock.clone(), tell.clone());
        std::thread::spawn(move || {
            for _ in 0..requests {
                tell.send(attempt(&lock)).expect("listens");
            }
        });
    }
    drop(tell);
    let mut conflicts = 0;
    loop {
        match told.recv_timeout(HANGS) {
            Ok(Ok(())) => panic!("a lock that another holds"),
            Ok(Err(error)) => conflicts += u32::from(error.is_conflict()),
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("a request hangs"),
        }
    }
    // A slow machine may have needed the whole time to connect.
    if conflicts == 0 {
        eventually("an answer that is not broken", || {
            let refused = lock.try_lock_for(Duration::from_secs(1));
            refused.expect_err("another holds the lock").is_conflict()
        });
    }
    holder.check().expect("ours");
    holder.release().expect("ours");
    for _ in 0..requests {
        let began = Instant::now();
        // It holds the lock, or does not.
        let _ = attempt(&lock);
        assert!(began.elapsed() < HANGS, "{:?}", began.elapsed());
    }
    // Questions have longer limits.
    let _ = lock.members();
    proxy.fault(Fault::None);
    let works = || lock.try_lock_for(Duration::from_secs(60))?.release();
    let mut tries = (0..3).map(|_| works());
    let mut last = Ok(());
    let worked = tries.any(|tried| {
        last = tried;
        last.is_ok()
    });
    assert!(worked, "the lock is not free: {last:?}");
    assert!(
        !PANICKED.load(Ordering::SeqCst),
        "the helper thread has panicked"
    );
}

fn attempt(lock: &EngineLock) -> Result<(), Error> {
    let guard = lock.try_lock_for(LIMIT)?;
    let _ = guard.check_within(LIMIT);
    guard.release_in_background();
    Ok(())
}
