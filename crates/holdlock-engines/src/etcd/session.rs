//! A held lock: renewing its lease, hearing of its loss, and giving it back.

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::failure::Failure;
use super::members::record;
use super::place::Place;
use super::watch::{Watch, Watched};
use crate::Loss;
use crate::engine::{Session, Setback};
use crate::sys::clock::BootTime;

/// A lock that is held for longer is watched, and others are told since when it is held.
const LASTING: Duration = Duration::from_millis(100);
/// How long after a failure the key is watched again. The renewals look at it as well.
const AGAIN: Duration = Duration::from_secs(1);

pub(crate) struct EtcdSession {
    place: Rc<Place>,
    /// What others are to be told, if they are not told already.
    record: Rc<Cell<Option<String>>>,
    lost: watch::Receiver<Option<Loss>>,
    task: AbortHandle,
}

impl EtcdSession {
    /// Of a place with nobody before it.
    pub(super) fn new(place: Place, has_waited: bool) -> EtcdSession {
        let shown = has_waited.then(|| {
            let mut us = place.us.clone();
            us.since = Some(SystemTime::now());
            record(&us, &place.client.etcd.settings)
        });
        let place = Rc::new(place);
        let (tell, lost) = watch::channel(None);
        let watched = Rc::downgrade(&place);
        let task = tokio::task::spawn_local(async move {
            tokio::time::sleep(LASTING).await;
            while let Some(place) = watched.upgrade() {
                let (client, (key, revision)) = (place.client.clone(), place.own_key());
                drop(place);
                let deleted = async {
                    let mut watch = Watch::open(&client, &Watched::Key(key), revision).await?;
                    watch.deleted().await
                };
                if deleted.await.is_ok() {
                    let _ = tell.send(Some(gone()));
                    return;
                }
                tokio::time::sleep(AGAIN).await;
            }
        });
        EtcdSession {
            place,
            record: Rc::new(Cell::new(shown)),
            lost,
            task: task.abort_handle(),
        }
    }
}

fn gone() -> Loss {
    Loss::definite("the lease ran out or was revoked, or the key was deleted")
}

impl Session for EtcdSession {
    fn token(&self) -> Option<u64> {
        Some(self.place.token())
    }

    fn ttl(&self) -> Duration {
        self.place.ttl()
    }

    fn confirmed(&self) -> BootTime {
        self.place.confirmed()
    }

    fn first_renewal(&self) -> Option<Duration> {
        let record = self.record.take();
        let is_due = record.is_some();
        self.record.set(record);
        is_due.then_some(LASTING)
    }

    /// Two calls: the lease, and the key, which could have been deleted by hand.
    fn renew(&self) -> impl Future<Output = Result<(), Setback>> + 'static {
        let (place, record) = (self.place.clone(), self.record.clone());
        async move {
            let unclear = |failure: Failure| match failure.may_pass() {
                true => Setback::Unclear(failure.why().to_owned()),
                false => Setback::Refused(failure.why().to_owned()),
            };
            if !place.keep_alive_once().await.map_err(unclear)? {
                return Err(Setback::Lost(gone()));
            }
            let shown = record.take();
            match place.verify(shown.as_deref()).await {
                Ok(true) => Ok(()),
                Ok(false) | Err(Failure::NoLease) => Err(Setback::Lost(gone())),
                Err(failure) => {
                    record.set(shown);
                    Err(unclear(failure))
                }
            }
        }
    }

    async fn over(&self) -> Loss {
        let mut lost = self.lost.clone();
        match lost.wait_for(Option::is_some).await {
            Ok(loss) => loss.clone().unwrap_or_else(gone),
            // The task ends only with the session.
            Err(_) => std::future::pending().await,
        }
    }

    async fn release(self, _within: Duration) -> Result<(), Loss> {
        self.place.leave().await
    }
}

impl Drop for EtcdSession {
    fn drop(&mut self) {
        self.task.abort();
    }
}
