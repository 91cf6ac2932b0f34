//! What etcd tells and does beside keeping a lock.

use std::path::PathBuf;
use std::sync::Arc;

use super::client::{Client, Patience};
use super::failure::Failure;
use super::message::{self, Answer, created_by};
use super::{Etcd, diagnose, list, place, runs};
use crate::engine::{Entry, Service};
use crate::stream::{self, Address};
use crate::{Error, Finding, History, Listed, Loss, Member, Members};

impl Etcd {
    /// For calls that are no part of a request for the lock.
    pub(super) fn aside(self: &Arc<Etcd>) -> (Client, Patience) {
        let patience = Patience::Reachable(self.settings.connect_timeout);
        (Client::new(self.clone()), patience)
    }

    async fn end_holder(self: &Arc<Etcd>, token: u64) -> Result<Option<Member>, Failure> {
        let (client, patience) = self.aside();
        let pairs = client
            .oldest_first(patience, &self.keys.all(), None)
            .await?;
        let holders = self.read_members(&pairs).holders;
        let mut holders = holders.into_iter();
        let Some(holder) = holders.find(|holder| holder.token == Some(token)) else {
            return Ok(None);
        };
        let pair = pairs.into_iter().find(|pair| pair.create_revision == token);
        let Some(pair) = pair else { return Ok(None) };
        let key = String::from_utf8_lossy(&pair.key);
        let message = serde_json::json!({
            "compare": [created_by(&key, token)],
            "success": [{"request_delete_range": message::one(&key)}],
        });
        let (_, answer) = client.call(patience, "/v3/kv/txn", &message).await?;
        // The first try may have ended it, with an answer that was lost.
        let repeated = client.has_repeated();
        // A lease belongs to one acquisition. A key without a lease was put there by hand.
        if pair.lease.0 != 0 {
            place::revoke(&client, pair.lease).await?;
        }
        let succeeded = Answer::of_transaction(&answer)?.succeeded;
        Ok((succeeded || repeated).then_some(holder))
    }
}

impl Service for Arc<Etcd> {
    fn shown(&self) -> &str {
        &self.settings.shown
    }

    fn lock_name(&self) -> &str {
        &self.settings.name
    }

    async fn addresses(&self) -> Vec<Address> {
        let settings = &self.settings;
        stream::all_addresses(&settings.hosts, settings.connect_timeout, |host| {
            PathBuf::from(&host.name)
        })
        .await
    }

    async fn members(&self) -> Result<Members, Error> {
        let (client, patience) = self.aside();
        let members = client.members(patience, None).await;
        let mut members = members.map_err(|failure| self.error("reading the holders", failure))?;
        client.ask_rests(patience, &mut members.holders).await;
        Ok(members)
    }

    async fn list(&self) -> Result<Vec<Listed>, Error> {
        let (client, patience) = self.aside();
        let listed = list::list(self, &client, patience).await;
        listed.map_err(|failure| self.error("listing the locks", failure))
    }

    async fn break_holder(&self, token: u64) -> Result<Option<Member>, Error> {
        let ended = self.end_holder(token).await;
        ended.map_err(|failure| self.error("ending the holder", failure))
    }

    async fn diagnose(&self) -> Result<Vec<Finding>, Error> {
        let findings = diagnose::diagnose(self).await;
        findings.map_err(|failure| self.error("examining the cluster", failure))
    }

    async fn last_run(&self) -> Result<History, Error> {
        let (client, patience) = self.aside();
        let history = runs::last(self, &client, patience).await;
        history.map_err(|failure| self.error("reading when the last run began", failure))
    }

    async fn record_run(&self, entry: &Entry) -> Result<History, Error> {
        let (client, patience) = self.aside();
        match runs::record(self, &client, patience, entry).await {
            Ok(Some(history)) => Ok(history),
            Ok(None) => Err(Error::Lost {
                lock: self.settings.shown.clone(),
                loss: Loss::definite("a later holder has recorded a run"),
            }),
            Err(failure) => Err(self.error("recording a run", failure)),
        }
    }
}
