//! Calls to the cluster: at the endpoint that works, and at the next one if it fails.
//!
//! Every call of ours may be repeated: it finds what its first try has done.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use super::failure::Failure;
use super::http::{Connection, within};
use super::race;
use super::{Etcd, PAUSE};
use crate::stream;
use crate::sys::clock::BootTime;

/// The calls of one acquisition.
pub(super) struct Client {
    pub(super) etcd: Arc<Etcd>,
    /// The connection that no call uses.
    idle: RefCell<Option<Connection>>,
    /// The endpoint that is asked first, and the address that is asked last.
    first: Cell<usize>,
    failed: Cell<Option<SocketAddr>>,
    /// How often the last call was sent.
    sent: Cell<u32>,
}

/// How persistent a call is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Patience {
    /// Gives up when no endpoint can be connected to, and otherwise after this time.
    Reachable(Duration),
    /// Goes on for this time in any case.
    For(Duration),
}

impl Client {
    pub(super) fn new(etcd: Arc<Etcd>) -> Client {
        Client {
            etcd,
            idle: RefCell::new(None),
            first: Cell::new(0),
            failed: Cell::new(None),
            sent: Cell::new(0),
        }
    }

    /// Whether the last call may have had its effect before the try that was answered.
    pub(super) fn has_repeated(&self) -> bool {
        self.sent.get() > 1
    }

    /// Calls until there is an answer. Returns when the try was sent that was answered.
    pub(super) async fn call(
        &self,
        patience: Patience,
        path: &str,
        message: &Value,
    ) -> Result<(BootTime, Value), Failure> {
        let (Patience::Reachable(limit) | Patience::For(limit)) = patience;
        let began = Instant::now();
        self.sent.set(0);
        loop {
            let failure = match self.call_once(path, message).await {
                Err(CallFailure::Unreachable(failure)) => {
                    if let Patience::Reachable(_) = patience {
                        return Err(failure);
                    }
                    failure
                }
                Err(CallFailure::Failed(failure)) => failure,
                Ok(answer) => return Ok(answer),
            };
            let is_over = began.elapsed() + PAUSE >= limit;
            if is_over || !failure.may_pass() {
                return Err(failure);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// One try, at one endpoint.
    pub(super) async fn call_once(
        &self,
        path: &str,
        message: &Value,
    ) -> Result<(BootTime, Value), CallFailure> {
        let was_idle = self.idle.borrow().is_some();
        match self.send(path, message).await {
            // The endpoint may have closed the connection since its last use.
            Err(CallFailure::Failed(Failure::Silent(_))) if was_idle => {
                self.send(path, message).await
            }
            result => result,
        }
    }

    /// As `call_once`, but the message is sent once only.
    pub(super) async fn send(
        &self,
        path: &str,
        message: &Value,
    ) -> Result<(BootTime, Value), CallFailure> {
        let idle = self.idle.take().filter(|idle| !idle.is_closed());
        let mut connection = match idle {
            Some(connection) => connection,
            None => self.connect().await.map_err(CallFailure::Unreachable)?,
        };
        let settings = &self.etcd.settings;
        let mut renewed = false;
        loop {
            let token = within(settings.connect_timeout, self.etcd.token(&mut connection)).await;
            let token = token.map_err(|failure| self.failed_at(&connection, failure))?;
            let sent = BootTime::now();
            self.sent.set(self.sent.get() + 1);
            let answer = connection.post(path, token.as_deref(), message);
            let answer = within(settings.try_limit(), answer).await;
            match answer.map_err(|failure| self.etcd.judged(failure, token.as_deref())) {
                Err(Failure::Expired(_)) if !renewed => {
                    self.etcd.forget(token.as_deref());
                    renewed = true;
                }
                Err(failure @ Failure::Silent(_)) => {
                    return Err(self.failed_at(&connection, failure));
                }
                result => {
                    self.first.set(connection.endpoint);
                    self.idle.replace(Some(connection));
                    let answer = result.map_err(CallFailure::Failed)?;
                    return Ok((sent, answer));
                }
            }
        }
    }

    /// The next call goes to another endpoint first.
    fn failed_at(&self, connection: &Connection, failure: Failure) -> CallFailure {
        CallFailure::Failed(match failure {
            Failure::Silent(why) => {
                self.failed.set(Some(connection.address));
                self.first.set(connection.endpoint + 1);
                let host = &self.etcd.settings.hosts[connection.endpoint];
                Failure::Silent(format!("{host}: {why}"))
            }
            other => other,
        })
    }

    /// Connects, if there is no connection.
    pub(super) async fn reach(&self) -> Result<(), Failure> {
        if self.idle.borrow().is_none() {
            let connection = self.connect().await?;
            self.idle.replace(Some(connection));
        }
        Ok(())
    }

    /// The clock of the member that answered last.
    pub(super) fn clock(&self) -> Option<SystemTime> {
        self.idle.borrow().as_ref()?.clock
    }

    /// A new connection, to the endpoint that answers first. Each has a head start before the
    /// next.
    pub(super) async fn connect(&self) -> Result<Connection, Failure> {
        let (etcd, failed) = (self.etcd.clone(), self.failed.get());
        let count = etcd.settings.hosts.len();
        let order = (0..count).map(|index| (self.first.get() + index) % count);
        let connection = race::first(order.map(move |host| {
            let etcd = etcd.clone();
            async move { etcd.connect_to(host, failed).await }
        }));
        connection.await
    }
}

pub(super) enum CallFailure {
    /// No endpoint can be connected to.
    Unreachable(Failure),
    Failed(Failure),
}

impl CallFailure {
    pub(super) fn failure(self) -> Failure {
        match self {
            CallFailure::Unreachable(failure) | CallFailure::Failed(failure) => failure,
        }
    }
}

impl Etcd {
    /// Connects to an endpoint, and sees that it answers: a server that hangs can be connected to
    /// all the same. The version comes with the answer.
    pub(super) async fn connect_to(
        self: Arc<Etcd>,
        index: usize,
        failed: Option<SocketAddr>,
    ) -> Result<Connection, Failure> {
        let limit = self.settings.connect_timeout;
        let host = &self.settings.hosts[index];
        let addresses = stream::addresses(&host.name, host.port.unwrap_or_default(), limit);
        let addresses = addresses
            .await
            .map_err(|error| Failure::of_connecting(&error));
        let found = match addresses {
            Err(failure) => Err(failure),
            Ok(mut addresses) => {
                // A name may stand for several endpoints.
                addresses.sort_by_key(|address| Some(*address) == failed);
                let etcd = self.clone();
                race::first(addresses.into_iter().map(move |address| {
                    let etcd = etcd.clone();
                    async move { within(limit, etcd.greet(index, address)).await }
                }))
                .await
            }
        };
        found.map_err(|failure| match failure {
            Failure::Silent(why) => Failure::Silent(format!("{host}: {why}")),
            Failure::Login(why) => Failure::Login(format!("{host}: {why}")),
            Failure::Unsuitable(why) => Failure::Unsuitable(format!("{host}: {why}")),
            other => other,
        })
    }

    pub(super) async fn greet(
        &self,
        index: usize,
        address: SocketAddr,
    ) -> Result<Connection, Failure> {
        let mut connection = self.open(index, address).await?;
        let answer = connection.get("/version").await;
        let answer = answer.map_err(|failure| match failure {
            Failure::Silent(why) if self.certificates.is_none() => {
                Failure::Silent(format!("{why} (if the endpoint uses TLS, write etcds://)"))
            }
            other => other,
        })?;
        let version = answer.get("etcdserver").and_then(Value::as_str);
        *self.version() = version.map(str::to_owned);
        Ok(connection)
    }

    /// The token of the login. None without a user.
    pub(super) async fn token(
        &self,
        connection: &mut Connection,
    ) -> Result<Option<String>, Failure> {
        let Some(login) = &self.settings.login else {
            return Ok(None);
        };
        if let Some(token) = self.login_token().clone() {
            return Ok(token);
        }
        let Some(password) = &login.password else {
            return Err(Failure::Login(format!(
                "there is no password for {}; put it into a file that {} names",
                holdlock::inspect::printable(&login.user),
                crate::secret::PASSWORD_FILE
            )));
        };
        let message = json!({"name": login.user, "password": password.reveal()});
        let answer = connection
            .post("/v3/auth/authenticate", None, &message)
            .await;
        let token = match answer {
            Ok(answer) => answer
                .get("token")
                .and_then(Value::as_str)
                .map(str::to_owned),
            // Whoever has no users lets everybody in.
            Err(Failure::NoUsers) => None,
            Err(failure) => return Err(failure),
        };
        *self.login_token() = Some(token.clone());
        Ok(token)
    }

    /// What the failure of a call with this token means. A cluster that let everybody in when the
    /// token was asked for may have users now.
    pub(super) fn judged(&self, failure: Failure, token: Option<&str>) -> Failure {
        match failure {
            Failure::Login(why) if token.is_none() && self.settings.login.is_some() => {
                Failure::Expired(why)
            }
            other => other,
        }
    }

    /// The token counts no more. Another lock may have renewed it meanwhile.
    fn forget(&self, token: Option<&str>) {
        let mut known = self.login_token();
        if known
            .as_ref()
            .is_some_and(|known| known.as_deref() == token)
        {
            *known = None;
        }
    }
}
