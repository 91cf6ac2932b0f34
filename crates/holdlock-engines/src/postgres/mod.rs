//! PostgreSQL: a lock is an advisory lock of a session.
//!
//! The server frees it when the connection ends. A holder that the server does not hear for the
//! `ttl` is dead to it (tcp_user_timeout on both sides); the guard's deadline is a little earlier.
//! The token is the number of a transaction that is written to the server's log, so it rises over
//! crashes, too: without the message in the log, numbers were seen again after a crash.

mod breaking;
mod connect;
mod diagnose;
mod key;
mod link;
mod list;
mod members;
mod places;
mod runs;
mod service;
mod session;
mod settings;
mod slots;
mod wait;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use holdlock::Mode;

use self::connect::STATEMENT;
use self::link::Failure;
use self::session::PostgresSession;
use self::settings::Settings;
use self::wait::Queue;
use crate::Error;
use crate::duration::spoken;
use crate::engine::{Attempt, Service, Stage, conflict};
use crate::sys::clock::BootTime;
use crate::tls::{Certificates, Check};
use crate::url::{Host, Url};

/// A lock in a database of PostgreSQL.
pub(crate) struct Postgres {
    settings: Settings,
    /// None: nothing is encrypted.
    certificates: Option<Certificates>,
}

impl Postgres {
    pub(crate) fn new(url: &Url) -> Result<Postgres, Error> {
        let settings = Settings::read(url)?;
        let is_plain =
            settings.tls.check == Check::NoTls || settings.hosts.iter().all(Host::is_directory);
        Ok(Postgres {
            certificates: match is_plain {
                true => None,
                false => Some(Certificates::read(&settings.tls)?),
            },
            settings,
        })
    }

    pub(crate) fn warnings(&self) -> &[String] {
        &self.settings.warnings
    }

    pub(crate) async fn acquire(
        self: Arc<Postgres>,
        attempt: &Attempt,
    ) -> Result<PostgresSession, Error> {
        let began = Instant::now();
        if self.settings.slots.is_some() && attempt.us.mode == Mode::Shared {
            return Err(Error::Failed {
                lock: self.shown().to_owned(),
                operation: "sharing a slot",
                why: "a lock with slots has no shared mode; leave slots= out, or the mode"
                    .to_owned(),
            });
        }
        let accepted = self.connect().await?;
        let would_block = |stage| {
            let conflict = conflict(self.shown(), attempt.us.mode, began.elapsed(), stage);
            conflict.map_or_else(
                || self.unreachable("no answer".to_owned()),
                Error::WouldBlock,
            )
        };
        if let Some(until) = accepted.quarantine {
            let stage = Stage::Quarantine(until);
            if !attempt.waits {
                return Err(would_block(stage));
            }
            attempt.progress.waits(stage);
            tokio::time::sleep_until(until.into()).await;
        }
        let failed = |failure| self.failed("acquiring the lock", failure);
        let comment = members::comment(&attempt.us, &self.settings.name);
        let queue = Queue {
            link: &accepted.link,
            key: self.settings.key,
            mode: attempt.us.mode,
            version: accepted.version,
            slots: self.settings.slots,
            comment: &comment,
        };
        let acquired = match queue.try_now().await.map_err(failed)? {
            Some(acquired) => acquired,
            None => {
                let stage = Stage::Waiting(queue.holders().await.map_err(failed)?);
                if !attempt.waits {
                    return Err(would_block(stage));
                }
                attempt.progress.learned(stage);
                queue.wait(attempt).await.map_err(failed)?
            }
        };
        let sent = BootTime::now();
        let granted = granted(&comment, acquired.ticket, accepted.version);
        let answer = accepted.link.query(granted, STATEMENT);
        let rows = answer.await.map_err(failed)?;
        let token = rows.last().and_then(|row| row.first()?.as_deref());
        let token = token.and_then(|token| token.parse().ok());
        Ok(PostgresSession::new(
            self,
            accepted.link,
            acquired.lock,
            attempt.us.clone(),
            token,
            sent,
        ))
    }

    /// The error for a statement that failed.
    fn failed(&self, operation: &'static str, failure: Failure) -> Error {
        let lock = self.shown().to_owned();
        match failure {
            Failure::Refused(code, why) => {
                let remedy = match code.as_str() {
                    "53200" => "; raise max_locks_per_transaction",
                    "42704" => "; run CREATE EXTENSION plpgsql in the database",
                    _ => "",
                };
                let why = format!("{why} (SQLSTATE {code}){remedy}");
                Error::Failed {
                    lock,
                    operation,
                    why,
                }
            }
            other => Error::Unreachable {
                lock,
                why: format!("{other}; nothing is held, try again"),
            },
        }
    }
}

/// Gives the ticket back, and asks for the token.
fn granted(comment: &str, ticket: Option<String>, version: u32) -> String {
    let mut text = comment.to_owned();
    if version >= 14 {
        text.push_str(" SET idle_session_timeout = 0; ");
    }
    if let Some(ticket) = ticket {
        text.push_str(&format!("SELECT pg_advisory_unlock({ticket}); "));
    }
    text + "SELECT txid_current(), pg_logical_emit_message(true, 'holdlock', '')"
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Gone(why) => write!(f, "the connection ended: {why}"),
            Failure::Refused(_, why) => f.write_str(why),
            Failure::Silent(limit) => {
                write!(f, "the server did not answer within {}", spoken(*limit))
            }
        }
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
