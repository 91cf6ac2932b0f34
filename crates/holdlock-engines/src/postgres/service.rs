//! What PostgreSQL tells and does beside keeping a lock.

use super::Postgres;
use crate::engine::Service;
use crate::{Error, Members};

impl Service for Postgres {
    fn shown(&self) -> &str {
        &self.settings.shown
    }

    async fn members(&self) -> Result<Members, Error> {
        let accepted = self.connect().await?;
        self.read_members(&accepted.link).await
    }
}
