//! Tasks that wait for a lock, with a limit, under any runtime.
//!
//! Run it in two terminals at once: `cargo run --example async_tasks`. The runtime of this example
//! is the function `block_on`; tokio, smol and others work the same way.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use holdlock::{Error, FileLock};

async fn rebuild(lock: &FileLock) -> Result<(), Error> {
    // Dropping this future, as `select!` does, cancels the wait: the lock is not taken later.
    let guard = lock.lock_async().timeout(Duration::from_secs(3)).await?;
    println!("rebuilding, alone on this machine");
    // The guard can be kept across awaits. (A runtime has its own way to sleep.)
    thread::sleep(Duration::from_secs(2));
    guard.release()
}

fn main() -> Result<(), Error> {
    let path = std::env::temp_dir().join("holdlock-example-async.lock");
    let lock = FileLock::open(path)?;
    for round in 1..=3 {
        match block_on(rebuild(&lock)) {
            Ok(()) => println!("round {round} is done"),
            Err(error) if error.is_conflict() => println!("round {round} is skipped: {error}"),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Polls one future until it is ready, and sleeps between the polls.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}
