//! What PostgreSQL tells and does beside keeping a lock: each with a connection of its own.

use super::connect::{Accepted, STATEMENT};
use super::link::{Failure, Link, Row};
use super::{Postgres, breaking, connect, diagnose, list, runs};
use crate::engine::{Entry, Service};
use crate::stream::{self, Address};
use crate::{Error, Finding, History, Listed, Member, Members};

impl Service for Postgres {
    fn shown(&self) -> &str {
        &self.settings.shown
    }

    fn lock_name(&self) -> &str {
        &self.settings.name
    }

    async fn addresses(&self) -> Vec<Address> {
        let settings = &self.settings;
        stream::all_addresses(&settings.hosts, settings.connect_timeout, connect::socket).await
    }

    async fn members(&self) -> Result<Members, Error> {
        let Accepted { link, .. } = self.connect().await?;
        self.read_members(&link).await
    }

    async fn list(&self) -> Result<Vec<Listed>, Error> {
        let Accepted { link, .. } = self.connect().await?;
        let rows = self.ask(&link, "listing the locks", list::statement());
        Ok(list::read(&rows.await?))
    }

    async fn break_holder(&self, token: u64) -> Result<Option<Member>, Error> {
        breaking::break_holder(self, token).await
    }

    async fn diagnose(&self) -> Result<Vec<Finding>, Error> {
        diagnose::diagnose(self).await
    }

    async fn init(&self) -> Result<String, Error> {
        runs::init(self).await
    }

    async fn last_run(&self) -> Result<History, Error> {
        runs::last(self).await
    }

    async fn record_run(&self, entry: &Entry) -> Result<History, Error> {
        runs::record(self, entry).await
    }
}

impl Postgres {
    /// Sends statements that do not wait for a lock.
    pub(super) async fn ask(
        &self,
        link: &Link,
        operation: &'static str,
        statements: String,
    ) -> Result<Vec<Row>, Error> {
        let answer = link.query(statements, STATEMENT).await;
        answer.map_err(|failure| match failure {
            Failure::Refused(code, why) if code == "42501" => Error::Credentials {
                lock: self.shown().to_owned(),
                why: format!("{operation}: {why}"),
            },
            other => self.failed(operation, other),
        })
    }
}

/// A field of a row, if it is not NULL.
pub(super) fn field(row: &Row, index: usize) -> Option<&str> {
    row.get(index)?.as_deref()
}
