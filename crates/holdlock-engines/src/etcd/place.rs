//! The key and the lease of one acquisition: a place in the queue, and then the lock.
//!
//! The keys of a lock are its queue, in the order in which they were created. The lease belongs to
//! this acquisition only: to revoke it removes the key, whatever happened to it, and nobody else's.

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use holdlock::Mode;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::Etcd;
use super::client::{CallFailure, Client, Patience};
use super::failure::Failure;
use super::keys::Lease;
use super::members::record;
use super::message::{self, Answer, created_by, exists, number, number_at, put, range};
use super::watch::Watched;
use crate::engine::Progress;
use crate::sys::clock::BootTime;
use crate::{Loss, Member};

const GRANT: &str = "/v3/lease/grant";
const KEEPALIVE: &str = "/v3/lease/keepalive";
const REVOKE: &str = "/v3/lease/revoke";
const TRANSACTION: &str = "/v3/kv/txn";

/// A cluster raises a ttl to what its elections need, 75 s at most. What says more is damaged.
const RAISED: Duration = Duration::from_secs(100);
/// How long the cluster may take to give the place back.
const LEAVE: Duration = Duration::from_secs(5);
/// For how long a release waits for the end of the lease.
const REVOKED: Duration = Duration::from_millis(500);

pub(super) struct Place {
    pub(super) client: Rc<Client>,
    pub(super) us: Member,
    key: String,
    lease: Lease,
    ttl: Cell<Duration>,
    /// When the last message was sent after which the lease lives for the whole ttl.
    confirmed: Cell<BootTime>,
    /// The revision that created the key.
    created: Cell<u64>,
    /// The last revision at which the key was seen.
    seen: Cell<u64>,
    /// There is nothing to give back.
    left: Cell<bool>,
    progress: Rc<Progress>,
}

/// What is before us in the queue.
#[derive(Debug)]
pub(super) enum Look {
    /// Nothing: the lock is ours.
    Free,
    /// The key is gone: the lease ran out, or somebody removed it.
    Gone,
    Behind(Before),
}

/// Those that have to leave before us.
#[derive(Debug)]
pub(super) struct Before {
    pub(super) watched: Watched,
    pub(super) keys: Vec<Vec<u8>>,
    /// How many of them may stay.
    pub(super) may_stay: usize,
    /// Of the store, when they were there.
    pub(super) revision: u64,
}

impl Place {
    /// Queues for the lock, over the connection that is there.
    pub(super) async fn take(
        client: Rc<Client>,
        us: Member,
        progress: Rc<Progress>,
    ) -> Result<(Place, Look), Failure> {
        let lease = Lease::random();
        let key = client.etcd.keys.own(us.mode, lease);
        // From now on, dropping it revokes the lease.
        let place = Place {
            us,
            key,
            lease,
            ttl: Cell::new(client.etcd.settings.ttl),
            confirmed: Cell::new(BootTime::now()),
            created: Cell::new(0),
            seen: Cell::new(0),
            left: Cell::new(false),
            progress,
            client,
        };
        let look = match place.grant().await? {
            true => place.enter().await?,
            false => Look::Gone,
        };
        Ok((place, look))
    }

    fn etcd(&self) -> &Etcd {
        &self.client.etcd
    }

    /// For calls before there is something to lose.
    fn patience(&self) -> Patience {
        Patience::Reachable(self.etcd().settings.connect_timeout)
    }

    /// Grants the lease. False if it has run out already.
    async fn grant(&self) -> Result<bool, Failure> {
        let ttl = self.ttl.get().as_secs();
        let message = json!({"ID": number(self.lease.0), "TTL": number(ttl)});
        match self.client.call(self.patience(), GRANT, &message).await {
            Ok((sent, granted)) => {
                self.confirm(sent, &granted);
                Ok(true)
            }
            // By an earlier try. When it was granted is not known.
            Err(Failure::LeaseExists) => self.keep_alive(self.patience()).await,
            Err(failure) => Err(failure),
        }
    }

    fn confirm(&self, sent: BootTime, answer: &Value) {
        self.confirmed.set(sent);
        let most = self.etcd().settings.ttl.max(RAISED);
        let given = Duration::from_secs(number_at(answer, "TTL"));
        self.ttl.set(given.min(most));
    }

    /// Creates the key. A second try finds the key of the first.
    async fn enter(&self) -> Result<Look, Failure> {
        let record = record(&self.us, &self.etcd().settings);
        let message = json!({
            "compare": [created_by(&self.key, 0)],
            "success": [
                put(&self.key, &record, self.lease),
                {"request_range": self.etcd().before(self.us.mode, None)},
            ],
            "failure": [{"request_range": message::one(&self.key)}],
        });
        let called = self.client.call(self.patience(), TRANSACTION, &message);
        let answer = match called.await {
            Ok((_, answer)) => Answer::of_transaction_with_range(&answer)?,
            Err(Failure::NoLease) => return Ok(Look::Gone),
            Err(failure) => return Err(failure),
        };
        if !answer.succeeded {
            return match answer.pairs.first() {
                Some(ours) => {
                    self.created.set(ours.create_revision);
                    self.look(self.patience()).await
                }
                None => Ok(Look::Gone),
            };
        }
        self.created.set(answer.revision);
        match self.read_look(answer) {
            // With slots, the transaction reads only as many as could have one.
            Look::Behind(_) if self.etcd().settings.slots.is_some() => {
                self.look(self.patience()).await
            }
            look => Ok(look),
        }
    }

    /// Whether the key is still there, and those before it.
    pub(super) async fn look(&self, patience: Patience) -> Result<Look, Failure> {
        let created = self.created.get();
        let message = json!({
            "compare": [created_by(&self.key, created)],
            "success": [{"request_range": self.etcd().before(self.us.mode, Some(created))}],
        });
        let (_, answer) = self.client.call(patience, TRANSACTION, &message).await?;
        let answer = Answer::of_transaction_with_range(&answer)?;
        match answer.succeeded {
            true => Ok(self.read_look(answer)),
            false => Ok(Look::Gone),
        }
    }

    /// Whether the key and the one before it are there as they were: without reading the queue.
    /// False if more has to be read.
    pub(super) async fn is_still_behind(&self, before: &Before) -> Result<bool, Failure> {
        let Watched::Key(watched) = &before.watched else {
            return Ok(false);
        };
        let message = json!({
            "compare": [created_by(&self.key, self.created.get()), exists(watched)],
            // An empty transaction would be answered by a member that was left behind.
            "success": [{"request_range": message::one(&self.key)}],
        });
        let called = self.client.call(self.persistence(), TRANSACTION, &message);
        Ok(Answer::of_transaction(&called.await?.1)?.succeeded)
    }

    fn read_look(&self, answer: Answer) -> Look {
        self.seen.set(answer.revision);
        let created = self.created.get();
        let before = answer.pairs.into_iter();
        let before = before.filter(|pair| pair.create_revision < created);
        let mut keys: Vec<Vec<u8>> = before.map(|pair| pair.key).collect();
        let slots = self.etcd().settings.slots;
        if slots.is_none() {
            // The newest one, which leaves last. Nothing is heard of those before it.
            keys.truncate(1);
        }
        let (watched, may_stay) = match (slots, keys.first()) {
            (Some(slots), _) => (Watched::All(self.etcd().keys.all()), slots as usize - 1),
            (None, Some(key)) => (Watched::Key(key.clone()), 0),
            (None, None) => return Look::Free,
        };
        match keys.len() <= may_stay {
            true => Look::Free,
            false => Look::Behind(Before {
                watched,
                keys,
                may_stay,
                revision: answer.revision,
            }),
        }
    }

    /// For calls while the lease lives.
    pub(super) fn persistence(&self) -> Patience {
        Patience::For(self.lease_end().remaining())
    }

    /// Renews the lease. False if it has ended.
    pub(super) async fn keep_alive(&self, patience: Patience) -> Result<bool, Failure> {
        let message = json!({"ID": number(self.lease.0)});
        let (sent, answer) = self.client.call(patience, KEEPALIVE, &message).await?;
        Ok(self.read_keep_alive(sent, &answer))
    }

    /// As `keep_alive`, by one try.
    pub(super) async fn keep_alive_once(&self) -> Result<bool, Failure> {
        let message = json!({"ID": number(self.lease.0)});
        let once = self.client.call_once(KEEPALIVE, &message).await;
        let (sent, answer) = once.map_err(CallFailure::failure)?;
        Ok(self.read_keep_alive(sent, &answer))
    }

    fn read_keep_alive(&self, sent: BootTime, answer: &Value) -> bool {
        let lives = number_at(answer, "TTL") > 0;
        if lives {
            self.confirm(sent, answer);
        }
        lives
    }

    /// Proves that the lock was held all the time: the key is the one that was created. Shows
    /// others the record, if it has changed.
    pub(super) async fn verify(&self, record: Option<&str>) -> Result<bool, Failure> {
        let created = self.created.get();
        let mut message = json!({
            "compare": [created_by(&self.key, created)],
            // An empty transaction would be answered by a member that was left behind.
            "success": [{"request_range": message::one(&self.key)}],
        });
        if let Some(record) = record {
            message["success"] = json!([put(&self.key, record, self.lease)]);
        }
        let once = self.client.call_once(TRANSACTION, &message).await;
        let (_, answer) = once.map_err(CallFailure::failure)?;
        let answer = Answer::of_transaction(&answer)?;
        if answer.succeeded {
            self.seen.set(answer.revision);
        }
        Ok(answer.succeeded)
    }

    /// Gives the lock back. Fails with what is known if it was lost before.
    pub(super) async fn leave(&self) -> Result<(), Loss> {
        let message = json!({
            "compare": [created_by(&self.key, self.created.get())],
            "success": [{"request_delete_range": message::one(&self.key)}],
        });
        // The try before was not answered, and may have deleted the key.
        let mut deleted_before = false;
        let answer = loop {
            let sent = self.client.send(TRANSACTION, &message).await;
            let answer = sent.and_then(|(_, answer)| {
                Answer::of_transaction(&answer).map_err(CallFailure::Failed)
            });
            match answer {
                Ok(answer) => break answer,
                Err(CallFailure::Failed(Failure::Silent(_))) => deleted_before = true,
                Err(CallFailure::Unreachable(failure)) if failure.may_pass() => {}
                Err(failure) => return Err(Loss::unsure(failure.failure().why())),
            }
            tokio::time::sleep(super::PAUSE).await;
        };
        // While the lease lives, nobody else has deleted it.
        let by_us = deleted_before && !self.lease_end().has_passed();
        let released = answer.succeeded || by_us;
        // The lock is free already: if this takes longer, it goes on without the caller.
        let revoked = tokio::time::timeout(REVOKED, self.revoke()).await;
        self.left.set(matches!(revoked, Ok(Ok(()))));
        match released {
            true => Ok(()),
            false => Err(Loss::definite("its key was gone")),
        }
    }

    fn revoke(&self) -> impl Future<Output = Result<(), Failure>> + use<> {
        let (client, lease) = (self.client.clone(), self.lease);
        async move { revoke(&client, lease).await }
    }

    /// Until when the lease lives for certain.
    fn lease_end(&self) -> BootTime {
        self.confirmed.get().plus(self.ttl.get())
    }

    pub(super) fn confirmed(&self) -> BootTime {
        self.confirmed.get()
    }

    pub(super) fn ttl(&self) -> Duration {
        self.ttl.get()
    }

    pub(super) fn token(&self) -> u64 {
        self.created.get()
    }

    /// The key, and the first revision at which nothing is known of it.
    pub(super) fn own_key(&self) -> (Vec<u8>, u64) {
        (self.key.clone().into_bytes(), self.seen.get() + 1)
    }
}

/// Ends a lease, and with it its key. That there is none is as good.
pub(super) async fn revoke(client: &Client, lease: Lease) -> Result<(), Failure> {
    let message = json!({"ID": number(lease.0)});
    match client.call(Patience::For(LEAVE), REVOKE, &message).await {
        Ok(_) | Err(Failure::NoLease) => Ok(()),
        Err(failure) => Err(failure),
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.left.get() {
            return;
        }
        let (tell, left) = oneshot::channel::<()>();
        self.progress.leaves(left);
        let revoked = self.revoke();
        tokio::task::spawn_local(async move {
            // If the cluster does not answer, the lease runs out.
            let _ = revoked.await;
            drop(tell);
        });
    }
}

impl Etcd {
    /// Asks for the keys of those that have to leave before a request of this mode: the newest is
    /// enough, except with slots.
    pub(super) fn before(&self, mode: Mode, created_before: Option<u64>) -> Value {
        let keys = match mode {
            Mode::Shared => self.keys.exclusive(),
            Mode::Exclusive => self.keys.all(),
        };
        let mut request = range(&keys);
        request["keys_only"] = Value::from(true);
        request["sort_target"] = Value::from("CREATE");
        match (self.settings.slots, created_before) {
            // The first ones have the slots.
            (Some(slots), None) => {
                request["sort_order"] = Value::from("ASCEND");
                request["limit"] = number(slots.into());
            }
            (Some(_), Some(_)) => request["sort_order"] = Value::from("ASCEND"),
            // One of them may be our own.
            (None, _) => {
                request["sort_order"] = Value::from("DESCEND");
                request["limit"] = number(2);
            }
        }
        if let Some(created) = created_before {
            request["max_create_revision"] = number(created - 1);
        }
        request
    }
}
