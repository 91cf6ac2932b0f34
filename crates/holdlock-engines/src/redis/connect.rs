//! Getting a connection to a server that can keep a lock: finding the primary, logging in.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use redis::{ProtocolVersion, RedisConnectionInfo, Value, cmd};
use tokio::sync::Notify;

use super::Redis;
use super::link::{Failure, Link};
use super::settings::PORT;
use crate::Error;
use crate::duration::spoken;
use crate::secret::PASSWORD_FILE;
use crate::stream::{self, Stream};
use crate::url::Host;

/// How long a command may take.
pub(super) const COMMAND: Duration = Duration::from_secs(5);

/// A connection to a primary.
pub(super) struct Accepted {
    pub(super) link: Link,
    pub(super) host: Host,
    /// Whether the server is a node of a cluster.
    pub(super) in_cluster: bool,
}

/// Why a host was not used.
enum Reject {
    /// Another host may do.
    Host(String),
    /// Another host may do, but this error says more than that of the others.
    Unsuitable(Error),
    /// Another host would not help.
    Final(Error),
}

impl Redis {
    /// Connects to this host, or else to the first one of the URL that is a primary.
    pub(super) async fn connect(
        &self,
        host: Option<&Host>,
        woken: &Arc<Notify>,
    ) -> Result<Accepted, Error> {
        let hosts = match host {
            Some(host) => std::slice::from_ref(host),
            None => &self.settings.hosts,
        };
        let limit = self.settings.connect_timeout;
        let (mut reasons, mut unsuitable) = (Vec::new(), None);
        for host in hosts {
            let attempt = tokio::time::timeout(limit, self.try_host(host, woken)).await;
            let silent = || Reject::Host(format!("no answer within {}", spoken(limit)));
            match attempt.unwrap_or_else(|_| Err(silent())) {
                Ok(accepted) => return Ok(accepted),
                Err(Reject::Final(error)) => return Err(error),
                Err(Reject::Unsuitable(error)) => unsuitable = Some(error),
                Err(Reject::Host(why)) => reasons.push(format!("{host}: {why}")),
            }
        }
        let why = format!("{}; {}", reasons.join("; "), crate::error::NOT_REACHED);
        Err(unsuitable.unwrap_or_else(|| self.unreachable(why)))
    }

    async fn try_host(&self, host: &Host, woken: &Arc<Notify>) -> Result<Accepted, Reject> {
        let stream = self.stream(host).await?;
        let link = Link::new(&self.login(), stream, woken.clone()).await;
        let link = link.map_err(|failure| self.rejected(host, failure))?;
        let answer = link.command(cmd("HELLO"), COMMAND).await;
        let server = answer.map_err(|failure| self.rejected(host, failure))?;
        if field(&server, "mode").as_deref() == Some("sentinel") {
            return Err(Reject::Unsuitable(self.unsuitable(format!(
                "{host}: this is a Sentinel; name the servers that it watches: host1,host2"
            ))));
        }
        if field(&server, "role").as_deref() != Some("master") {
            return Err(Reject::Unsuitable(self.replica(host)));
        }
        Ok(Accepted {
            link,
            host: host.clone(),
            in_cluster: field(&server, "mode").as_deref() == Some("cluster"),
        })
    }

    async fn stream(&self, host: &Host) -> Result<Box<dyn Stream>, Reject> {
        let failed = |error: io::Error| match Error::of_limit(self.shown(), &error) {
            Some(error) => Reject::Final(error),
            None => Reject::Host(error.to_string()),
        };
        let silence = self.settings.ttl;
        if host.is_directory() {
            // Here it is the socket itself.
            let socket = stream::unix(Path::new(&host.name)).await;
            return Ok(Box::new(socket.map_err(failed)?));
        }
        let port = host.port.unwrap_or(PORT);
        let limit = self.settings.connect_timeout;
        let found = stream::addresses(&host.name, port, limit).await;
        let mut reason = Reject::Host("the name has no address".to_owned());
        for address in found.map_err(failed)? {
            let stream = match stream::tcp(address, silence).await {
                Ok(stream) => stream,
                Err(error) => {
                    reason = failed(error);
                    continue;
                }
            };
            let Some(certificates) = &self.certificates else {
                return Ok(Box::new(stream));
            };
            let tls = certificates.tls(&host.name).map_err(|why| {
                Reject::Final(self.unsuitable(format!("TLS cannot be set up: {why}")))
            })?;
            let encrypted = tls.encrypt(stream).await.map_err(|error| {
                let why = format!("{host}: {error}; check ca= and the host's name");
                Reject::Final(self.credentials(why))
            })?;
            return Ok(Box::new(encrypted));
        }
        Err(reason)
    }

    fn login(&self) -> RedisConnectionInfo {
        let settings = &self.settings;
        let login = RedisConnectionInfo::default()
            .set_protocol(ProtocolVersion::RESP3)
            .set_lib_name("holdlock", env!("CARGO_PKG_VERSION"))
            .set_db(settings.database);
        let login = match &settings.user {
            Some(user) => login.set_username(user),
            None => login,
        };
        match (&settings.password, &settings.user) {
            (Some(password), _) => login.set_password(password.reveal()),
            // A user without a password accepts any.
            (None, Some(_)) => login.set_password(""),
            (None, None) => login,
        }
    }

    /// What a failed login means.
    fn rejected(&self, host: &Host, failure: Failure) -> Reject {
        let database = self.settings.database;
        match failure {
            Failure::Refused(code, why) if code == "ERR" && database != 0 => {
                Reject::Unsuitable(self.unsuitable(format!(
                    "{host}: database {database} cannot be used: {why}; name another one in the \
                     URL: redis://host/0#name"
                )))
            }
            Failure::Refused(code, why) => match self.refused(host, &code, &why, "logging in") {
                Error::Unreachable { .. } => Reject::Host(format!("{code} {why}")),
                error @ Error::Unsuitable { .. } => Reject::Unsuitable(error),
                error => Reject::Final(error),
            },
            other => Reject::Host(other.to_string()),
        }
    }

    /// The error for an answer that is none.
    pub(super) fn refused(
        &self,
        host: &Host,
        code: &str,
        why: &str,
        operation: &'static str,
    ) -> Error {
        match code {
            "WRONGPASS" | "NOAUTH" if self.settings.password.is_none() => {
                self.credentials(format!(
                    "{host}: the server asks for a password; put it into a file that \
                     {PASSWORD_FILE} names"
                ))
            }
            "WRONGPASS" | "NOAUTH" => {
                let user = self.settings.user.as_deref().unwrap_or("default");
                let user = holdlock::inspect::printable(user);
                self.credentials(format!(
                    "{host}: {}; check the user ({user}) and the password",
                    why.trim_end_matches('.')
                ))
            }
            "NOPERM" => {
                let user = self.settings.user.as_deref().unwrap_or("default");
                let user = holdlock::inspect::printable(user);
                self.credentials(format!(
                    "{host}: {why}; grant it: ACL SETUSER {user} ~{{holdlock:* ~holdlock:* \
                     &{{holdlock:* +@read +@write +@scripting +@pubsub +@connection +info +time \
                     +wait"
                ))
            }
            "NONUMBER" => {
                let (field, key) = why.split_once(' ').unwrap_or((why, ""));
                self.unsuitable(format!(
                    "{host}: the field {field} of the key {key} is no number: another program has \
                     written it; remove it: HDEL '{key}' {field}"
                ))
            }
            // In Redis 6 it is an error of the script.
            code if code == "WRONGTYPE" || why.contains("WRONGTYPE ") => {
                let name = holdlock::inspect::printable(&self.settings.name);
                self.unsuitable(format!(
                    "{host}: a key is of another type than holdlock has made it: another program \
                     has written it; look at holdlock:server and the keys '{{holdlock:{name}}}:*', \
                     and remove that key by DEL"
                ))
            }
            "READONLY" => self.replica(host),
            "NOPROTO" => self.unsuitable(format!(
                "{host}: {why}; holdlock needs Redis 6 or later, or Valkey"
            )),
            "LOADING" | "BUSY" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" | "ASK" | "MOVED" => {
                self.unreachable(format!("{host}: {code} {why}; try again later"))
            }
            _ => Error::Failed {
                lock: self.shown().to_owned(),
                operation,
                why: format!("{host}: {code} {why}{}", remedy(code)),
            },
        }
    }

    fn replica(&self, host: &Host) -> Error {
        self.unsuitable(format!(
            "{host}: this is a replica, which keeps no locks; name the primary in the URL, or all \
             hosts: host1,host2"
        ))
    }

    pub(super) fn unreachable(&self, why: String) -> Error {
        Error::Unreachable {
            lock: self.shown().to_owned(),
            why,
        }
    }

    pub(super) fn unsuitable(&self, why: String) -> Error {
        Error::Unsuitable {
            lock: self.shown().to_owned(),
            why,
        }
    }

    fn credentials(&self, why: String) -> Error {
        Error::Credentials {
            lock: self.shown().to_owned(),
            why,
        }
    }
}

fn remedy(code: &str) -> &'static str {
    match code {
        "OOM" => "; free memory, or raise maxmemory",
        "MISCONF" => "; see why the server cannot write its file (disk full?)",
        "NOREPLICAS" => "; see why its replicas are away",
        _ => "",
    }
}

/// A field of the answer to HELLO.
fn field(answer: &Value, name: &str) -> Option<String> {
    let Value::Map(fields) = answer else {
        return None;
    };
    let text = |value: &Value| redis::from_redis_value_ref::<String>(value).ok();
    let found = fields
        .iter()
        .find(|(key, _)| text(key).as_deref() == Some(name));
    found.and_then(|(_, value)| text(value))
}
