//! What is remembered of runs, under a key of each lock that has some.
//!
//! etcd has no clock for its clients. The member that answers tells the time with each answer (the
//! header `Date`, in whole seconds), so the clocks of the members have to agree.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use holdlock::Mode;
use serde_json::{Value, json};

use super::Etcd;
use super::client::{Client, Patience};
use super::failure::Failure;
use super::keys;
use super::message::{self, Answer, number, number_at, put, text};
use crate::engine::Entry;
use crate::{History, Member};

/// How far the clocks of two members may be apart.
const APART: Duration = Duration::from_secs(60);
/// The most bytes of a record.
const RECORD: usize = 900;

/// What the key says.
struct Remembered {
    /// The revision that has changed the key last. 0: there is none.
    revision: u64,
    token: u64,
    at_work: Option<String>,
    /// In milliseconds since 1970.
    last_run: Option<u64>,
    /// The clock of the member that answered.
    now: SystemTime,
    value: Vec<u8>,
}

pub(super) async fn last(
    etcd: &Etcd,
    client: &Client,
    patience: Patience,
) -> Result<History, Failure> {
    Ok(read(etcd, client, patience).await?.history())
}

/// None if a later holder has recorded something.
pub(super) async fn record(
    etcd: &Etcd,
    client: &Client,
    patience: Patience,
    entry: &Entry,
) -> Result<Option<History>, Failure> {
    let settings = &etcd.settings;
    let key = keys::runs(&settings.prefix, &settings.name);
    let token = entry.token.unwrap_or(0);
    let mut holder = entry.holder.clone();
    holder.token = entry.token;
    let mut sent: Option<(String, History)> = None;
    loop {
        let before = read(etcd, client, patience).await?;
        // The answer was lost.
        if let Some((_, history)) = sent.filter(|(value, _)| value.as_bytes() == before.value) {
            return Ok(Some(history));
        }
        if before.token > token {
            return Ok(None);
        }
        let began = entry.run.counted.map(|counted| {
            let since = before.now.duration_since(UNIX_EPOCH).unwrap_or_default();
            since.saturating_sub(counted.ago).as_millis() as u64
        });
        let value = json!({
            "token": number(token),
            "at_work": entry.run.at_work.then(|| holder.record(&settings.name, RECORD)),
            "last_run": began.or(before.last_run),
        })
        .to_string();
        let message = json!({
            "compare": [{
                "key": text(&key), "target": "MOD", "result": "EQUAL",
                "mod_revision": number(before.revision),
            }],
            "success": [put(&key, &value, keys::Lease(0))],
        });
        let (_, answer) = client.call(patience, "/v3/kv/txn", &message).await?;
        if Answer::of_transaction(&answer)?.succeeded {
            return Ok(Some(before.history()));
        }
        sent = Some((value, before.history()));
    }
}

async fn read(etcd: &Etcd, client: &Client, patience: Patience) -> Result<Remembered, Failure> {
    let key = keys::runs(&etcd.settings.prefix, &etcd.settings.name);
    let (_, answer) = client
        .call(patience, "/v3/kv/range", &message::one(&key))
        .await?;
    let now = client.clock().unwrap_or_else(SystemTime::now);
    let pair = answer.get("kvs").and_then(|pairs| pairs.get(0));
    let revision = pair.map_or(0, |pair| number_at(pair, "mod_revision"));
    let range = Answer::of_range(&answer)?;
    let bytes = range.pairs.into_iter().next().map(|pair| pair.value);
    let bytes = bytes.unwrap_or_default();
    let value: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    Ok(Remembered {
        revision,
        // A token that this cluster has not given yet comes from another one, with a copy of its
        // keys.
        token: Some(number_at(&value, "token"))
            .filter(|token| *token <= range.revision)
            .unwrap_or(0),
        at_work: value
            .get("at_work")
            .and_then(Value::as_str)
            .map(str::to_owned),
        last_run: value.get("last_run").and_then(Value::as_u64),
        now,
        value: bytes,
    })
}

impl Remembered {
    /// A clock that was set back far makes no run recent.
    fn history(&self) -> History {
        let age = self.last_run.and_then(|last| {
            let last = UNIX_EPOCH.checked_add(Duration::from_millis(last))?;
            match self.now.duration_since(last) {
                Ok(age) => Some(age),
                Err(ahead) if ahead.duration() <= APART => Some(Duration::ZERO),
                Err(_) => None,
            }
        });
        let at_work = self.at_work.as_ref().and_then(|record| {
            let mut holder = Member::unknown(Mode::Exclusive);
            holder.read_record(record).then_some(holder)
        });
        History {
            last_run: age,
            at_work,
        }
    }
}
