//! All locks below a prefix.

use std::collections::BTreeMap;

use super::Etcd;
use super::client::{Client, Patience};
use super::failure::Failure;
use super::keys::{Keys, below, parse};
use super::members::members;
use super::message::{Answer, Pair};
use crate::Listed;

/// The locks that are held or waited for, by name.
pub(super) async fn list(
    etcd: &Etcd,
    client: &Client,
    patience: Patience,
) -> Result<Vec<Listed>, Failure> {
    let prefix = &etcd.settings.prefix;
    let pairs = client.oldest_first(patience, &below(prefix), None).await?;
    let mut locks: BTreeMap<String, Vec<Pair>> = BTreeMap::new();
    for pair in pairs {
        if let Some(name) = parse(prefix, &pair.key) {
            locks.entry(name).or_default().push(pair);
        }
    }
    let listed = |(name, pairs): (String, Vec<Pair>)| Listed {
        members: members(&Keys::new(prefix, &name), None, &pairs),
        name: Some(name),
    };
    Ok(locks.into_iter().map(listed).collect())
}

impl Client {
    /// The pairs of a range in the order of their creation.
    pub(super) async fn oldest_first(
        &self,
        patience: Patience,
        keys: &super::keys::Range,
        limit: Option<u64>,
    ) -> Result<Vec<Pair>, Failure> {
        let mut request = super::message::range(keys);
        request["sort_order"] = "ASCEND".into();
        request["sort_target"] = "CREATE".into();
        if let Some(limit) = limit {
            request["limit"] = super::message::number(limit);
        }
        let (_, answer) = self.call(patience, "/v3/kv/range", &request).await?;
        Ok(Answer::of_range(&answer)?.pairs)
    }
}
