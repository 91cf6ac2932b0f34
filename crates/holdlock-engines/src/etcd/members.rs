//! Who holds the lock, and who waits: the keys of the lock in the order of their creation.

use std::time::Duration;

use holdlock::Mode;
use serde_json::{Value, json};

use super::Etcd;
use super::client::{Client, Patience};
use super::failure::Failure;
use super::keys::Keys;
use super::message::{Pair, number, number_at};
use super::settings::Settings;
use crate::{Member, Members};

/// The most bytes of a record.
const RECORD: usize = 900;
/// How many are read for a message that names the holders.
const NAMED: u64 = 16;

impl Client {
    /// Who holds the lock now: the first ones.
    pub(super) async fn holders(&self, patience: Patience) -> Result<Vec<Member>, Failure> {
        Ok(self.members(patience, Some(NAMED)).await?.holders)
    }

    pub(super) async fn members(
        &self,
        patience: Patience,
        limit: Option<u64>,
    ) -> Result<Members, Failure> {
        let keys = self.etcd.keys.all();
        let pairs = self.oldest_first(patience, &keys, limit).await?;
        Ok(self.etcd.read_members(&pairs))
    }

    /// How long the leases of these holders live if nobody renews them: one question for each.
    pub(super) async fn ask_rests(&self, patience: Patience, holders: &mut [Member]) {
        for holder in holders.iter_mut().take(NAMED as usize) {
            let lease = holder.session.as_ref();
            let lease = lease.and_then(|lease| u64::from_str_radix(lease, 16).ok());
            let message = json!({"ID": number(lease.unwrap_or(0))});
            let answer = self.call(patience, "/v3/lease/timetolive", &message).await;
            let Ok((_, answer)) = answer else { return };
            // A lease that is ending has a negative rest.
            let rest = number_at(&answer, "TTL");
            holder.rest = (rest > 0).then(|| Duration::from_secs(rest));
        }
    }
}

impl Etcd {
    pub(super) fn read_members(&self, pairs: &[Pair]) -> Members {
        members(&self.keys, self.settings.slots, pairs)
    }
}

/// The pairs are in the order of their creation.
pub(super) fn members(keys: &Keys, slots: Option<u32>, pairs: &[Pair]) -> Members {
    let mut members = Members::default();
    let slots = slots.or_else(|| pairs.iter().find_map(|pair| slots_in(&pair.value)));
    for (before, pair) in pairs.iter().enumerate() {
        let mode = keys.mode(&pair.key);
        let mut member = Member::unknown(mode);
        member.read_record(&String::from_utf8_lossy(&pair.value));
        member.mode = mode;
        member.session = Some(pair.lease.to_string());
        let holds = match (slots, mode) {
            (Some(slots), _) => before < slots as usize,
            (None, Mode::Exclusive) => before == 0,
            (None, Mode::Shared) => {
                members.waiters.is_empty()
                    && members
                        .holders
                        .iter()
                        .all(|holder| holder.mode == Mode::Shared)
            }
        };
        if holds {
            member.token = Some(pair.create_revision);
            members.holders.push(member);
        } else {
            members.waiters.push(member);
        }
    }
    members
}

/// What a request shows to others.
pub(super) fn record(us: &Member, settings: &Settings) -> String {
    let record = us.record(&settings.name, RECORD);
    match (settings.slots, record.strip_prefix('{')) {
        (Some(slots), Some(rest)) => format!("{{\"slots\":{slots},{rest}"),
        _ => record,
    }
}

/// How many slots the lock has, by a record of it.
fn slots_in(record: &[u8]) -> Option<u32> {
    let record: Value = serde_json::from_slice(record).ok()?;
    record.get("slots")?.as_u64()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::keys::Lease;

    #[test]
    fn holders_are_those_before_whom_nobody_waits() {
        let keys = Keys::new("holdlock", "n");
        let queue = |modes: &[Mode]| -> Vec<Pair> {
            let numbered = modes.iter().zip(1..);
            let pair = |(mode, number): (&Mode, u64)| Pair {
                key: keys.own(*mode, Lease(number)).into_bytes(),
                value: Vec::new(),
                create_revision: number,
                lease: Lease(number),
            };
            numbered.map(pair).collect()
        };
        let holding = |slots, modes: &[Mode]| members(&keys, slots, &queue(modes)).holders.len();
        let (r, w) = (Mode::Shared, Mode::Exclusive);
        assert_eq!(holding(None, &[]), 0);
        assert_eq!(holding(None, &[w, w, r]), 1);
        assert_eq!(holding(None, &[w, r]), 1);
        assert_eq!(holding(None, &[r, r, w, r]), 2);
        assert_eq!(holding(Some(3), &[w, w, w, w]), 3);
        let mut slotted = queue(&[w, w, w]);
        slotted[2].value = b"{\"slots\":2,\"v\":1}".to_vec();
        assert_eq!(members(&keys, None, &slotted).holders.len(), 2);
        let last = members(&keys, None, &queue(&[r, w])).waiters.remove(0);
        assert_eq!((last.mode, last.token), (w, None));
        assert_eq!(last.session.as_deref(), Some("0000000000000002"));
    }
}
