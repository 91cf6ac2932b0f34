//! What Redis tells and does beside keeping a lock: each with a connection of its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use holdlock::Mode;
use redis::Value;

use super::client::Client;
use super::connect::COMMAND;
use super::{Redis, diagnose, list, members};
use crate::engine::{Entry, Service};
use crate::stream::{self, Address};
use crate::{Error, Finding, History, Listed, Loss, Member, Members};

impl Service for Arc<Redis> {
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
        let client = Client::onlooker(self.clone());
        self.look(&client).await
    }

    async fn list(&self) -> Result<Vec<Listed>, Error> {
        list::list(self).await
    }

    /// The server ends it in one step. Until the lease would have ended, nobody gets the lock, so
    /// that the holder can stop its work.
    async fn break_holder(&self, token: u64) -> Result<Option<Member>, Error> {
        let client = Client::onlooker(self.clone());
        let holders = self.look(&client).await?.holders;
        let mut seen = holders.into_iter();
        let seen = seen.find(|holder| holder.token == Some(token));
        let answer = client.call("break", &[token.to_string()], COMMAND).await?;
        let broken = members::read(answer.value).ok_or_else(|| self.wrong_answer())?;
        // The first call may have ended it, with an answer that was lost.
        let ended = seen.filter(|_| answer.repeated);
        Ok(broken.holders.into_iter().next().or(ended))
    }

    async fn diagnose(&self) -> Result<Vec<Finding>, Error> {
        diagnose::diagnose(self).await
    }

    async fn last_run(&self) -> Result<History, Error> {
        let answer = self.ask("last", &[]).await?;
        history(answer).ok_or_else(|| self.wrong_answer())
    }

    async fn record_run(&self, entry: &Entry) -> Result<History, Error> {
        let mut holder = entry.holder.clone();
        holder.token = entry.token;
        let work = match entry.run.at_work {
            true => holder.record(&self.settings.name, 900),
            false => String::new(),
        };
        let (ago, keep) = match entry.run.counted {
            Some(counted) => (counted.ago.as_millis() as i64, counted.keep.as_millis()),
            None => (-1, 0),
        };
        let token = entry.token.unwrap_or(0).to_string();
        let (ago, keep) = (ago.to_string(), keep.to_string());
        let arguments = [token, work, ago, keep, self.random()?];
        let answer = self.ask("record", &arguments).await?;
        if matches!(&answer, Value::Array(none) if none.is_empty()) {
            return Err(Error::Lost {
                lock: self.shown().to_owned(),
                loss: Loss::definite("a later holder has recorded a run"),
            });
        }
        history(answer).ok_or_else(|| self.wrong_answer())
    }
}

impl Redis {
    async fn ask(
        self: &Arc<Redis>,
        what: &'static str,
        arguments: &[String],
    ) -> Result<Value, Error> {
        let client = Client::onlooker(self.clone());
        Ok(client.call(what, arguments, COMMAND).await?.value)
    }
}

fn history(answer: Value) -> Option<History> {
    let (age, record): (i64, Vec<u8>) = redis::from_redis_value(answer).ok()?;
    let record = String::from_utf8_lossy(&record);
    let mut holder = Member::unknown(Mode::Exclusive);
    Some(History {
        last_run: age.try_into().ok().map(Duration::from_millis),
        at_work: holder.read_record(&record).then_some(holder),
    })
}
