//! A session that holds the lock: renewing, and giving it back.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::Postgres;
use super::link::{Failure, Link};
use super::members::comment;
use super::slots::channel;
use super::wait::suffix;
use crate::engine::{Session, Setback};
use crate::sys::clock::BootTime;
use crate::{Loss, Member};

pub(crate) struct PostgresSession {
    postgres: Arc<Postgres>,
    link: Link,
    /// The arguments of the advisory lock functions.
    lock: String,
    us: Member,
    sent: BootTime,
    /// As long as the session answers, it holds the lock. The comment shows others who it is.
    heartbeat: String,
}

impl PostgresSession {
    pub(super) fn new(
        postgres: Arc<Postgres>,
        link: Link,
        lock: String,
        mut us: Member,
        token: Option<u64>,
        sent: BootTime,
    ) -> PostgresSession {
        us.token = token;
        us.since = Some(std::time::SystemTime::now());
        let heartbeat = format!("{} SELECT 1", comment(&us, &postgres.settings.name));
        PostgresSession {
            postgres,
            link,
            lock,
            us,
            sent,
            heartbeat,
        }
    }
}

impl Session for PostgresSession {
    fn token(&self) -> Option<u64> {
        self.us.token
    }

    fn ttl(&self) -> Duration {
        self.postgres.settings.ttl
    }

    fn confirmed(&self) -> BootTime {
        self.sent
    }

    /// It shows others the token.
    fn first_renewal(&self) -> Option<Duration> {
        Some(Duration::ZERO)
    }

    fn renew(&self) -> impl Future<Output = Result<(), Setback>> + 'static {
        // As good as no limit: TCP ends a connection that is silent for the ttl, and a server that
        // stands still keeps the lock. The keeper limits the waits of those who ask.
        let answer = self
            .link
            .query(self.heartbeat.clone(), Duration::from_secs(3600));
        async {
            match answer.await {
                Ok(_) => Ok(()),
                Err(Failure::Gone(why)) => Err(Setback::Lost(ended(&why))),
                Err(Failure::Refused(_, why)) => Err(Setback::Refused(why)),
                Err(other) => Err(Setback::Unclear(other.to_string())),
            }
        }
    }

    async fn over(&self) -> Loss {
        ended(&self.link.ended().await)
    }

    async fn release(self, _within: Duration) -> Result<(), Loss> {
        let settings = &self.postgres.settings;
        let notify = match settings.slots {
            Some(_) => format!("NOTIFY {}; ", channel(settings.key)),
            None => String::new(),
        };
        let (shared, lock) = (suffix(self.us.mode), &self.lock);
        // A NOTIFY is sent when the statements are done: the lock is free by then.
        let unlock = format!("{notify}SELECT pg_advisory_unlock{shared}({lock})");
        match self.link.query(unlock, Duration::from_secs(3600)).await {
            Ok(rows) => match rows.last().and_then(|row| row.first()?.as_deref()) {
                Some("t") => Ok(()),
                _ => Err(Loss::definite(
                    "the server says that the session did not hold it",
                )),
            },
            // It may have ended before the unlock or after it.
            Err(Failure::Gone(why)) => Err(Loss::unsure(format!(
                "the connection ended before the release was answered: {why}"
            ))),
            Err(other) => Err(Loss::unsure(other.to_string())),
        }
    }
}

fn ended(why: &str) -> Loss {
    Loss::definite(format!("the connection ended: {why}"))
}
