//! Getting a connection to a server that can keep a lock: finding the primary, logging in.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use redis::{ProtocolVersion, RedisConnectionInfo, Value, cmd};
use tokio::sync::Notify;

use super::Redis;
use super::client::is_of_replica;
use super::given_up::{Forgetful, GivenUp};
use super::link::{Failure, Link};
use super::settings::PORT;
use crate::Error;
use crate::duration::spoken;
use crate::error::one_line;
use crate::race;
use crate::secret::PASSWORD_FILE;
use crate::stream::{self, Stream};
use crate::tls::Check;
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

/// Why there is no connection to a primary.
pub(super) struct NoPrimary {
    pub(super) error: Error,
    /// All hosts answer as replicas.
    pub(super) only_replicas: bool,
}

impl From<NoPrimary> for Error {
    fn from(none: NoPrimary) -> Error {
        none.error
    }
}

/// Why a host was not used.
enum Reject {
    /// The host, or one of its addresses, did not answer as a server does.
    Host(String),
    /// The host is a replica. If another host does not answer, that may be the primary, or this
    /// becomes it in a moment.
    Replica(Error),
    /// This error says more than that of hosts that did not answer.
    Unsuitable(Error),
    /// This error is for the user to mend, and says more than any other.
    Final(Error),
}

impl Reject {
    /// The one that says the most.
    fn of_all(rejects: Vec<Reject>) -> Reject {
        let (mut reasons, mut replica, mut unsuitable) = (Vec::new(), None, None);
        for reject in rejects {
            match reject {
                Reject::Final(_) => return reject,
                Reject::Unsuitable(_) => unsuitable = Some(reject),
                Reject::Replica(error) => replica = Some(error),
                Reject::Host(why) if reasons.contains(&why) => {}
                Reject::Host(why) => reasons.push(why),
            }
        }
        match (unsuitable, replica) {
            (Some(unsuitable), _) => unsuitable,
            (None, Some(error)) if reasons.is_empty() => Reject::Replica(error),
            (None, Some(_)) => Reject::Host(format!(
                "{}; only a replica answers, which keeps no locks",
                reasons.join("; ")
            )),
            (None, None) => Reject::Host(reasons.join("; ")),
        }
    }
}

impl Redis {
    /// Connects to this host, or else to the one of the URL that first answers as a primary. Each
    /// has a head start before the next.
    pub(super) async fn connect(
        self: &Arc<Redis>,
        host: Option<&Host>,
        woken: &Arc<Notify>,
    ) -> Result<Accepted, NoPrimary> {
        let hosts = match host {
            Some(host) => vec![host.clone()],
            None => self.settings.hosts.clone(),
        };
        let limit = self.settings.connect_timeout;
        let tries = hosts.into_iter().map(|host| {
            let (redis, woken) = (self.clone(), woken.clone());
            async move {
                let attempt = redis.clone().try_host(&host, &woken);
                let attempt = tokio::time::timeout(limit, attempt).await;
                let silent = || Reject::Host(format!("no answer within {}", spoken(limit)));
                attempt
                    .unwrap_or_else(|_| Err(silent()))
                    .map_err(|reject| match reject {
                        Reject::Host(why) => Reject::Host(format!("{host}: {why}")),
                        other => other,
                    })
            }
        });
        let found = race::first(tries).await;
        found.map_err(|rejects| {
            let reject = Reject::of_all(rejects);
            NoPrimary {
                only_replicas: matches!(reject, Reject::Replica(_)),
                error: match reject {
                    Reject::Host(why) => {
                        self.unreachable(format!("{why}; {}", crate::error::NOT_REACHED))
                    }
                    Reject::Replica(error) | Reject::Unsuitable(error) | Reject::Final(error) => {
                        error
                    }
                },
            }
        })
    }

    async fn try_host(
        self: Arc<Redis>,
        host: &Host,
        woken: &Arc<Notify>,
    ) -> Result<Accepted, Reject> {
        if host.is_directory() {
            // Here it is the socket itself.
            let socket = stream::unix(Path::new(&host.name)).await;
            let socket = socket.map_err(|error| self.not_connected(&error))?;
            return self
                .greet(host, Box::new(socket), GivenUp::default(), woken)
                .await;
        }
        let limit = self.settings.connect_timeout;
        let found = stream::addresses(&host.name, host.port.unwrap_or(PORT), limit).await;
        let found = found.map_err(|error| self.not_connected(&error))?;
        self.try_addresses(host, found, woken).await
    }

    /// One of them may belong to a server that is dead.
    async fn try_addresses(
        self: Arc<Redis>,
        host: &Host,
        addresses: Vec<SocketAddr>,
        woken: &Arc<Notify>,
    ) -> Result<Accepted, Reject> {
        if addresses.is_empty() {
            return Err(Reject::Host("the name has no address".to_owned()));
        }
        let tries = addresses.into_iter().map(|address| {
            let (redis, host, woken) = (self.clone(), host.clone(), woken.clone());
            async move {
                let given_up = GivenUp::default();
                let stream = redis.stream(&host, address, &given_up).await?;
                redis.greet(&host, stream, given_up, &woken).await
            }
        });
        race::first(tries).await.map_err(Reject::of_all)
    }

    async fn stream(
        &self,
        host: &Host,
        address: SocketAddr,
        given_up: &GivenUp,
    ) -> Result<Box<dyn Stream>, Reject> {
        let stream = stream::tcp(address, self.settings.ttl).await;
        let stream = stream.map_err(|error| self.not_connected(&error))?;
        let stream = Forgetful::new(stream, given_up.clone());
        let Some(certificates) = &self.certificates else {
            return match self.settings.tls.check {
                Check::NoTls => Ok(Box::new(stream)),
                _ => Err(Reject::Final(self.unsuitable(
                    "TLS cannot be set up: there is no certificate to check the server by; give \
                     ca=FILE"
                        .to_owned(),
                ))),
            };
        };
        let tls = certificates.tls(&host.name).map_err(|why| {
            Reject::Final(self.unsuitable(format!("TLS cannot be set up: {why}")))
        })?;
        let encrypted = tls.encrypt(stream).await.map_err(|error| {
            let why = one_line(&error.to_string());
            match error.kind() {
                io::ErrorKind::InvalidData => Reject::Final(
                    self.credentials(format!("{host}: {why}; check ca= and the host's name")),
                ),
                // The server behind a proxy may be dead.
                _ => Reject::Host(format!("the connection ended in the TLS handshake: {why}")),
            }
        })?;
        Ok(Box::new(encrypted))
    }

    fn not_connected(&self, error: &io::Error) -> Reject {
        match Error::of_limit(self.shown(), error) {
            Some(error) => Reject::Final(error),
            None => Reject::Host(error.to_string()),
        }
    }

    /// Logs in, and asks whether this is a primary.
    async fn greet(
        &self,
        host: &Host,
        stream: Box<dyn Stream>,
        given_up: GivenUp,
        woken: &Arc<Notify>,
    ) -> Result<Accepted, Reject> {
        let link = Link::new(&self.login(), stream, given_up, woken.clone()).await;
        let link = link.map_err(|failure| self.rejected(host, failure))?;
        let answer = link.command(cmd("HELLO"), COMMAND).await;
        let server = answer.map_err(|failure| self.rejected(host, failure))?;
        if field(&server, "mode").as_deref() == Some("sentinel") {
            return Err(Reject::Unsuitable(self.unsuitable(format!(
                "{host}: this is a Sentinel; name the servers that it watches: host1,host2"
            ))));
        }
        if field(&server, "role").as_deref() != Some("master") {
            return Err(Reject::Replica(self.replica(host)));
        }
        Ok(Accepted {
            link,
            host: host.clone(),
            in_cluster: field(&server, "mode").as_deref() == Some("cluster"),
        })
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
            code if is_of_replica(code) => self.replica(host),
            "NOPROTO" => self.unsuitable(format!(
                "{host}: {why}; holdlock needs Redis 6 or later, or Valkey"
            )),
            "LOADING" | "BUSY" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" | "ASK" | "MOVED" => {
                self.unreachable(format!("{host}: {code} {why}; try again later"))
            }
            // A new primary has none for a moment. In Redis 6 it is an error of the script.
            code if code == "NOREPLICAS" || why.contains("NOREPLICAS ") => self.unreachable(
                format!("{host}: {code} {why}; see why its replicas are away, or try again later"),
            ),
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

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::time::Instant;

    use super::*;
    use crate::url::Url;

    /// A primary that says no more than that it is one.
    fn primary(listener: TcpListener) {
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = stream.read(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..length]);
                for line in text.lines() {
                    let answer = match line {
                        "HELLO" => "%2\r\n+mode\r\n+standalone\r\n+role\r\n+master\r\n",
                        "CLIENT" => "+OK\r\n",
                        _ => continue,
                    };
                    stream.write_all(answer.as_bytes()).expect("sent");
                }
            }
        });
    }

    /// Whether a primary behind an address that says nothing is found in five seconds.
    fn is_found_behind_a_silent_address() -> bool {
        let listen = || TcpListener::bind("127.0.0.1:0").expect("a port");
        // The first one lets clients connect, and says nothing.
        let (silent, alive) = (listen(), listen());
        let at = |listener: &TcpListener| listener.local_addr().expect("an address");
        let addresses = vec![at(&silent), at(&alive)];
        primary(alive);
        let url = Url::parse("redis://h#n").expect("a URL");
        let redis = Arc::new(Redis::new(&url).expect("settings"));
        let host = redis.settings.hosts[0].clone();
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().expect("a runtime");
        let (began, woken) = (Instant::now(), Arc::default());
        let found = redis.try_addresses(&host, addresses, &woken);
        let found = async { tokio::time::timeout(COMMAND, found).await };
        let found = tokio::task::LocalSet::new().block_on(&runtime, found);
        println!("after {:?}", began.elapsed());
        found.is_ok_and(|found| found.is_ok())
    }

    #[test]
    fn a_dead_first_address_of_a_name_does_not_hide_the_second() {
        // A slow machine may need longer once.
        assert!((0..3).any(|_| is_found_behind_a_silent_address()));
    }
}
