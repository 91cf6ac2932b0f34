//! The table that remembers the runs under a lock, if somebody has made it.
//!
//! Times are those of the server's clock. A holder with a smaller token than the last one changes
//! nothing: it has lost the lock.

use std::fmt::Write;
use std::time::Duration;

use holdlock::Mode;
use sha2::{Digest, Sha256};

use super::Postgres;
use super::connect::Accepted;
use super::key::Key;
use super::link::Row;
use super::service::field;
use crate::engine::{Entry, Service};
use crate::{Error, History, Loss, Member};

/// The table and its owner's rights. Everybody who can connect to the database can keep its locks
/// already, so everybody may use it.
const TABLE: &str = "\
    CREATE SCHEMA IF NOT EXISTS holdlock; \
    CREATE TABLE IF NOT EXISTS holdlock.runs (\
        lock text PRIMARY KEY, \
        name text NOT NULL, \
        token bigint NOT NULL, \
        at_work text, \
        last_run timestamptz, \
        changed timestamptz NOT NULL DEFAULT clock_timestamp()); \
    GRANT USAGE ON SCHEMA holdlock TO PUBLIC; \
    GRANT SELECT, INSERT, UPDATE ON holdlock.runs TO PUBLIC";

/// Whether the table is there: a column of one row.
pub(super) const IS_THERE: &str = "to_regclass('holdlock.runs') IS NOT NULL";

/// Makes the table.
pub(super) async fn init(postgres: &Postgres) -> Result<String, Error> {
    let Accepted { link, .. } = postgres.connect().await?;
    let found = postgres.ask(&link, "looking for the table", format!("SELECT {IS_THERE}"));
    if found.await?.last().and_then(|row| field(row, 0)) == Some("t") {
        // The server plans them, and does nothing.
        let tried = write("", "''", 0, "NULL", NEVER);
        let tried = format!("EXPLAIN {}; EXPLAIN {tried}", read(""));
        ask(postgres, "examining the table", tried).await?;
        return Ok("the table holdlock.runs is there already".to_owned());
    }
    // One transaction; two of them at the same time would disturb each other.
    let key = Key::of_name("").arguments();
    let make = format!("SELECT pg_advisory_xact_lock({key}); {TABLE}");
    match postgres.ask(&link, "making the table", make).await {
        Ok(_) => Ok("made the schema holdlock with the table runs".to_owned()),
        Err(Error::Credentials { lock, why }) => Err(Error::Credentials {
            lock,
            why: format!(
                "{why}; let the owner of the database do it, or GRANT CREATE ON DATABASE {} TO {}",
                holdlock::inspect::printable(&postgres.settings.database),
                holdlock::inspect::printable(&postgres.settings.user),
            ),
        }),
        Err(other) => Err(other),
    }
}

pub(super) async fn last(postgres: &Postgres) -> Result<History, Error> {
    let id = id(postgres);
    let rows = ask(postgres, "reading when the last run began", read(&id)).await?;
    let Some(row) = rows.last() else {
        return Ok(History::default());
    };
    if let Some(time) = field(row, 2) {
        return Err(Error::Unsuitable {
            lock: postgres.shown().to_owned(),
            why: format!(
                "the table holdlock.runs has last_run = {time} for this lock, which is no time: \
                 another program has written it; run this statement: \
                 UPDATE holdlock.runs SET last_run = NULL WHERE lock = '{id}'"
            ),
        });
    }
    Ok(history(row, 0))
}

pub(super) async fn record(postgres: &Postgres, entry: &Entry) -> Result<History, Error> {
    let mut holder = entry.holder.clone();
    holder.token = entry.token;
    let settings = &postgres.settings;
    let at_work = match entry.run.at_work {
        true => text(&holder.record(&settings.name, 900)),
        false => "NULL".to_owned(),
    };
    let began = match entry.run.counted {
        Some(counted) => {
            let ago = counted.ago.as_millis();
            format!("clock_timestamp() - interval '{ago} milliseconds'")
        }
        None => NEVER.to_owned(),
    };
    let name: String = settings.name.escape_default().take(200).collect();
    let token = entry.token.unwrap_or(0);
    let (id, name) = (id(postgres), text(&name));
    let write = write(&id, &name, token, &at_work, &began);
    let statement = format!("{}; {write}", lock(&id, &name));
    let rows = ask(postgres, "recording a run", statement).await?;
    match rows.last() {
        Some(row) if field(row, 0) == Some("1") => Ok(history(row, 1)),
        _ => Err(Error::Lost {
            lock: postgres.shown().to_owned(),
            loss: Loss::definite("a later holder has recorded a run"),
        }),
    }
}

/// How many seconds ago the last run began; NULL if that was at no time.
const AGE: &str = "CASE WHEN isfinite(last_run) \
    THEN extract(epoch FROM clock_timestamp() - last_run) END";
const NEVER: &str = "NULL::timestamptz";

/// The age of the last run, the holder at work, and the time of the last run if it is none.
fn read(id: &str) -> String {
    format!(
        "SELECT {AGE}, at_work, CASE WHEN NOT isfinite(last_run) THEN last_run::text END \
         FROM holdlock.runs WHERE lock = '{id}'"
    )
}

/// Makes the row if there is none, and locks it until the end of the transaction: what is read of
/// the server after that is not older than the row.
fn lock(id: &str, name: &str) -> String {
    format!(
        "INSERT INTO holdlock.runs AS r (lock, name, token) VALUES ('{id}', {name}, 0) \
         ON CONFLICT (lock) DO UPDATE SET lock = r.lock"
    )
}

/// A token that this server has not given yet comes from another one, with a copy of the table.
const FOREIGN: &str = "r.token >= txid_snapshot_xmax(txid_current_snapshot())";

/// Whether the row was written, and the age of the last run and the holder at work before.
fn write(id: &str, name: &str, token: u64, at_work: &str, began: &str) -> String {
    format!(
        "WITH before AS (SELECT {AGE} AS age, at_work FROM holdlock.runs WHERE lock = '{id}'), \
         now AS (INSERT INTO holdlock.runs AS r (lock, name, token, at_work, last_run) \
           VALUES ('{id}', {name}, {token}, {at_work}, {began}) \
           ON CONFLICT (lock) DO UPDATE SET name = excluded.name, token = excluded.token, \
             at_work = excluded.at_work, changed = clock_timestamp(), \
             last_run = coalesce(excluded.last_run, r.last_run) \
           WHERE coalesce(r.token, 0) <= excluded.token OR {FOREIGN} RETURNING 1) \
         SELECT n.n, before.age, before.at_work \
         FROM (SELECT count(*) AS n FROM now) n LEFT JOIN before ON true"
    )
}

async fn ask(
    postgres: &Postgres,
    operation: &'static str,
    statement: String,
) -> Result<Vec<Row>, Error> {
    let Accepted { link, .. } = postgres.connect().await?;
    match postgres.ask(&link, operation, statement).await {
        Err(Error::Failed { lock, why, .. }) if is_about_table(&why) => {
            let place = lock.split_once('#').map_or(&*lock, |(place, _)| place);
            let why = match MISSING.iter().any(|code| why.contains(code)) {
                true => format!(
                    "the database has no table holdlock.runs, which remembers the runs; make it \
                     once with `holdlock engine init {place}`"
                ),
                false => format!(
                    "the table holdlock.runs is not as holdlock makes it: {why}; remove it with \
                     DROP TABLE holdlock.runs, and make it anew with `holdlock engine init {place}`"
                ),
            };
            Err(Error::Unsuitable { lock, why })
        }
        other => other,
    }
}

/// No such table, and no such schema.
const MISSING: [&str; 2] = ["(SQLSTATE 42P01)", "(SQLSTATE 3F000)"];

/// Whether the server cannot execute the statement with the table that is there, or is not.
fn is_about_table(why: &str) -> bool {
    why.contains("(SQLSTATE 42") || why.contains(MISSING[1])
}

/// A clock that was set back makes no run recent.
fn history(row: &Row, from: usize) -> History {
    let age = field(row, from).and_then(|age| age.parse::<f64>().ok());
    let at_work = field(row, from + 1).and_then(|record| {
        let mut holder = Member::unknown(Mode::Exclusive);
        holder.read_record(record).then_some(holder)
    });
    History {
        last_run: age.and_then(|age| Duration::try_from_secs_f64(age).ok()),
        at_work,
    }
}

/// What the table calls the lock. A name may be longer than an index allows.
fn id(postgres: &Postgres) -> String {
    match postgres.settings.key {
        Key::Hashed(_) => hex(&Sha256::digest(&postgres.settings.name)),
        Key::Number(number) => format!("key={number}"),
        Key::Pair(a, b) => format!("key={a},{b}"),
    }
}

/// Text in a statement, whatever the settings of the session say about quotes.
fn text(text: &str) -> String {
    let hex = hex(text.as_bytes());
    format!("convert_from(decode('{hex}', 'hex'), 'SQL_ASCII')")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
