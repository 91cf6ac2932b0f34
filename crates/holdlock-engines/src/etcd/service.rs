//! What etcd tells and does beside keeping a lock.

use std::sync::Arc;

use super::Etcd;
use super::client::{Client, Patience};
use crate::engine::Service;
use crate::{Error, Members};

impl Etcd {
    /// For calls that are no part of a request for the lock.
    fn aside(self: &Arc<Etcd>) -> (Client, Patience) {
        let patience = Patience::Reachable(self.settings.connect_timeout);
        (Client::new(self.clone()), patience)
    }
}

impl Service for Arc<Etcd> {
    fn shown(&self) -> &str {
        &self.settings.shown
    }

    async fn members(&self) -> Result<Members, Error> {
        let (client, patience) = self.aside();
        let members = client.members(patience, None).await;
        members.map_err(|failure| self.error("reading the holders", failure))
    }
}
