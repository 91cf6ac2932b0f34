//! What an engine does for a lock. All of it runs in the helper thread.
//!
//! A new engine is a folder with its options and implementations of [`Session`] and [`Service`], a
//! variant of [`Engine`], and a line in each `match` of this file.

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use holdlock::Mode;
use tokio::sync::oneshot;

use crate::etcd::Etcd;
use crate::keeper::hold;
use crate::postgres::Postgres;
use crate::redis::Redis;
use crate::stream::Address;
use crate::sys::clock::BootTime;
use crate::url::{self, Url};
use crate::{Error, Finding, History, Listed, Loss, Member, Members, Run};

/// The engine of a lock, and the lock there.
#[derive(Clone, Debug)]
pub(crate) enum Engine {
    Postgres(Arc<Postgres>),
    Etcd(Arc<Etcd>),
    Redis(Arc<Redis>),
}

impl Engine {
    pub(crate) fn open(url: &Url) -> Result<Engine, Error> {
        match url.scheme.as_str() {
            "postgres" | "postgresql" => Ok(Engine::Postgres(Arc::new(Postgres::new(url)?))),
            "etcd" | "etcds" => Ok(Engine::Etcd(Arc::new(Etcd::new(url)?))),
            "redis" | "rediss" | "valkey" | "valkeys" => {
                Ok(Engine::Redis(Arc::new(Redis::new(url)?)))
            }
            _ => Err(url::wrong(
                "no engine has this scheme",
                "use postgres://host/database#name, etcd://host#name or redis://host#name",
            )),
        }
    }

    /// The URL without user, password and options.
    pub(crate) fn shown(&self) -> &str {
        match self {
            Engine::Postgres(postgres) => Service::shown(&**postgres),
            Engine::Etcd(etcd) => Service::shown(etcd),
            Engine::Redis(redis) => Service::shown(redis),
        }
    }

    /// The name of the lock, as it is.
    pub(crate) fn lock_name(&self) -> &str {
        match self {
            Engine::Postgres(postgres) => postgres.lock_name(),
            Engine::Etcd(etcd) => etcd.lock_name(),
            Engine::Redis(redis) => redis.lock_name(),
        }
    }

    /// One word for the engine, for scripts.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Engine::Postgres(_) => "postgres",
            Engine::Etcd(_) => "etcd",
            Engine::Redis(_) => "redis",
        }
    }

    /// What the user should change, although it works.
    pub(crate) fn warnings(&self) -> &[String] {
        match self {
            Engine::Postgres(postgres) => postgres.warnings(),
            Engine::Etcd(etcd) => etcd.warnings(),
            Engine::Redis(redis) => redis.warnings(),
        }
    }

    pub(crate) async fn acquire(&self, attempt: &Attempt) -> Result<hold::Handle, Error> {
        match self {
            Engine::Postgres(postgres) => {
                let session = postgres.clone().acquire(attempt).await?;
                hold::begin(session, attempt.us.mode, self.shown()).await
            }
            Engine::Etcd(etcd) => {
                let session = etcd.clone().acquire(attempt).await?;
                hold::begin(session, attempt.us.mode, self.shown()).await
            }
            Engine::Redis(redis) => {
                let session = redis.clone().acquire(attempt).await?;
                hold::begin(session, attempt.us.mode, self.shown()).await
            }
        }
    }

    /// Where the servers of the URL listen.
    pub(crate) async fn addresses(&self) -> Vec<Address> {
        match self {
            Engine::Postgres(postgres) => postgres.addresses().await,
            Engine::Etcd(etcd) => etcd.addresses().await,
            Engine::Redis(redis) => redis.addresses().await,
        }
    }

    pub(crate) async fn members(&self) -> Result<Members, Error> {
        match self {
            Engine::Postgres(postgres) => postgres.members().await,
            Engine::Etcd(etcd) => etcd.members().await,
            Engine::Redis(redis) => redis.members().await,
        }
    }

    pub(crate) async fn list(&self) -> Result<Vec<Listed>, Error> {
        match self {
            Engine::Postgres(postgres) => postgres.list().await,
            Engine::Etcd(etcd) => etcd.list().await,
            Engine::Redis(redis) => redis.list().await,
        }
    }

    pub(crate) async fn break_holder(&self, token: u64) -> Result<Option<Member>, Error> {
        match self {
            Engine::Postgres(postgres) => postgres.break_holder(token).await,
            Engine::Etcd(etcd) => etcd.break_holder(token).await,
            Engine::Redis(redis) => redis.break_holder(token).await,
        }
    }

    pub(crate) async fn diagnose(&self) -> Result<Vec<Finding>, Error> {
        match self {
            Engine::Postgres(postgres) => postgres.diagnose().await,
            Engine::Etcd(etcd) => etcd.diagnose().await,
            Engine::Redis(redis) => redis.diagnose().await,
        }
    }

    pub(crate) async fn init(&self) -> Result<String, Error> {
        match self {
            Engine::Postgres(postgres) => postgres.init().await,
            Engine::Etcd(etcd) => etcd.init().await,
            Engine::Redis(redis) => redis.init().await,
        }
    }

    pub(crate) async fn last_run(&self) -> Result<History, Error> {
        match self {
            Engine::Postgres(postgres) => postgres.last_run().await,
            Engine::Etcd(etcd) => etcd.last_run().await,
            Engine::Redis(redis) => redis.last_run().await,
        }
    }

    pub(crate) async fn record_run(&self, entry: &Entry) -> Result<History, Error> {
        match self {
            Engine::Postgres(postgres) => postgres.record_run(entry).await,
            Engine::Etcd(etcd) => etcd.record_run(entry).await,
            Engine::Redis(redis) => redis.record_run(entry).await,
        }
    }
}

/// What an engine tells and does beside keeping a lock. An engine that leaves something out says so
/// to whoever asks for it.
pub(crate) trait Service {
    /// The URL without user, password and options.
    fn shown(&self) -> &str;

    /// The name of the lock, as it is.
    fn lock_name(&self) -> &str;

    /// Where the servers of the URL listen, as far as their names have addresses.
    async fn addresses(&self) -> Vec<Address>;

    /// The holders of the lock, and the waiters in their order.
    async fn members(&self) -> Result<Members, Error>;

    /// All locks that holdlock keeps at this place (the database, the server) and that are held or
    /// waited for. The lock's name in the URL does not matter, and may be empty.
    async fn list(&self) -> Result<Vec<Listed>, Error> {
        Err(unsupported(self.shown(), "listing the locks of the engine"))
    }

    /// Ends the session or the lease of the holder with this token, so that the lock is free, and
    /// returns that holder. None if no holder has this token now. Another holder, with a newer
    /// token, must not be hit whatever happens between looking and ending.
    async fn break_holder(&self, _token: u64) -> Result<Option<Member>, Error> {
        Err(unsupported(self.shown(), "ending a holder"))
    }

    /// Whether this is a safe place for locks. What the engine's own refusals say (a pooler, a
    /// standby) is an error, as for a request for the lock. The name of the lock may be empty.
    async fn diagnose(&self) -> Result<Vec<Finding>, Error> {
        Err(unsupported(self.shown(), "examining the engine"))
    }

    /// Makes what `last_run` and `record_run` need, and says what that is. Does no harm if it is
    /// there already. The default is for engines that need nothing.
    async fn init(&self) -> Result<String, Error> {
        Ok("this engine needs nothing made".to_owned())
    }

    /// What the engine remembers of earlier holders of the lock.
    async fn last_run(&self) -> Result<History, Error> {
        Err(unsupported(self.shown(), "reading when the last run began"))
    }

    /// Remembers a run, in one step that no other holder can come between, and returns what was
    /// remembered before. Fails with [`Error::Lost`] if a holder with a greater token has
    /// remembered something.
    async fn record_run(&self, _entry: &Entry) -> Result<History, Error> {
        Err(unsupported(self.shown(), "recording a run"))
    }
}

/// What a holder asks the engine to remember.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) token: Option<u64>,
    pub(crate) holder: Member,
    pub(crate) run: Run,
}

fn unsupported(lock: &str, operation: &'static str) -> Error {
    Error::Failed {
        lock: lock.to_owned(),
        operation,
        why: "this version of holdlock cannot do that with this engine".to_owned(),
    }
}

/// A lock that is held, as the engine sees it.
pub(crate) trait Session: 'static {
    fn token(&self) -> Option<u64>;

    /// How long after the last contact the engine frees the lock.
    fn ttl(&self) -> Duration;

    /// When the last message was sent that the engine has confirmed.
    fn confirmed(&self) -> BootTime;

    /// How long after the acquisition the first renewal is due, if it tells others something.
    /// None: with the other renewals.
    fn first_renewal(&self) -> Option<Duration>;

    /// One round trip, which proves that the lock is held and that it was held all the time.
    fn renew(&self) -> impl Future<Output = Result<(), Setback>> + 'static;

    /// Ready when the engine says by itself that the lock is gone.
    fn over(&self) -> impl Future<Output = Loss>;

    /// Ready when the lock should be renewed at once.
    fn nudged(&self) -> impl Future<Output = ()> {
        std::future::pending()
    }

    /// Gives the lock back. Fails with what is known if it was lost before. When the future
    /// is dropped, which it is after `within`, the engine is left to find out by itself.
    fn release(self, within: Duration) -> impl Future<Output = Result<(), Loss>>;
}

/// Why a renewal failed.
pub(crate) enum Setback {
    Lost(Loss),
    /// The lock may be held all the same; try again.
    Unclear(String),
    /// As `Unclear`, but the engine has answered: it refuses the renewal, and says why.
    Refused(String),
}

/// One attempt to acquire the lock.
pub(crate) struct Attempt {
    /// What the others are told, with the mode.
    pub(crate) us: Member,
    /// Whether to wait for the lock.
    pub(crate) waits: bool,
    pub(crate) deadline: Option<Instant>,
    pub(crate) progress: Rc<Progress>,
}

impl Attempt {
    /// The time that is left, at most `most`.
    pub(crate) fn left(&self, most: Duration) -> Duration {
        let left = |deadline: Instant| deadline.saturating_duration_since(Instant::now());
        self.deadline
            .map_or(most, |deadline| left(deadline).min(most))
    }
}

/// What an attempt has learned, for the message if it is given up.
#[derive(Default)]
pub(crate) struct Progress {
    stage: RefCell<Stage>,
    began: RefCell<Option<oneshot::Sender<()>>>,
    leaving: RefCell<Vec<oneshot::Receiver<()>>>,
}

/// How far an attempt has come.
#[derive(Clone, Default)]
pub(crate) enum Stage {
    /// Nothing is known about the lock.
    #[default]
    Connecting,
    /// The engine has forgotten its locks, and gives none before this moment.
    Quarantine(Instant),
    /// Others hold the lock, or are before us.
    Waiting(Vec<Member>),
    /// The engine would give the lock, but for this reason it is not certain yet.
    Uncertain(String),
}

impl Progress {
    pub(crate) fn new(began: oneshot::Sender<()>) -> Progress {
        Progress {
            stage: RefCell::default(),
            began: RefCell::new(Some(began)),
            leaving: RefCell::default(),
        }
    }

    pub(crate) fn stage(&self) -> Stage {
        self.stage.borrow().clone()
    }

    /// The request waits now. The first call tells the caller.
    pub(crate) fn waits(&self, stage: Stage) {
        self.stage.replace(stage);
        if let Some(began) = self.began.take() {
            let _ = began.send(());
        }
    }

    /// Something in the engine is being given back, until the sender is dropped.
    pub(crate) fn leaves(&self, left: oneshot::Receiver<()>) {
        self.leaving.borrow_mut().push(left);
    }

    /// Ready when everything was given back. A process that ends before leaves it to the engine's
    /// time limit.
    pub(crate) async fn left(&self) {
        let leaving = self.leaving.take();
        for left in leaving {
            let _ = left.await;
        }
    }

    /// As `waits`, for an attempt that does not wait yet, or ends instead: the caller is not told.
    pub(crate) fn learned(&self, stage: Stage) {
        self.stage.replace(stage);
    }
}

/// The error for an attempt that ends at this stage.
pub(crate) fn conflict(
    lock: &str,
    mode: Mode,
    waited: Duration,
    stage: Stage,
) -> Option<crate::Conflict> {
    let (holders, restarted) = match stage {
        Stage::Connecting | Stage::Uncertain(_) => return None,
        Stage::Quarantine(until) => (
            Vec::new(),
            Some(until.saturating_duration_since(Instant::now())),
        ),
        Stage::Waiting(holders) => (holders, None),
    };
    Some(crate::Conflict {
        lock: lock.to_owned(),
        mode,
        waited,
        holders,
        restarted,
    })
}
