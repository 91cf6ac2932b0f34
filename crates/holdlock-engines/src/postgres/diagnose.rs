//! Whether this server is a safe place for locks.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::Postgres;
use super::connect::Accepted;
use super::runs;
use super::service::field;
use crate::duration::spoken;
use crate::tls::Check;
use crate::{Error, Finding, Level};

/// Later versions remove killed waiters at once.
const GOOD: u32 = 14;
/// How many round trips are measured.
const TRIPS: u32 = 5;
/// How far the clocks may be apart.
const APART: f64 = 2.0;

pub(super) async fn diagnose(postgres: &Postgres) -> Result<Vec<Finding>, Error> {
    let began = Instant::now();
    let accepted = postgres.connect().await?;
    let facts = Facts {
        connected: began.elapsed(),
        ..Facts::read(postgres, &accepted).await?
    };
    let mut findings = vec![
        version(&facts),
        session(postgres),
        role(&facts),
        silence(postgres, &facts),
        standbys(&facts),
        persistence(&facts),
    ];
    findings.extend(young(&accepted));
    findings.extend([tls(postgres, &facts), proxy(&facts), clock(&facts)]);
    findings.extend([latency(postgres, &facts), room(&facts), table(&facts)]);
    Ok(findings)
}

/// What the server says.
#[derive(Default)]
struct Facts {
    version: String,
    number: u32,
    sees_others: bool,
    /// Through a socket of this host.
    is_local: bool,
    is_loopback: bool,
    user_timeout: String,
    fsync: bool,
    standbys: u32,
    synchronous: String,
    encrypted: Option<String>,
    ports: (Option<u16>, Option<u16>),
    clock: f64,
    used: u32,
    most: u32,
    has_table: bool,
    connected: Duration,
    trip: Duration,
}

const QUESTION: &str = "SELECT current_setting('server_version'), \
    pg_has_role(current_user, 'pg_read_all_stats', 'member'), \
    inet_client_addr() IS NULL, \
    coalesce(inet_client_addr() <<= '127.0.0.0/8' OR inet_client_addr() = '::1', false), \
    current_setting('tcp_user_timeout'), \
    current_setting('fsync') = 'on', \
    (SELECT count(*) FROM pg_stat_replication), \
    current_setting('synchronous_standby_names'), \
    (SELECT s.version FROM pg_stat_ssl s WHERE s.pid = pg_backend_pid() AND s.ssl), \
    inet_client_port(), \
    (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'), \
    current_setting('max_connections')::int8 \
      - current_setting('superuser_reserved_connections')::int8, ";

impl Facts {
    async fn read(postgres: &Postgres, accepted: &Accepted) -> Result<Facts, Error> {
        let question = format!("{QUESTION}{}", runs::IS_THERE);
        let rows = postgres.ask(&accepted.link, "examining the server", question);
        let rows = rows.await?;
        let row = rows.last().cloned().unwrap_or_default();
        let text = |index: usize| field(&row, index).unwrap_or_default().to_owned();
        let is = |index: usize| field(&row, index) == Some("t");
        let number = |index: usize| text(index).parse().unwrap_or(0);
        let mut facts = Facts {
            version: text(0),
            number: accepted.version,
            sees_others: is(1),
            is_local: is(2),
            is_loopback: is(3),
            user_timeout: text(4),
            fsync: is(5),
            standbys: number(6),
            synchronous: text(7),
            encrypted: field(&row, 8).map(str::to_owned),
            ports: (accepted.link.port(), text(9).parse().ok()),
            used: number(10),
            most: number(11),
            has_table: is(12),
            trip: Duration::MAX,
            ..Facts::default()
        };
        for _ in 0..TRIPS {
            let (sent, by_ours) = (Instant::now(), SystemTime::now());
            let ask = "SELECT extract(epoch FROM clock_timestamp())".to_owned();
            let rows = postgres
                .ask(&accepted.link, "reading the clock", ask)
                .await?;
            let trip = sent.elapsed();
            let theirs = rows
                .last()
                .and_then(|row| field(row, 0)?.parse::<f64>().ok());
            let ours = by_ours.duration_since(UNIX_EPOCH).unwrap_or_default() + trip / 2;
            if trip < facts.trip
                && let Some(theirs) = theirs
            {
                facts.clock = theirs - ours.as_secs_f64();
                facts.trip = trip;
            }
        }
        Ok(facts)
    }
}

fn version(facts: &Facts) -> Finding {
    let found = format!("PostgreSQL {}", facts.version);
    match facts.number >= GOOD {
        true => Finding::new(Level::Ok, "version", found),
        false => Finding::new(
            Level::Warning,
            "version",
            format!("{found}: a killed or stopped waiter may keep those behind it waiting"),
        )
        .remedy("update to PostgreSQL 14 or later"),
    }
}

/// A pooler without the option was refused before.
fn session(postgres: &Postgres) -> Finding {
    match postgres.settings.pooler_is_for_sessions {
        false => Finding::new(
            Level::Ok,
            "pooler",
            "the connection goes to the server itself: no pooler can give its session away",
        ),
        true => Finding::new(
            Level::Warning,
            "pooler",
            "pooler=session is trusted: whether the pooler keeps a session for each client was \
             not examined",
        )
        .remedy("connect to the port of PostgreSQL itself, and leave the option out"),
    }
}

fn role(facts: &Facts) -> Finding {
    match facts.sees_others {
        true => Finding::new(
            Level::Ok,
            "visibility",
            "this user sees the holders and waiters of all users",
        ),
        false => Finding::new(
            Level::Note,
            "visibility",
            "this user sees only that holders of other users of the database exist, not who they \
             are",
        )
        .remedy("use one user for all, or GRANT pg_read_all_stats"),
    }
}

/// Whether the server notices a dead client in time.
fn silence(postgres: &Postgres, facts: &Facts) -> Finding {
    let ttl = postgres.settings.ttl;
    let id = "dead-clients";
    let has_limit = !["", "0"].contains(&facts.user_timeout.as_str());
    if facts.is_local {
        Finding::new(
            Level::Ok,
            id,
            "a socket of this host: the server notices the end of a client at once",
        )
    } else if has_limit {
        let found = format!(
            "the server frees the lock of a silent host after {}",
            spoken(ttl)
        );
        Finding::new(Level::Ok, id, found)
    } else {
        Finding::new(
            Level::Unsafe,
            id,
            "the server has no time limit for silent hosts (tcp_user_timeout): a lock of a dead \
             host stays for hours, and how long cannot be known",
        )
        .remedy("run PostgreSQL on a system that has the limit, such as Linux")
    }
}

fn standbys(facts: &Facts) -> Finding {
    let id = "failover";
    let names = !facts.synchronous.is_empty();
    match (facts.standbys, names) {
        (0, false) => Finding::new(
            Level::Ok,
            id,
            "no standby is connected: no other server can give the same lock",
        ),
        (_, true) => Finding::new(
            Level::Note,
            id,
            "a standby forgets all locks when it becomes the primary; replication is \
             synchronous, so an old primary that is cut off gives no more locks",
        )
        .remedy("let what the lock protects refuse smaller tokens (HOLDLOCK_TOKEN)"),
        (_, false) => Finding::new(
            Level::Warning,
            id,
            "a standby forgets all locks when it becomes the primary, and repeats the tokens that \
             it has not received; an old primary that is cut off still gives locks",
        )
        .remedy(
            "set synchronous_standby_names, and let what the lock protects refuse smaller tokens \
             (HOLDLOCK_TOKEN)",
        ),
    }
}

fn persistence(facts: &Facts) -> Finding {
    match facts.fsync {
        true => Finding::new(
            Level::Ok,
            "persistence",
            "tokens are in the server's log before they are given out, so they rise over crashes",
        ),
        false => Finding::new(
            Level::Warning,
            "persistence",
            "fsync is off: after a crash of the machine, tokens may be given out again",
        )
        .remedy("set fsync = on"),
    }
}

fn young(accepted: &Accepted) -> Option<Finding> {
    let left = accepted
        .quarantine?
        .saturating_duration_since(Instant::now());
    let found = format!(
        "the server was started a moment ago and gives no lock for {} more",
        spoken(left)
    );
    Some(Finding::new(Level::Note, "restart", found))
}

fn tls(postgres: &Postgres, facts: &Facts) -> Finding {
    let id = "tls";
    let is_checked = matches!(
        postgres.settings.tls.check,
        Check::Chain | Check::ChainAndName
    );
    match &facts.encrypted {
        _ if facts.is_local => Finding::new(Level::Ok, id, "a socket of this host needs no TLS"),
        Some(version) if is_checked => Finding::new(
            Level::Ok,
            id,
            format!("{version}, with a certificate that was checked"),
        ),
        Some(version) => Finding::new(
            if facts.is_loopback {
                Level::Ok
            } else {
                Level::Warning
            },
            id,
            format!("{version}, but the server's certificate is not checked"),
        )
        .remedy(
            "add sslmode=verify-full to the URL, and ca= unless the system knows the authority",
        ),
        None if facts.is_loopback => {
            Finding::new(Level::Ok, id, "no TLS, on an address of this host")
        }
        None => Finding::new(
            Level::Warning,
            id,
            "no TLS: others on the network can read and change what is sent",
        )
        .remedy("set ssl = on in the server, and sslmode=verify-full in the URL"),
    }
}

fn proxy(facts: &Facts) -> Finding {
    match facts.ports {
        (Some(ours), Some(theirs)) if ours != theirs => Finding::new(
            Level::Warning,
            "network",
            "a proxy or an address translation lies between: if a proxy ends TCP, the server \
             notices a cut network only when the proxy does",
        )
        .remedy("connect without a TCP proxy (HAProxy, proxies of clouds), if it is one"),
        _ => Finding::new(
            Level::Ok,
            "network",
            "nothing between this host and the server ends the connection",
        ),
    }
}

fn clock(facts: &Facts) -> Finding {
    let apart = facts.clock.abs();
    if apart <= APART {
        let found = format!("the server's clock agrees with ours within {APART} s");
        return Finding::new(Level::Ok, "clock", found);
    }
    let side = if facts.clock > 0.0 {
        "ahead of"
    } else {
        "behind"
    };
    let apart = spoken(Duration::try_from_secs_f64(apart).unwrap_or(Duration::MAX));
    let found = format!(
        "the server's clock is {apart} {side} ours; locks do not depend on it, but times that are \
         shown do"
    );
    Finding::new(Level::Note, "clock", found).remedy("synchronise the clocks (NTP)")
}

fn latency(postgres: &Postgres, facts: &Facts) -> Finding {
    let found = format!(
        "{:.1} ms to connect and log in, {:.1} ms for each question",
        facts.connected.as_secs_f64() * 1e3,
        facts.trip.as_secs_f64() * 1e3
    );
    match facts.trip < postgres.settings.ttl / 20 {
        true => Finding::new(Level::Ok, "latency", found),
        false => Finding::new(
            Level::Warning,
            "latency",
            format!(
                "{found}: much beside a time limit of {}",
                spoken(postgres.settings.ttl)
            ),
        )
        .remedy("add a greater ttl= to the URL, such as ttl=60"),
    }
}

fn room(facts: &Facts) -> Finding {
    let found = format!("{} of {} connections are in use", facts.used, facts.most);
    let is_tight = facts.used.saturating_mul(5) > facts.most.saturating_mul(4);
    match is_tight {
        false => Finding::new(Level::Ok, "connections", found),
        true => Finding::new(
            Level::Warning,
            "connections",
            format!("{found}; each holder and each waiter needs one"),
        )
        .remedy("raise max_connections"),
    }
}

fn table(facts: &Facts) -> Finding {
    match facts.has_table {
        true => Finding::new(Level::Ok, "table", "the table for --at-most-every is there"),
        false => Finding::new(
            Level::Note,
            "table",
            "--at-most-every and --if-abandoned cannot be used: their table is missing",
        )
        .remedy("`holdlock engine init URL` makes it"),
    }
}
