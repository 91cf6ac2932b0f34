//! Whether this server is a safe place for locks.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use redis::{Value, cmd};

use super::Redis;
use super::connect::{Accepted, COMMAND};
use super::link::Failure;
use crate::duration::spoken;
use crate::tls::Check;
use crate::{Error, Finding, Level};

/// How many round trips are measured.
const TRIPS: u32 = 5;
/// How far the clocks may be apart.
const APART: f64 = 2.0;

pub(super) async fn diagnose(redis: &Arc<Redis>) -> Result<Vec<Finding>, Error> {
    let began = Instant::now();
    let accepted = redis.connect(None, &Arc::default()).await?;
    let facts = Facts {
        connected: began.elapsed(),
        ..Facts::read(redis, &accepted).await?
    };
    let mut findings = vec![kind(), version(&facts)];
    findings.extend([persistence(redis, &facts), eviction(&facts)]);
    findings.extend([failover(redis, &facts), cluster(&facts)]);
    findings.extend(young(redis, &facts));
    findings.extend([tls(redis, &accepted), clock(&facts), latency(redis, &facts)]);
    Ok(findings)
}

/// What the server says.
#[derive(Default)]
struct Facts {
    /// The fields of INFO.
    info: HashMap<String, String>,
    /// None if this user may not ask for it.
    appendfsync: Option<String>,
    clock: f64,
    connected: Duration,
    trip: Duration,
}

impl Facts {
    async fn read(redis: &Redis, accepted: &Accepted) -> Result<Facts, Error> {
        let (link, host) = (&accepted.link, &accepted.host);
        let failed = |failure| match failure {
            Failure::Refused(code, why) => redis.refused(host, &code, &why, "examining the server"),
            other => redis.unreachable(format!("{host}: {other}")),
        };
        let info = link.command(cmd("INFO"), COMMAND).await.map_err(failed)?;
        let info: String = redis::from_redis_value(info).map_err(|_| redis.wrong_answer())?;
        let fields = info.lines().filter_map(|line| line.split_once(':'));
        let info: HashMap<_, _> = fields
            .map(|(key, value)| (key.to_owned(), value.trim().to_owned()))
            .collect();
        // It refuses most commands, and does not tell its settings.
        if info.get("loading").is_some_and(|loading| loading == "1") {
            return Err(redis.refused(
                host,
                "LOADING",
                "it loads its data",
                "examining the server",
            ));
        }
        let mut config = cmd("CONFIG");
        config.arg("GET").arg("appendfsync");
        let config = link.command(config, COMMAND).await.ok();
        let config: Option<HashMap<String, String>> =
            config.and_then(|config| redis::from_redis_value(config).ok());
        let mut facts = Facts {
            info,
            appendfsync: config.and_then(|mut config| config.remove("appendfsync")),
            trip: Duration::MAX,
            ..Facts::default()
        };
        for _ in 0..TRIPS {
            let (sent, by_ours) = (Instant::now(), SystemTime::now());
            let time = link.command(cmd("TIME"), COMMAND).await.map_err(failed)?;
            let trip = sent.elapsed();
            let ours = by_ours.duration_since(UNIX_EPOCH).unwrap_or_default() + trip / 2;
            if trip < facts.trip
                && let Some(theirs) = seconds(time)
            {
                facts.clock = theirs - ours.as_secs_f64();
                facts.trip = trip;
            }
        }
        Ok(facts)
    }

    fn text(&self, field: &str) -> &str {
        self.info.get(field).map_or("", String::as_str)
    }

    fn number(&self, field: &str) -> u64 {
        self.text(field).parse().unwrap_or(0)
    }
}

fn seconds(time: Value) -> Option<f64> {
    let (seconds, micros): (u64, u64) = redis::from_redis_value(time).ok()?;
    Some(seconds as f64 + micros as f64 / 1e6)
}

fn kind() -> Finding {
    Finding::new(
        Level::Note,
        "kind",
        "an efficiency lock: it excludes others as long as one primary runs and its clock does not \
         jump; a failover can give the lock to two",
    )
    .remedy(
        "let what the lock protects refuse smaller tokens (HOLDLOCK_TOKEN); or keep the lock in \
         etcd or PostgreSQL",
    )
}

fn version(facts: &Facts) -> Finding {
    let found = match facts.text("valkey_version") {
        "" => format!("Redis {}", facts.text("redis_version")),
        valkey => format!("Valkey {valkey}"),
    };
    Finding::new(Level::Ok, "version", found)
}

fn persistence(redis: &Redis, facts: &Facts) -> Finding {
    let ttl = spoken(redis.settings.ttl);
    let has_log = facts.text("aof_enabled") == "1";
    let found = match (has_log, facts.appendfsync.as_deref()) {
        (true, Some("always")) => {
            return Finding::new(
                Level::Ok,
                "persistence",
                format!("holders keep their locks over a restart; then no lock is given for {ttl}"),
            );
        }
        (true, _) => "a crash of the machine loses the last second of the log",
        (false, _) => "a restart forgets the locks",
    };
    Finding::new(
        Level::Note,
        "persistence",
        format!("{found}; holders notice it, and no lock is given for {ttl} after a restart"),
    )
    .remedy("set appendonly yes and appendfsync always, if holders have to keep their locks")
}

fn eviction(facts: &Facts) -> Finding {
    let policy = facts.text("maxmemory_policy");
    let limit = facts.number("maxmemory");
    match (limit, policy) {
        (0, _) => Finding::new(Level::Ok, "eviction", "the server has no limit of memory"),
        (_, "noeviction") => Finding::new(
            Level::Ok,
            "eviction",
            "the server removes no keys when its memory is full (noeviction)",
        ),
        _ => Finding::new(
            Level::Unsafe,
            "eviction",
            format!(
                "the server removes keys when its memory is full (maxmemory-policy {policy}), and \
                 with them locks that are held"
            ),
        )
        .remedy("set maxmemory-policy noeviction, or use another server for locks"),
    }
}

fn failover(redis: &Redis, facts: &Facts) -> Finding {
    let (connected, wanted) = (
        facts.number("connected_slaves"),
        u64::from(redis.settings.replicas),
    );
    match (connected, wanted) {
        (0, 0) => Finding::new(
            Level::Ok,
            "failover",
            "no replica is connected: no other server can give the same lock",
        ),
        (_, 0) => Finding::new(
            Level::Warning,
            "failover",
            "a replica may not know the last locks when it becomes the primary, and an old primary \
             that is cut off still gives locks",
        )
        .remedy(format!(
            "add replicas={connected} to the URL: then a lock counts only when the replicas have \
             it"
        )),
        (few, wanted) if few < wanted => Finding::new(
            Level::Unsafe,
            "failover",
            format!("replicas={wanted}, but only {few} connected: no lock can be acquired"),
        )
        .remedy("see why replicas are away, or lower replicas="),
        (more, wanted) if more > wanted => Finding::new(
            Level::Warning,
            "failover",
            format!(
                "replicas={wanted} of {more}: a replica that does not know a lock can become the \
                 primary"
            ),
        )
        .remedy(format!("set replicas={more}")),
        (all, _) => Finding::new(
            Level::Ok,
            "failover",
            format!("each lock and each renewal counts only when {all} replicas have it"),
        ),
    }
}

fn cluster(facts: &Facts) -> Finding {
    match facts.text("cluster_enabled") {
        "1" => Finding::new(
            Level::Note,
            "cluster",
            "a cluster: each node keeps locks of its own; `list` does not work",
        ),
        _ => Finding::new(Level::Ok, "cluster", "one server keeps all locks"),
    }
}

fn young(redis: &Redis, facts: &Facts) -> Option<Finding> {
    let up = Duration::from_secs(facts.number("uptime_in_seconds"));
    let left = redis.settings.ttl.checked_sub(up)?;
    let found = format!(
        "the server was started a moment ago and gives no lock for {} more",
        spoken(left)
    );
    Some(Finding::new(Level::Note, "restart", found))
}

fn tls(redis: &Redis, accepted: &Accepted) -> Finding {
    let host = &accepted.host;
    let address: Option<std::net::IpAddr> = host.name.parse().ok();
    let is_here = host.name == "localhost" || address.is_some_and(|address| address.is_loopback());
    let found = match redis.settings.tls.check {
        Check::NoTls if host.is_directory() => "a socket of this host needs no TLS",
        Check::NoTls if is_here => "no TLS, on an address of this host",
        Check::NoTls => {
            return Finding::new(
                Level::Warning,
                "tls",
                "no TLS: others on the network can read and change what is sent",
            )
            .remedy("set tls-port in the server, and write rediss:// in the URL");
        }
        _ => "TLS, with a certificate that was checked",
    };
    Finding::new(Level::Ok, "tls", found)
}

fn clock(facts: &Facts) -> Finding {
    if facts.clock.abs() <= APART {
        let found = format!("the server's clock agrees with ours within {APART} s");
        return Finding::new(Level::Ok, "clock", found);
    }
    let apart = Duration::try_from_secs_f64(facts.clock.abs()).unwrap_or(Duration::MAX);
    let side = match facts.clock > 0.0 {
        true => "ahead of",
        false => "behind",
    };
    let found = format!(
        "the server's clock is {} {side} ours; when it is set, leases end too early or too late",
        spoken(apart)
    );
    Finding::new(Level::Warning, "clock", found)
        .remedy("synchronise the clocks slowly (NTP, without steps)")
}

fn latency(redis: &Redis, facts: &Facts) -> Finding {
    let ttl = redis.settings.ttl;
    let found = format!(
        "{:.1} ms to connect and log in, {:.1} ms for each question",
        facts.connected.as_secs_f64() * 1e3,
        facts.trip.as_secs_f64() * 1e3
    );
    match facts.trip < ttl / 20 {
        true => Finding::new(Level::Ok, "latency", found),
        false => Finding::new(
            Level::Warning,
            "latency",
            format!("{found}: much beside a time limit of {}", spoken(ttl)),
        )
        .remedy("add a greater ttl= to the URL, such as ttl=60"),
    }
}
