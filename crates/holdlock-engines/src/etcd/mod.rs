//! etcd: a lock is a queue of keys, each with a lease of its own.
//!
//! The oldest key holds the lock, and its create revision is the token. A waiter watches the key
//! before it. A holder that the cluster does not hear for the `ttl` loses its lease, and with it
//! the key; the guard's deadline is a little earlier. The calls go over etcd's JSON gateway, which
//! needs no code generator and no more than HTTP/1.1.

mod client;
mod diagnose;
mod failure;
mod http;
mod keys;
mod list;
mod members;
mod message;
mod place;
mod race;
mod runs;
mod service;
mod session;
mod settings;
mod wait;
mod watch;

use std::fmt;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use holdlock::Mode;

use self::client::{Client, Patience};
use self::failure::Failure;
use self::keys::{Keys, Lease};
use self::message::Answer;
use self::place::{Before, Look, Place};
use self::session::EtcdSession;
use self::settings::Settings;
use self::wait::Turn;
use crate::Error;
use crate::engine::{Attempt, Stage, conflict};
use crate::tls::Certificates;
use crate::url::Url;

/// How long a call pauses when an endpoint has failed.
const PAUSE: Duration = Duration::from_millis(100);

/// The longest pause of a waiter that has lost its place for the first time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// For how long a waiter that has lost its place tries to get another one while calls fail.
const SLOW: Duration = Duration::from_secs(30);

/// A lock in a cluster of etcd.
pub(crate) struct Etcd {
    settings: Settings,
    keys: Keys,
    certificates: Option<Certificates>,
    /// The token of the login, once it was asked for. It is None where nobody needs one.
    login_token: Mutex<Option<Option<String>>>,
    /// The version of the member that was connected to last.
    version: Mutex<Option<String>>,
}

impl Etcd {
    pub(crate) fn new(url: &Url) -> Result<Etcd, Error> {
        let settings = Settings::read(url)?;
        Ok(Etcd {
            keys: Keys::new(&settings.prefix, &settings.name),
            certificates: settings.tls.as_ref().map(Certificates::read).transpose()?,
            settings,
            login_token: Mutex::default(),
            version: Mutex::default(),
        })
    }

    pub(crate) fn warnings(&self) -> &[String] {
        &self.settings.warnings
    }

    pub(crate) async fn acquire(self: Arc<Etcd>, attempt: &Attempt) -> Result<EtcdSession, Error> {
        if self.settings.slots.is_some() && attempt.us.mode == Mode::Shared {
            return Err(Error::Failed {
                lock: self.settings.shown.clone(),
                operation: "sharing a slot",
                why: "a lock with slots has no shared mode; leave slots= out, or the mode"
                    .to_owned(),
            });
        }
        let acquired = self.clone().queue(attempt).await;
        acquired.map_err(|failure| match failure {
            Stop::Failed(failure) => self.error("acquiring the lock", failure),
            Stop::Error(error) => error,
        })
    }

    async fn queue(self: Arc<Etcd>, attempt: &Attempt) -> Result<EtcdSession, Stop> {
        let began = Instant::now();
        let client = Rc::new(Client::new(self.clone()));
        let patience = Patience::Reachable(self.settings.connect_timeout);
        let would_block = async |client: &Client| {
            let stage = Stage::Waiting(client.holders(patience).await?);
            let conflict = conflict(
                &self.settings.shown,
                attempt.us.mode,
                began.elapsed(),
                stage,
            );
            Err(match conflict {
                Some(conflict) => Stop::Error(Error::WouldBlock(conflict)),
                None => Stop::Failed(Failure::Silent("no answer".to_owned())),
            })
        };
        // A request that does not wait writes nothing unless the lock seems to be free.
        if !attempt.waits && self.is_taken(&client, attempt.us.mode, patience).await? {
            return would_block(&client).await;
        }
        let mut has_waited = false;
        let (mut lost, mut queued) = (0, Instant::now());
        loop {
            client.reach().await?;
            let taken = Place::take(client.clone(), attempt.us.clone(), attempt.progress.clone());
            let turn = match taken.await {
                // It can be connected to, and is slow.
                Err(failure) if failure.may_pass() && has_waited && queued.elapsed() < SLOW => None,
                Err(failure) => return Err(failure.into()),
                Ok((place, Look::Free)) => renewed(place).await?,
                Ok((_, Look::Gone)) => None,
                Ok((_, Look::Behind(_))) if !attempt.waits => return would_block(&client).await,
                Ok((place, Look::Behind(before))) => {
                    has_waited = true;
                    let turn = wait(place, before, attempt).await?;
                    queued = Instant::now();
                    turn
                }
            };
            if let Some(place) = turn {
                return Ok(EtcdSession::new(place, has_waited));
            }
            // The lease ran out, or somebody has removed it: from the end of the queue again.
            tokio::time::sleep(pause(lost, self.settings.ttl)).await;
            lost += 1;
        }
    }

    /// Whether somebody is before a request that comes now.
    async fn is_taken(
        &self,
        client: &Client,
        mode: Mode,
        patience: Patience,
    ) -> Result<bool, Failure> {
        let request = self.before(mode, None);
        let (_, answer) = client.call(patience, "/v3/kv/range", &request).await?;
        let before = Answer::of_range(&answer)?.pairs.len();
        Ok(before >= self.settings.slots.unwrap_or(1) as usize)
    }

    /// The error for a call that failed.
    fn error(&self, operation: &'static str, failure: Failure) -> Error {
        let lock = self.settings.shown.clone();
        match failure {
            Failure::Silent(why) => Error::Unreachable {
                lock,
                why: format!("{why}; {}", crate::error::NOT_REACHED),
            },
            Failure::Limit(why) => Error::Failed {
                lock,
                operation: crate::error::CONNECTING,
                why,
            },
            Failure::Login(why) | Failure::Expired(why) => Error::Credentials { lock, why },
            Failure::Unsuitable(why) => Error::Unsuitable { lock, why },
            other => Error::Failed {
                lock,
                operation,
                why: other.why().to_owned(),
            },
        }
    }

    fn login_token(&self) -> MutexGuard<'_, Option<Option<String>>> {
        let token = &self.login_token;
        token.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn version(&self) -> MutexGuard<'_, Option<String>> {
        let version = &self.version;
        version.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a waiter pauses that has lost its place so many times before. If the cluster was slow,
/// many have lost theirs at the same time, and to queue again costs the cluster more than to wait:
/// therefore the pauses differ, and grow.
fn pause(lost: u32, ttl: Duration) -> Duration {
    let most = FIRST_PAUSE.saturating_mul(1 << lost.min(16)).min(ttl);
    most.mul_f64(Lease::random().0 as f64 / i64::MAX as f64)
}

/// The place, once it is its turn. None if it was lost.
async fn wait(place: Place, before: Before, attempt: &Attempt) -> Result<Option<Place>, Failure> {
    let turn = async {
        let holders = place.client.holders(place.persistence()).await?;
        attempt.progress.waits(Stage::Waiting(holders));
        place.wait(before, attempt).await
    };
    match turn.await {
        Ok(Turn::Held) => renewed(place).await,
        Ok(Turn::Gone) => Ok(None),
        // The calls went on until the lease ran out. The request goes on if the cluster answers by
        // now.
        Err(failure) if failure.may_pass() => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// The place, if its lease was renewed a short time ago or can be renewed.
async fn renewed(place: Place) -> Result<Option<Place>, Failure> {
    if !place.due().has_passed() {
        return Ok(Some(place));
    }
    match place.keep_alive(place.persistence()).await {
        Ok(lives) => Ok(lives.then_some(place)),
        Err(failure) if failure.may_pass() => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Why a request has ended without the lock.
enum Stop {
    Failed(Failure),
    Error(Error),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Stop {
        Stop::Failed(failure)
    }
}

impl fmt::Debug for Etcd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Etcd")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
