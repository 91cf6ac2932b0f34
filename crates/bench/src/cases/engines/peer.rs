//! One way of locking in a program, and its processes.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use holdlock_engines::{EngineGuard, EngineLock};
use holdlock_test_support::servers::Server as _;

use super::servers::Servers;
use crate::worker::{Job, Worker};
use crate::{Bench, Outcome, peers, sys};

const PROGRAM: &str = include_str!("worker.py");

/// The packages of Python, by the name of their lock in worker.py.
const ON_REDIS: [(&str, &str); 3] = [
    ("redis", "redis-py's Lock"),
    ("redis_lock", "python-redis-lock"),
    ("portalocker", "portalocker's RedisLock"),
];

pub(super) enum Peer {
    /// holdlock, with the name of the engine and the URL of the lock.
    Ours(&'static str, String),
    Python {
        package: &'static str,
        shown: &'static str,
        /// What the package is given: a port, or the address of a database.
        server: String,
        packages: PathBuf,
    },
    /// A crate, in the program of `crates/bench/rust-peers`.
    Crate {
        name: &'static str,
        shown: &'static str,
        /// The server.
        url: String,
        program: PathBuf,
    },
}

/// All for which there are servers and packages.
pub(super) fn all(bench: &Bench, servers: &Servers) -> Vec<Peer> {
    let urls = servers.urls("cycle").into_iter();
    let mut peers: Vec<Peer> = urls.map(|(name, url)| Peer::Ours(name, url)).collect();
    if let Some(program) = &bench.rust_peers {
        peers.extend(crates(program, servers));
    }
    let Some(packages) = &bench.python else {
        return peers;
    };
    let python = |package, shown, server: String| Peer::Python {
        package,
        shown,
        server,
        packages: packages.join("engines"),
    };
    if let Some(redis) = &servers.redis {
        let port = redis.port().to_string();
        peers.extend(ON_REDIS.map(|(package, shown)| python(package, shown, port.clone())));
    }
    if let Some(postgres) = &servers.postgres {
        let place = format!(
            "host=127.0.0.1 port={} user=boss dbname=postgres",
            postgres.port()
        );
        peers.push(python("psycopg", "pg_advisory_lock by psycopg", place));
    }
    peers
}

/// The crates for which there are servers. `distributed-lock` is measured on PostgreSQL only: on
/// Redis its `acquire` tries once, whatever its time limit is.
fn crates(program: &Path, servers: &Servers) -> Vec<Peer> {
    let new = |name, shown, url: String| Peer::Crate {
        name,
        shown,
        url,
        program: program.to_owned(),
    };
    let redis = servers.redis.as_ref().map(|server| {
        let url = format!("redis://127.0.0.1:{}/", server.port());
        new("rslock", "rslock on Redis", url)
    });
    let postgres = servers.postgres.as_ref().map(|server| {
        let url = format!("postgres://boss@127.0.0.1:{}/postgres", server.port());
        new("distributed-lock", "distributed-lock on PostgreSQL", url)
    });
    redis.into_iter().chain(postgres).collect()
}

impl Peer {
    pub(super) fn name(&self) -> String {
        match self {
            Peer::Ours(engine, _) => format!("holdlock on {engine}"),
            Peer::Python { shown, .. } | Peer::Crate { shown, .. } => (*shown).to_owned(),
        }
    }

    /// Whether it is one of the others on Redis.
    pub(super) fn polls(&self) -> bool {
        match self {
            Peer::Ours(..) => false,
            Peer::Python { package, .. } => *package != "psycopg",
            Peer::Crate { name, .. } => *name == "rslock",
        }
    }

    pub(super) fn start(&self) -> Outcome<Worker> {
        let mut worker = match self {
            Peer::Ours(_, url) => Worker::start(JOB, peers::Peer::Holdlock, url.as_ref(), &[])?,
            Peer::Python {
                package,
                server,
                packages,
                ..
            } => Worker::spawn(
                Command::new("python3")
                    .env("PYTHONPATH", packages)
                    .args(["-c", PROGRAM, package, server])
                    .stdin(Stdio::null()),
            )?,
            Peer::Crate {
                name, url, program, ..
            } => Worker::spawn(Command::new(program).args([name, url.as_str()]))?,
        };
        worker.expect("ready")?;
        Ok(worker)
    }
}

pub(crate) const JOB: &str = "engine";

/// A process that uses a lock of ours. It understands what worker.py does.
pub(crate) fn job(job: &Job) -> Outcome<()> {
    let url = job.path.to_str().ok_or("the URL is no text")?;
    let lock = holdlock_engines::open(url)?;
    let mut held: Option<EngineGuard> = None;
    job.tell("ready")?;
    while let Some(line) = job.hear()? {
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("cycle", count) => job.tell(cycle(&lock, count.parse()?)?)?,
            ("take", _) => {
                held = Some(lock.lock()?);
                job.tell("held")?;
            }
            ("give", _) => {
                let before = sys::monotonic();
                held.take().ok_or("not held")?.release()?;
                job.tell(before)?;
            }
            _ => {
                let guard = lock.lock()?;
                let after = sys::monotonic();
                guard.release()?;
                job.tell(after)?;
            }
        }
    }
    Ok(())
}

fn cycle(lock: &EngineLock, count: u32) -> Outcome<u128> {
    let start = Instant::now();
    for _ in 0..count {
        lock.lock()?.release()?;
    }
    Ok(start.elapsed().as_nanos())
}
