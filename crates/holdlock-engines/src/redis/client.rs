//! The client of one request: it calls the script, over as many connections as that takes.
//!
//! Each call of the script can be repeated, so a connection that ends is replaced.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use holdlock::Mode;
use redis::{Value, cmd};
use tokio::sync::Notify;

use super::connect::COMMAND;
use super::link::{Failure, Link};
use super::script::{self, Names};
use super::{Redis, may_pass};
use crate::Error;
use crate::url::Host;

/// How often a cluster may send a request to another node.
const REDIRECTIONS: u32 = 3;

pub(super) struct Client {
    pub(super) redis: Arc<Redis>,
    /// The name of the request in the server.
    id: String,
    link: RefCell<Option<Rc<Connected>>>,
    /// The node of the cluster that has the lock.
    node: RefCell<Option<Host>>,
    /// The server of the last connection, for messages.
    host: RefCell<Option<Host>>,
    /// Something may have changed: a message has come, or the connection has ended.
    woken: Arc<Notify>,
    /// Whether messages are heard.
    listens: bool,
    /// Whether the server may know the request.
    is_known: Cell<bool>,
    /// Whether the last call has found only replicas.
    only_replicas: Cell<bool>,
    /// Whether the last call has failed by what a server has answered.
    was_refused: Cell<bool>,
    /// The server may be waiting for replicas. It reads nothing from this connection meanwhile.
    waits_for_replicas: Cell<bool>,
}

pub(super) struct Connected {
    link: Link,
    names: Names,
}

impl Connected {
    pub(super) fn has_ended(&self) -> bool {
        self.link.has_ended()
    }
}

/// What the script has answered.
pub(super) struct Answer {
    pub(super) value: Value,
    /// Whether the script may have run before, with an answer that was lost.
    pub(super) repeated: bool,
    /// The connection over which it came.
    pub(super) over: Rc<Connected>,
}

impl Client {
    pub(super) fn new(redis: Arc<Redis>, mode: Mode) -> Result<Client, Error> {
        let kind = match mode {
            Mode::Exclusive => 'x',
            Mode::Shared => 's',
        };
        let id = format!("{kind}{}", redis.random()?);
        Ok(Client {
            redis,
            id,
            link: RefCell::default(),
            node: RefCell::default(),
            host: RefCell::default(),
            listens: true,
            woken: Arc::default(),
            is_known: Cell::new(false),
            only_replicas: Cell::new(false),
            was_refused: Cell::new(false),
            waits_for_replicas: Cell::new(false),
        })
    }

    /// One that takes no part, and only asks.
    pub(super) fn onlooker(redis: Arc<Redis>) -> Client {
        Client {
            redis,
            id: String::new(),
            link: RefCell::default(),
            node: RefCell::default(),
            host: RefCell::default(),
            woken: Arc::default(),
            listens: false,
            is_known: Cell::new(false),
            only_replicas: Cell::new(false),
            was_refused: Cell::new(false),
            waits_for_replicas: Cell::new(false),
        }
    }

    /// Ready when something may have changed since the last call.
    pub(super) async fn woken(&self) {
        self.woken.notified().await;
    }

    pub(super) fn is_known(&self) -> bool {
        self.is_known.get()
    }

    /// The server does not know the request: it has said so.
    pub(super) fn is_unknown(&self) {
        self.is_known.set(false);
    }

    /// Whether this failure of the last call may pass while a waiter goes on. In a failover there
    /// are only replicas for a moment.
    pub(super) fn may_pass(&self, error: &Error) -> bool {
        self.only_replicas.get() || may_pass(error)
    }

    /// Whether the last call has failed by what a server has answered.
    pub(super) fn was_refused(&self) -> bool {
        self.was_refused.get()
    }

    /// Calls the script.
    pub(super) async fn call(
        &self,
        what: &'static str,
        arguments: &[String],
        limit: Duration,
    ) -> Result<Answer, Error> {
        let mut repeated = false;
        let mut redirections = 0;
        self.only_replicas.set(false);
        self.was_refused.set(false);
        if self.waits_for_replicas.replace(false) {
            self.disconnect();
        }
        loop {
            let connected = self.connected().await?;
            if what == "step" {
                self.is_known.set(true);
            }
            let Connected { link, names } = &*connected;
            let call = (what, &*self.id);
            let failure = match script::run(link, names, call, arguments, limit).await {
                Ok(value) => {
                    return Ok(Answer {
                        value,
                        repeated,
                        over: connected.clone(),
                    });
                }
                Err(failure) => failure,
            };
            match &failure {
                Failure::Gone(_) if !repeated => {
                    repeated = true;
                    self.disconnect();
                }
                Failure::Refused(code, to) if code == "MOVED" && redirections < REDIRECTIONS => {
                    redirections += 1;
                    self.disconnect();
                    let node = moved_to(to, self.host.borrow().as_ref());
                    self.node.replace(node);
                }
                // It was the primary when we connected.
                Failure::Refused(code, _) if code == "READONLY" && redirections == 0 => {
                    redirections += 1;
                    self.disconnect();
                }
                _ => return Err(self.failed(operation(what), failure)),
            }
        }
    }

    /// How many replicas have what was written over this connection, at least `wanted` of them
    /// unless `limit` passes. Over another connection, all replicas of any server would count.
    pub(super) async fn replicas(
        &self,
        over: &Connected,
        wanted: u32,
        limit: Duration,
    ) -> Result<u32, Error> {
        let mut wait = cmd("WAIT");
        wait.arg(wanted).arg(limit.as_millis().max(1) as u64);
        // Stays so if nobody waits for the answer any more.
        self.waits_for_replicas.set(true);
        let answer = over.link.command(wait, limit + COMMAND).await;
        self.waits_for_replicas.set(false);
        let answer = answer.map_err(|failure| self.failed("waiting for replicas", failure))?;
        Ok(redis::from_redis_value(answer).unwrap_or(0))
    }

    async fn connected(&self) -> Result<Rc<Connected>, Error> {
        let present = self.link.borrow().clone();
        if let Some(connected) = present
            && !connected.link.has_ended()
        {
            return Ok(connected);
        }
        self.disconnect();
        // If this is dropped, the node is silent: the next call asks the others.
        let node = self.node.take();
        let at_node = match &node {
            Some(node) => self.redis.connect(Some(node), &self.woken).await.ok(),
            None => None,
        };
        let accepted = match at_node {
            Some(accepted) => {
                self.node.replace(node);
                accepted
            }
            None => {
                let found = self.redis.connect(None, &self.woken).await;
                found.inspect_err(|none| {
                    self.only_replicas.set(none.only_replicas);
                    self.was_refused.set(none.only_replicas);
                })?
            }
        };
        let connected = Rc::new(Connected {
            link: accepted.link,
            names: Names::new(&self.redis.settings.name, accepted.in_cluster),
        });
        self.host.replace(Some(accepted.host));
        if self.listens {
            let channel = connected.names.channel(&self.id);
            let heard = connected.link.subscribe(channel, COMMAND).await;
            heard.map_err(|failure| self.failed("subscribing to a channel", failure))?;
        }
        self.link.replace(Some(connected.clone()));
        Ok(connected)
    }

    /// Ends the connection: the next call makes another one.
    pub(super) fn disconnect(&self) {
        if let Some(connected) = self.link.take() {
            connected.link.give_up();
        }
    }

    fn failed(&self, operation: &'static str, failure: Failure) -> Error {
        let host = self.host.borrow();
        let host = host.as_ref().unwrap_or(&self.redis.settings.hosts[0]);
        let is_replica = matches!(&failure, Failure::Refused(code, _) if is_of_replica(code));
        self.only_replicas.set(is_replica);
        let is_refused = matches!(&failure, Failure::Refused(..));
        self.was_refused.set(is_refused);
        match failure {
            Failure::Refused(code, why) => self.redis.refused(host, &code, &why, operation),
            other => {
                // Nobody waits for a later answer.
                self.disconnect();
                self.redis.unreachable(format!("{host}: {other}"))
            }
        }
    }
}

/// Whether a server that is no primary, or has just become a replica, answers so. It ends the wait
/// for its replicas by UNBLOCKED.
pub(super) fn is_of_replica(code: &str) -> bool {
    matches!(code, "READONLY" | "UNBLOCKED")
}

/// The node that the words of MOVED name: a slot, and host:port. An IPv6 address has no brackets.
/// An empty host is that of the node which says so.
fn moved_to(words: &str, host: Option<&Host>) -> Option<Host> {
    let (name, port) = words.split_ascii_whitespace().nth(1)?.rsplit_once(':')?;
    let name = match name.trim_start_matches('[').trim_end_matches(']') {
        "" => &host?.name,
        name => name,
    };
    Some(Host {
        name: name.to_owned(),
        port: Some(port.parse().ok()?),
    })
}

fn operation(what: &str) -> &'static str {
    match what {
        "step" => "acquiring the lock",
        "renew" => "renewing the lock",
        "leave" => "releasing the lock",
        "break" => "ending a holder",
        "last" => "reading when the last run began",
        "record" => "recording a run",
        _ => "reading the holders",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_of_a_redirection_is_understood() {
        let host = Host::parse("db1:6379").expect("a host");
        for (words, node) in [
            ("3999 127.0.0.1:6381", Some("127.0.0.1:6381")),
            ("3999 db2.example:6381", Some("db2.example:6381")),
            ("3999 fd00::1:6379", Some("[fd00::1]:6379")),
            ("3999 [fd00::1]:6379", Some("[fd00::1]:6379")),
            ("3999 :6381", Some("db1:6381")),
            ("3999 db2", None),
            ("3999 db2:x", None),
            ("3999", None),
            ("", None),
        ] {
            let expected = node.map(|node| Host::parse(node).expect("a host"));
            assert_eq!(moved_to(words, Some(&host)), expected, "{words}");
        }
        assert_eq!(moved_to("3999 :6381", None), None);
    }
}
