//! One process of one crate: does what each line of its input says, and answers with a line, as
//! `worker.py` of the case `engines` does.
//!
//! ```text
//! holdlock-bench-rust-peers rslock URL | distributed-lock URL
//! ```

use std::error::Error;
use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

use distributed_lock_core::{DistributedLock, LockHandle, LockProvider};
use distributed_lock_postgres::PostgresLockProvider;
use rslock::LockManager;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// How long Redis keeps the lock of a silent process: as in `worker.py`.
const LEASE: Duration = Duration::from_secs(15);

enum Lock {
    Rslock(LockManager),
    /// On PostgreSQL. On Redis `acquire` of this crate tries once, whatever its time limit is:
    /// there is no wait to measure.
    Distributed(Box<<PostgresLockProvider as LockProvider>::Lock>),
}

enum Held {
    Rslock(rslock::LockGuard),
    Distributed(Box<<<PostgresLockProvider as LockProvider>::Lock as DistributedLock>::Handle>),
}

impl Lock {
    async fn open(krate: &str, url: String) -> Outcome<Lock> {
        Ok(match krate {
            "rslock" => Lock::Rslock(LockManager::new(vec![url])),
            "distributed-lock" => {
                let provider = PostgresLockProvider::new(url).await?;
                Lock::Distributed(Box::new(provider.create_lock("bench-distributed-lock")))
            }
            _ => return Err(format!("no such crate: {krate}").into()),
        })
    }

    async fn acquire(&self) -> Outcome<Held> {
        Ok(match self {
            Lock::Rslock(manager) => Held::Rslock(manager.acquire("bench-rslock", LEASE).await?),
            Lock::Distributed(lock) => Held::Distributed(Box::new(lock.acquire(None).await?)),
        })
    }
}

impl Held {
    async fn release(self) -> Outcome<()> {
        match self {
            Held::Rslock(guard) => guard.release().await,
            Held::Distributed(handle) => handle.release().await?,
        }
        Ok(())
    }
}

fn main() -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(work())
}

async fn work() -> Outcome<()> {
    let mut words = std::env::args().skip(1);
    let krate = words.next().ok_or("a worker needs the name of a crate")?;
    let url = words.next().ok_or("a worker needs a URL")?;
    let lock = Lock::open(&krate, url).await?;
    let mut held = None;
    say("ready")?;
    // Nothing else runs in this process while it waits for a line.
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("cycle", count) => {
                let start = Instant::now();
                for _ in 0..count.parse::<u32>()? {
                    lock.acquire().await?.release().await?;
                }
                say(start.elapsed().as_nanos())?;
            }
            ("take", _) => {
                held = Some(lock.acquire().await?);
                say("held")?;
            }
            ("give", _) => {
                let before = monotonic();
                held.take().ok_or("not held")?.release().await?;
                say(before)?;
            }
            _ => {
                let held = lock.acquire().await?;
                let after = monotonic();
                held.release().await?;
                say(after)?;
            }
        }
    }
    Ok(())
}

fn say(answer: impl std::fmt::Display) -> Outcome<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{answer}")?;
    Ok(out.flush()?)
}

/// Nanoseconds of the clock that all processes share.
fn monotonic() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
