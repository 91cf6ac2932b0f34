//! Ending the session of a holder.
//!
//! A session holds one lock once, with one token. So a session that is ended because of its token
//! cannot be that of a later holder.

use std::time::{Duration, Instant};

use super::Postgres;
use super::connect::Accepted;
use super::members::BEGIN;
use super::service::field;
use crate::duration::spoken;
use crate::engine::Service;
use crate::{Error, Member};

/// How long a session may take to end.
const END: Duration = Duration::from_secs(5);
/// How often the server is asked meanwhile.
const LOOK: Duration = Duration::from_millis(20);

pub(super) async fn break_holder(postgres: &Postgres, token: u64) -> Result<Option<Member>, Error> {
    let Accepted { link, .. } = postgres.connect().await?;
    let members = postgres.read_members(&link).await?;
    let holder = members.holders.into_iter();
    let mut holder = holder.filter(|holder| holder.token == Some(token));
    let Some((holder, session)) = holder
        .next()
        .and_then(|holder| Some((holder.clone(), holder.session?.parse::<i32>().ok()?)))
    else {
        return Ok(None);
    };
    // The server looks at the record again in the moment in which it ends the session.
    let terminate = format!(
        "SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a WHERE a.pid = {session} \
         AND starts_with(a.query, '{BEGIN}') AND a.query ~ '\"token\":{token}[,}}]'"
    );
    let ended = postgres.ask(&link, "ending the session", terminate).await;
    let ended = ended.map_err(|error| may_not(postgres, error))?;
    if ended.last().and_then(|row| field(row, 0)) != Some("t") {
        return Ok(None);
    }
    let began = Instant::now();
    let there = format!("SELECT count(*) FROM pg_locks WHERE pid = {session}");
    loop {
        let rows = postgres.ask(&link, "ending the session", there.clone());
        if rows.await?.last().and_then(|row| field(row, 0)) == Some("0") {
            return Ok(Some(holder));
        }
        if began.elapsed() > END {
            return Err(Error::Failed {
                lock: postgres.shown().to_owned(),
                operation: "ending the session",
                why: format!(
                    "the session {session} is still there after {}; look at it in \
                     pg_stat_activity",
                    spoken(END)
                ),
            });
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn may_not(postgres: &Postgres, error: Error) -> Error {
    match error {
        Error::Credentials { lock, why } => Error::Credentials {
            lock,
            why: format!(
                "{why}; connect as the holder's user, or GRANT pg_signal_backend TO {}",
                holdlock::inspect::printable(&postgres.settings.user)
            ),
        },
        other => other,
    }
}
