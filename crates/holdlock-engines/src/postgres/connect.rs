//! Getting a session that can keep a lock: connecting, logging in, and refusing what is unsafe.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio_postgres::Config;
use tokio_postgres::config::SslMode;

use super::Postgres;
use super::link::{Failure, Link, reason};
use super::wire::PerhapsTls;
use crate::Error;
use crate::duration::spoken;
use crate::engine::Service;
use crate::stream::{self, Address, Limits, Stream};
use crate::tls::Check;
use crate::url::Host;

/// How often a server that is starting up is asked again.
const STARTING_UP: Duration = Duration::from_millis(200);
/// How long a statement may take that does not wait for a lock.
pub(super) const STATEMENT: Duration = Duration::from_secs(5);

/// Where one connection goes.
#[derive(Clone, Debug)]
pub(super) struct Target {
    address: Address,
    ttl: Duration,
}

impl Target {
    pub(super) async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        self.connect_from().await.map(|(stream, _)| stream)
    }

    /// Also our own port, if it is TCP.
    async fn connect_from(&self) -> io::Result<(Box<dyn Stream>, Option<u16>)> {
        Ok(match &self.address {
            // The same limits as on the server's side.
            Address::Tcp(address) => {
                let stream = stream::tcp(*address, self.ttl).await?;
                let port = stream.local_port();
                (Box::new(stream), port)
            }
            Address::Unix(path) => (Box::new(stream::unix(path).await?), None),
        })
    }
}

/// A session that was accepted.
pub(super) struct Accepted {
    pub(super) link: Link,
    /// The server gives no locks before this moment: it has forgotten its locks a moment ago.
    pub(super) quarantine: Option<Instant>,
    pub(super) version: u32,
}

/// Why a host was not used.
enum Reject {
    /// Another host may do.
    Host(String),
    /// The host is a standby. If another host does not answer, that may be the primary, or this
    /// becomes it in a moment.
    Standby(Error),
    /// Another host would not help.
    Final(Error),
}

impl Postgres {
    /// Connects to the first host that will do.
    pub(super) async fn connect(&self) -> Result<Accepted, Error> {
        let mut reasons = Vec::new();
        let (mut standby, mut unsuitable) = (None, None);
        for host in &self.settings.hosts {
            let found = addresses(host, self.settings.connect_timeout).await;
            let found = found.or_else(|error| match self.rejected(&error) {
                Reject::Final(error) | Reject::Standby(error) => Err(error),
                Reject::Host(why) => {
                    reasons.push(format!("{host}: {why}"));
                    Ok(Vec::new())
                }
            });
            for address in found? {
                let target = Target {
                    address,
                    ttl: self.settings.ttl,
                };
                match self.try_target(host, &target).await {
                    Ok(accepted) => return Ok(accepted),
                    Err(Reject::Standby(error)) => standby = Some(error),
                    Err(Reject::Final(error @ Error::Unsuitable { .. })) => {
                        unsuitable = Some(error);
                    }
                    Err(Reject::Final(error)) => return Err(error),
                    Err(Reject::Host(why)) => reasons.push(format!("{host}: {why}")),
                }
            }
        }
        match (unsuitable, standby) {
            (Some(error), _) => return Err(error),
            (None, Some(error)) if reasons.is_empty() => return Err(error),
            (None, Some(_)) => {
                reasons.push("only a standby answers, which keeps no locks".to_owned());
            }
            (None, None) => {}
        }
        let why = format!("{}; {}", reasons.join("; "), crate::error::NOT_REACHED);
        Err(self.unreachable(why))
    }

    async fn try_target(&self, host: &Host, target: &Target) -> Result<Accepted, Reject> {
        let limit = self.settings.connect_timeout;
        let began = Instant::now();
        loop {
            let attempt = tokio::time::timeout(limit, self.login(host, target)).await;
            match attempt {
                Err(_) => return Err(Reject::Host(format!("no answer within {}", spoken(limit)))),
                // The server is starting up.
                Ok(Err(Login::Later(why))) if began.elapsed() > limit => {
                    return Err(Reject::Host(why));
                }
                Ok(Err(Login::Later(_))) => tokio::time::sleep(STARTING_UP).await,
                Ok(Err(Login::Rejected(reject))) => return Err(reject),
                Ok(Ok((link, version))) => return self.accept(host, link, version).await,
            }
        }
    }

    async fn login(&self, host: &Host, target: &Target) -> Result<(Link, u32), Login> {
        let failed = |error: io::Error| Login::Rejected(self.rejected(&error));
        let (stream, port) = target.connect_from().await.map_err(failed)?;
        let tls = self
            .tls(host)
            .map_err(|why| Login::Rejected(Reject::Final(self.bad_tls(why))))?;
        let config = self.config(host);
        let connected = config.connect_raw(stream, tls.clone()).await;
        let (client, connection) = connected.map_err(|error| self.refused(host, &error))?;
        let version = connection.parameter("server_version").unwrap_or_default();
        let version = version.split(|c: char| !c.is_ascii_digit()).next();
        let version = version
            .and_then(|version| version.parse().ok())
            .unwrap_or(0);
        let link = Link::new(client, connection, target.clone(), tls, port);
        Ok((link, version))
    }

    /// What a failed connection means.
    fn rejected(&self, error: &io::Error) -> Reject {
        match Error::of_limit(self.shown(), error) {
            Some(error) => Reject::Final(error),
            None => Reject::Host(error.to_string()),
        }
    }

    fn config(&self, host: &Host) -> Config {
        let settings = &self.settings;
        let mut config = Config::new();
        config.user(&settings.user).dbname(&settings.database);
        // The server shows 63 bytes, replaces what is not ASCII, and refuses what is very long.
        let name: String = settings.name.chars().take(63).collect();
        config.application_name(format!("holdlock:{name}"));
        if let Some(password) = settings.password(host) {
            config.password(password.reveal());
        }
        if let Some(options) = &settings.options {
            config.options(options);
        }
        config.ssl_mode(match settings.tls.check {
            _ if host.is_directory() => SslMode::Disable,
            Check::NoTls => SslMode::Disable,
            Check::Nothing { required: false } => SslMode::Prefer,
            _ => SslMode::Require,
        });
        config
    }

    fn tls(&self, host: &Host) -> Result<PerhapsTls, String> {
        let certificates = self.certificates.as_ref();
        let used = certificates.filter(|_| !host.is_directory());
        let tls = used.map(|certificates| certificates.tls(&host.name));
        Ok(PerhapsTls(tls.transpose()?))
    }

    fn bad_tls(&self, why: String) -> Error {
        Error::Unsuitable {
            lock: self.shown().to_owned(),
            why: format!("TLS cannot be set up: {why}"),
        }
    }

    /// What a failed login means.
    fn refused(&self, host: &Host, error: &tokio_postgres::Error) -> Login {
        let why = reason(error);
        let code = error.code().map(|code| code.code()).unwrap_or_default();
        let lock = || self.shown().to_owned();
        let kind = error.to_string();
        let no_password = kind == "invalid configuration";
        Login::Rejected(match code {
            "57P03" => return Login::Later(why),
            "3D000" => Reject::Final(Error::Unsuitable {
                lock: lock(),
                why: format!("{why}; create the database, or name another one in the URL"),
            }),
            "42501" => Reject::Final(Error::Credentials {
                lock: lock(),
                why: format!("{host}: {why}; grant it, or leave it out of options="),
            }),
            // A setting of the URL: the server would say the same the next time.
            _ if ["22", "42"].contains(&code.get(..2).unwrap_or_default()) || code == "55P02" => {
                Reject::Final(Error::Unsuitable {
                    lock: lock(),
                    why: format!("{host}: {why}; check options= and PGOPTIONS"),
                })
            }
            _ if code.starts_with("28") || kind == "authentication error" || no_password => {
                let user = holdlock::inspect::printable(&self.settings.user);
                let remedy = match no_password {
                    true => format!(
                        "put the password into ~/.pgpass as *:*:*:{user}:PASSWORD, or into a file \
                         that {} names",
                        crate::secret::PASSWORD_FILE
                    ),
                    false => format!("check the user ({user}), the password and pg_hba.conf"),
                };
                let why = if no_password {
                    "the server asks for a password".to_owned()
                } else {
                    why
                };
                Reject::Final(Error::Credentials {
                    lock: lock(),
                    why: format!("{host}: {why}; {remedy}"),
                })
            }
            _ if ended_in_handshake(error) => Reject::Host(why),
            _ if kind == "error performing TLS handshake" => Reject::Final(Error::Credentials {
                lock: lock(),
                why: format!("{host}: {why}; check sslmode=, ca= and the host's name"),
            }),
            "53300" => Reject::Host(format!(
                "{why}; raise max_connections, or end other sessions"
            )),
            _ => Reject::Host(why),
        })
    }

    /// Sets the session up, and looks whether it can keep a lock.
    async fn accept(&self, host: &Host, link: Link, version: u32) -> Result<Accepted, Reject> {
        let unsuitable = |why: String| Error::Unsuitable {
            lock: self.shown().to_owned(),
            why: format!("{host}: {why}"),
        };
        if version < 12 {
            return Err(Reject::Final(unsuitable(
                "PostgreSQL before version 12 has no limit for dead connections \
                 (tcp_user_timeout); update the server"
                    .to_owned(),
            )));
        }
        let failed = |failure: Failure| match failure {
            Failure::Refused(_, why) => {
                Reject::Final(unsuitable(format!("setting up the session failed: {why}")))
            }
            other => Reject::Host(other.to_string()),
        };
        let ttl = self.settings.ttl;
        let answer = link.query(setup(ttl, version), STATEMENT).await;
        let rows = answer.map_err(failed)?;
        let row = rows.last().cloned().unwrap_or_default();
        let field = |index: usize| row.get(index).cloned().flatten();
        let pid: Option<i32> = field(0).and_then(|pid| pid.parse().ok());
        if !self.settings.pooler_is_for_sessions
            && (pid.is_none() || pid != link.backend_pid().await)
        {
            return Err(Reject::Final(unsuitable(
                "this is a pooler, which may give the session of one client to another, and with \
                 it the lock; connect to PostgreSQL's own port, or add pooler=session to the URL \
                 if the pooler keeps a session for each client"
                    .to_owned(),
            )));
        }
        if field(1).as_deref() != Some("f") {
            return Err(Reject::Standby(unsuitable(
                "this is a standby, whose locks are not those of the primary; name the primary \
                 in the URL, or all hosts: host1,host2"
                    .to_owned(),
            )));
        }
        let age = field(2)
            .and_then(|age| age.parse::<f64>().ok())
            .unwrap_or(0.0);
        let age = Duration::try_from_secs_f64(age).unwrap_or_default();
        let left = ttl.checked_sub(age).filter(|left| !left.is_zero());
        Ok(Accepted {
            link,
            quarantine: left.map(|left| Instant::now() + left),
            version,
        })
    }

    pub(super) fn unreachable(&self, why: String) -> Error {
        Error::Unreachable {
            lock: self.shown().to_owned(),
            why,
        }
    }
}

enum Login {
    Later(String),
    Rejected(Reject),
}

/// Whether the connection ended, as a proxy ends it whose server is dead. A wrong certificate is
/// invalid data.
fn ended_in_handshake(error: &tokio_postgres::Error) -> bool {
    let cause = std::error::Error::source(error);
    let cause = cause.and_then(|cause| cause.downcast_ref::<io::Error>());
    error.to_string() == "error performing TLS handshake"
        && cause.is_some_and(|cause| cause.kind() != io::ErrorKind::InvalidData)
}

/// The socket in the directory that a host is.
pub(super) fn socket(host: &Host) -> PathBuf {
    Path::new(&host.name).join(format!(".s.PGSQL.{}", port(host)))
}

fn port(host: &Host) -> u16 {
    host.port.unwrap_or(5432)
}

async fn addresses(host: &Host, limit: Duration) -> io::Result<Vec<Address>> {
    if host.is_directory() {
        return Ok(vec![Address::Unix(socket(host))]);
    }
    let found = stream::addresses(&host.name, port(host), limit).await?;
    Ok(found.into_iter().map(Address::Tcp).collect())
}

/// The session's settings, all of which an ordinary user may change, and what the session is asked.
///
/// The server forgets its locks when it starts, and also when it restarts its processes after one
/// of them has crashed. The statistics are reset then, so the younger of the two is its age.
fn setup(ttl: Duration, version: u32) -> String {
    let limits = Limits::of(ttl);
    let mut settings = vec![
        ("tcp_keepalives_idle", limits.idle.as_secs().to_string()),
        (
            "tcp_keepalives_interval",
            limits.interval.as_secs().to_string(),
        ),
        ("tcp_keepalives_count", Limits::COUNT.to_string()),
        ("tcp_user_timeout", format!("'{}s'", ttl.as_secs())),
        ("statement_timeout", "0".to_owned()),
        ("lock_timeout", "0".to_owned()),
        ("idle_in_transaction_session_timeout", "0".to_owned()),
        // The token is written to the log of the server.
        ("default_transaction_read_only", "off".to_owned()),
        (
            "default_transaction_isolation",
            "'read committed'".to_owned(),
        ),
        ("client_min_messages", "error".to_owned()),
    ];
    if version >= 14 {
        // A client that is killed while it waits leaves the queue within this time.
        settings.push(("client_connection_check_interval", "'1s'".to_owned()));
        settings.push(("idle_session_timeout", "0".to_owned()));
    }
    if version >= 17 {
        settings.push(("transaction_timeout", "0".to_owned()));
    }
    let mut text = String::new();
    for (name, value) in settings {
        text.push_str(&format!("SET {name} = {value}; "));
    }
    text + "SELECT set_config('synchronous_commit', 'on', false) \
            WHERE current_setting('synchronous_commit') IN ('off', 'local'); \
            SELECT pg_backend_pid(), pg_is_in_recovery(), \
            extract(epoch FROM clock_timestamp() - greatest(pg_postmaster_start_time(), \
            (SELECT stats_reset FROM pg_stat_bgwriter)))"
}
