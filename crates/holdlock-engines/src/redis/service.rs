//! What Redis tells and does beside keeping a lock: each with a connection of its own.

use std::sync::Arc;

use super::Redis;
use super::client::Client;
use crate::engine::Service;
use crate::{Error, Members};

impl Service for Arc<Redis> {
    fn shown(&self) -> &str {
        &self.settings.shown
    }

    async fn members(&self) -> Result<Members, Error> {
        let client = Client::onlooker(self.clone());
        self.look(&client).await
    }
}
