//! From a request to the lock: a place in the queue, and the steps that keep it.
//!
//! Only a step of the waiter itself grants the lock, so it is never granted to a waiter that has
//! died. Each step says how long the waiter may sleep. A holder that releases the lock wakes those
//! that may enter; a message that is lost costs no more than that sleep.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use holdlock::Mode;
use redis::Value;
use tokio::sync::oneshot;

use super::Redis;
use super::client::{Client, Connected};
use super::connect::COMMAND;
use super::session::RedisSession;
use crate::engine::{Attempt, Progress, Stage, conflict};
use crate::sys::clock::BootTime;
use crate::{Error, Member};

/// For how long a withdrawal is tried. The caller does not wait for it: a server that hangs reads
/// the last step when it continues, and has to read the withdrawal as well.
const LEAVE: Duration = Duration::from_secs(30);
/// How soon a step is repeated that the server could not answer.
const AGAIN: Duration = Duration::from_millis(200);
/// How long a waiter goes on without an answer: a server is restarted and loads its data, or a
/// replica becomes the primary.
const AWAY: Duration = Duration::from_secs(30);
/// How often a waiter looks who holds the lock.
const LOOK: Duration = Duration::from_secs(5);

/// What a step has brought.
enum Step {
    Held {
        token: u64,
        over: Rc<Connected>,
    },
    /// The lock is not free, or not yet known to be.
    Busy {
        quarantine: Duration,
    },
    Waits {
        quarantine: Duration,
        sleep: Duration,
    },
    /// Others use the lock with another number of slots.
    Differs(u64),
}

/// The lock that the server has given.
struct Turn {
    token: u64,
    /// When the step was sent that has the lock.
    sent: BootTime,
    /// The connection over which the answer came.
    over: Rc<Connected>,
    has_waited: bool,
}

/// A request in the server. When it is dropped, it leaves.
struct Place {
    /// None when there is nothing to leave.
    client: Option<Rc<Client>>,
    progress: Rc<Progress>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(client) = self.client.take().filter(|client| client.is_known()) else {
            return;
        };
        let (tell, told) = oneshot::channel::<()>();
        self.progress.leaves(told);
        tokio::task::spawn_local(async move {
            let leave = async {
                while let Err(error) = client.call("leave", &[], COMMAND).await
                    && client.may_pass(&error)
                {
                    tokio::time::sleep(AGAIN).await;
                }
            };
            let _ = tokio::time::timeout(LEAVE, leave).await;
            drop(tell);
        });
    }
}

impl Redis {
    pub(crate) async fn acquire(
        self: Arc<Redis>,
        attempt: &Attempt,
    ) -> Result<RedisSession, Error> {
        if self.settings.has_slots && attempt.us.mode == Mode::Shared {
            return Err(Error::Failed {
                lock: self.shown().to_owned(),
                operation: "sharing a slot",
                why: "a lock with slots has no shared mode; leave slots= out, or the mode"
                    .to_owned(),
            });
        }
        let client = Rc::new(Client::new(self.clone(), attempt.us.mode)?);
        let mut place = Place {
            client: Some(client.clone()),
            progress: attempt.progress.clone(),
        };
        let turn = self.confirmed_turn(&client, attempt).await?;
        place.client = None;
        let us = attempt.us.clone();
        Ok(RedisSession::new(client, us, turn.token, turn.sent))
    }

    /// The turn of this request, when enough replicas have its lock. Until then the server keeps
    /// the lock for it.
    async fn confirmed_turn(&self, client: &Rc<Client>, attempt: &Attempt) -> Result<Turn, Error> {
        let wanted = self.settings.replicas;
        let mut turn = self.wait_for_turn(client, attempt, false).await?;
        if wanted == 0 {
            return Ok(turn);
        }
        let (mut given, mut has_waited, mut is_first) = (Instant::now(), false, true);
        let limit = COMMAND.min(self.settings.ttl / 6);
        loop {
            if turn.has_waited {
                (given, has_waited) = (Instant::now(), true);
            }
            let (error, may_pass) = match client.replicas(&turn.over, wanted, limit).await {
                Ok(enough) if enough >= wanted => return Ok(turn),
                Ok(few) => {
                    let why = self.too_few(few);
                    attempt.progress.learned(Stage::Uncertain(why.clone()));
                    (self.unreachable(why), has_waited)
                }
                // Perhaps it is another server now that has to have the lock.
                Err(error) if !attempt.waits => (error, is_first && turn.over.has_ended()),
                Err(error) => {
                    let may_pass = client.may_pass(&error);
                    (error, may_pass)
                }
            };
            if !may_pass || given.elapsed() > AWAY {
                return Err(error);
            }
            is_first = false;
            if attempt.waits {
                tokio::time::sleep(AGAIN).await;
            }
            turn = self.wait_for_turn(client, attempt, attempt.waits).await?;
        }
    }

    /// Steps until the server gives the lock. A waiter is one that a server has answered already:
    /// it goes on while there is no answer for a while.
    async fn wait_for_turn(
        &self,
        client: &Rc<Client>,
        attempt: &Attempt,
        is_waiter: bool,
    ) -> Result<Turn, Error> {
        let began = Instant::now();
        let would_block = |stage| {
            let conflict = conflict(self.shown(), attempt.us.mode, began.elapsed(), stage);
            conflict.map_or_else(
                || self.unreachable("no answer; try again".to_owned()),
                Error::WouldBlock,
            )
        };
        let mut answered = Instant::now();
        let mut looked: Option<Instant> = None;
        let mut quarantined = false;
        loop {
            let sent = BootTime::now();
            let step = match self.step(client, attempt).await {
                Err(error)
                    if client.may_pass(&error)
                        && (is_waiter || looked.is_some())
                        && answered.elapsed() < AWAY =>
                {
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
                step => step?,
            };
            answered = Instant::now();
            match step {
                Step::Held { token, over } => {
                    return Ok(Turn {
                        token,
                        sent,
                        over,
                        has_waited: looked.is_some(),
                    });
                }
                Step::Differs(theirs) => {
                    client.is_unknown();
                    return Err(self.differs(theirs));
                }
                Step::Busy { quarantine } => {
                    client.is_unknown();
                    return Err(would_block(self.stage(client, quarantine).await?));
                }
                Step::Waits { quarantine, sleep } => {
                    let is_known = quarantined != quarantine.is_zero();
                    if looked.is_none_or(|looked| looked.elapsed() > LOOK) || !is_known {
                        match self.stage(client, quarantine).await {
                            Ok(stage) => attempt.progress.waits(stage),
                            // The next step tells whether it is back.
                            Err(error) if client.may_pass(&error) => {}
                            Err(error) => return Err(error),
                        }
                        quarantined = !quarantine.is_zero();
                        looked = Some(Instant::now());
                    }
                    let sleep = match quarantine.is_zero() {
                        true => sleep,
                        false => sleep.min(quarantine),
                    };
                    let sleep = sleep.min(self.settings.place() / 3);
                    let _ = tokio::time::timeout(sleep, client.woken()).await;
                }
            }
        }
    }

    async fn step(&self, client: &Client, attempt: &Attempt) -> Result<Step, Error> {
        let settings = &self.settings;
        let place = match attempt.waits {
            true => settings.place(),
            false => Duration::ZERO,
        };
        let arguments = [
            settings.ttl.as_millis().to_string(),
            place.as_millis().to_string(),
            settings.slots.to_string(),
            attempt.us.record(&settings.name, 900),
        ];
        let answer = client.call("step", &arguments, COMMAND).await?;
        let (kind, numbers) = read(answer.value).ok_or_else(|| self.wrong_answer())?;
        let millis = |at: usize| Duration::from_millis(numbers.get(at).copied().unwrap_or(0));
        Ok(match (kind.as_str(), numbers.as_slice()) {
            ("held", &[token]) => Step::Held {
                token,
                over: answer.over,
            },
            ("busy", _) => Step::Busy {
                quarantine: millis(0),
            },
            ("wait", _) => Step::Waits {
                quarantine: millis(0),
                sleep: millis(1),
            },
            ("differs", &[theirs]) => Step::Differs(theirs),
            _ => return Err(self.wrong_answer()),
        })
    }

    async fn stage(&self, client: &Client, quarantine: Duration) -> Result<Stage, Error> {
        if !quarantine.is_zero() {
            return Ok(Stage::Quarantine(Instant::now() + quarantine));
        }
        let holders: Vec<Member> = self.look(client).await?.holders;
        Ok(Stage::Waiting(holders))
    }

    fn too_few(&self, few: u32) -> String {
        let wanted = self.settings.replicas;
        format!(
            "only {few} of {wanted} replicas have confirmed the lock; nothing is held; see why the \
             replicas are away, or lower replicas="
        )
    }

    fn differs(&self, theirs: u64) -> Error {
        Error::Failed {
            lock: self.shown().to_owned(),
            operation: "acquiring the lock",
            why: format!(
                "others use it with slots={theirs}, we with slots={}; give the same number in each \
                 process",
                self.settings.slots
            ),
        }
    }
}

/// A word and the numbers behind it.
fn read(value: Value) -> Option<(String, Vec<u64>)> {
    let Value::Array(values) = value else {
        return None;
    };
    let mut values = values.into_iter();
    let kind = redis::from_redis_value(values.next()?).ok()?;
    let numbers = values.map(|value| redis::from_redis_value(value).ok());
    Some((kind, numbers.collect::<Option<_>>()?))
}
