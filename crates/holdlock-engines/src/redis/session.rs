//! A lease that holds the lock: renewing it, and giving it back.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use super::client::{Answer, Client};
use super::connect::COMMAND;
use crate::engine::{Session, Setback};
use crate::sys::clock::BootTime;
use crate::{Error, Loss, Member};

/// How long after a failed try the server is asked for the release again.
const PAUSE: Duration = Duration::from_millis(100);

/// How long before the end of the time for the release it gives up, if it was refused last.
const TO_SAY_WHY: Duration = Duration::from_millis(100);

/// How soon others see the record of a holder; until then, that of the waiter.
const SHOWN: Duration = Duration::from_millis(100);

pub(crate) struct RedisSession {
    client: Rc<Client>,
    token: u64,
    /// When the last message was sent that the server has confirmed.
    confirmed: Rc<Cell<BootTime>>,
    /// What others are told.
    record: String,
}

impl RedisSession {
    pub(super) fn new(
        client: Rc<Client>,
        mut us: Member,
        token: u64,
        sent: BootTime,
    ) -> RedisSession {
        us.token = Some(token);
        us.since = Some(std::time::SystemTime::now());
        let record = us.record(&client.redis.settings.name, 900);
        RedisSession {
            client,
            token,
            confirmed: Rc::new(Cell::new(sent)),
            record,
        }
    }
}

impl Session for RedisSession {
    fn token(&self) -> Option<u64> {
        Some(self.token)
    }

    fn ttl(&self) -> Duration {
        self.client.redis.settings.ttl
    }

    fn confirmed(&self) -> BootTime {
        self.confirmed.get()
    }

    /// The record has the token, and since when.
    fn first_renewal(&self) -> Option<Duration> {
        Some(SHOWN)
    }

    fn renew(&self) -> impl Future<Output = Result<(), Setback>> + 'static {
        let (client, record) = (self.client.clone(), self.record.clone());
        let confirmed = self.confirmed.clone();
        async move {
            let (ttl, sent) = (client.redis.settings.ttl, BootTime::now());
            match tokio::time::timeout(ttl / 3, renew(&client, record, ttl / 6)).await {
                Ok(result) => {
                    if result.is_ok() {
                        confirmed.set(sent);
                    }
                    result
                }
                Err(_) => {
                    client.disconnect();
                    Err(Setback::Unclear("no answer to the renewal".to_owned()))
                }
            }
        }
    }

    /// Never by itself: a connection that ends loses no lock.
    async fn over(&self) -> Loss {
        std::future::pending().await
    }

    async fn nudged(&self) {
        self.client.woken().await;
    }

    /// Says why the server has refused it last, if that goes on to the end.
    async fn release(self, within: Duration) -> Result<(), Loss> {
        let refusal = RefCell::default();
        let limit = within.saturating_sub(TO_SAY_WHY);
        let released = tokio::time::timeout(limit, self.released(&refusal)).await;
        match (released, refusal.into_inner()) {
            (Ok(result), _) => result,
            (Err(_), Some(why)) => Err(Loss::unsure(why)),
            // The caller's time ends as well.
            (Err(_), None) => std::future::pending().await,
        }
    }
}

impl RedisSession {
    /// Goes on until the server has released the lock, or does not know it. Tells why the last try
    /// was refused, if it was.
    async fn released(&self, refusal: &RefCell<Option<String>>) -> Result<(), Loss> {
        let ttl = self.ttl();
        let limit = (ttl / 6).clamp(Duration::from_secs(1), COMMAND);
        let mut asked_before = false;
        loop {
            match self.client.call("leave", &[], limit).await {
                Ok(answer) if is_one(&answer) => return Ok(()),
                Ok(answer) if !asked_before && !answer.repeated => return Err(gone()),
                // The try before was not answered. While the lease lives, nobody else has ended it,
                // and a server that was restarted gives the lock to nobody.
                Ok(_) if !self.confirmed.get().plus(ttl).has_passed() => return Ok(()),
                Ok(_) => {
                    return Err(Loss::unsure(
                        "the connection ended during the release; the lock is free",
                    ));
                }
                Err(error) if self.client.may_pass(&error) => {
                    refusal.replace(self.client.was_refused().then(|| words(&error)));
                    asked_before = true;
                }
                Err(error) => return Err(Loss::unsure(words(&error))),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn renew(client: &Client, record: String, limit: Duration) -> Result<(), Setback> {
    let settings = &client.redis.settings;
    let unclear = |error: Error| match &error {
        Error::Unreachable { .. } if !client.was_refused() => Setback::Unclear(words(&error)),
        _ => Setback::Refused(words(&error)),
    };
    let arguments = [settings.ttl.as_millis().to_string(), record];
    let answer = client.call("renew", &arguments, limit).await;
    let answer = answer.map_err(unclear)?;
    if !is_one(&answer) {
        return Err(Setback::Lost(gone()));
    }
    let wanted = settings.replicas;
    if wanted > 0 {
        let confirmed = client.replicas(&answer.over, wanted, limit).await;
        let confirmed = confirmed.map_err(unclear)?;
        if confirmed < wanted {
            return Err(Setback::Refused(format!(
                "only {confirmed} of {wanted} replicas have confirmed the renewal"
            )));
        }
    }
    Ok(())
}

fn gone() -> Loss {
    Loss::definite(
        "the server no longer knows it: it was not renewed in time, or was removed, or the \
         server has forgotten it",
    )
}

fn is_one(answer: &Answer) -> bool {
    matches!(answer.value, redis::Value::Int(1))
}

/// The error without the lock, which the message names already.
fn words(error: &Error) -> String {
    format!("{error:#}")
}
