//! Whether this cluster is a safe place for locks.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Etcd;
use super::client::{Client, Patience};
use super::failure::Failure;
use super::keys::Lease;
use super::message::{number, number_at};
use super::place;
use crate::duration::spoken;
use crate::{Finding, Level};

/// How many round trips are measured.
const TRIPS: u32 = 5;

/// The first versions in which a leader that was stalled, and is leader no more, does not revoke
/// the leases that were renewed meanwhile (etcd pull request 16822).
const FIXED: [(u32, u32, u32); 2] = [(3, 4, 31), (3, 5, 13)];

pub(super) async fn diagnose(etcd: &Arc<Etcd>) -> Result<Vec<Finding>, Failure> {
    let (client, patience) = etcd.aside();
    let began = Instant::now();
    let ask = async |path: &str, message: Value| client.call(patience, path, &message).await;
    let members = ask("/v3/cluster/member/list", json!({})).await;
    let connected = began.elapsed();
    let mut findings = versions(etcd).await;
    match members {
        Ok((_, members)) => {
            let members = members.get("members").and_then(Value::as_array);
            let members = members.map_or(0, Vec::len);
            findings.extend([size(members), named(etcd, members)]);
        }
        // A matter of the administrator.
        Err(Failure::Login(_)) => {}
        Err(failure) => return Err(failure),
    }
    let alarms = ask("/v3/maintenance/alarm", json!({"action": "GET"})).await;
    findings.extend(alarm(alarms.map(|(_, alarms)| alarms)));
    findings.extend([users(etcd), tls(etcd)]);
    findings.extend(lease(etcd, &client, patience, connected).await?);
    Ok(findings)
}

/// Of all endpoints, with those that do not answer.
async fn versions(etcd: &Arc<Etcd>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut versions: Vec<String> = Vec::new();
    for index in 0..etcd.settings.hosts.len() {
        match etcd.clone().connect_to(index, None).await {
            Ok(_) => versions.extend(etcd.version().clone()),
            Err(failure) => findings.push(
                Finding::new(Level::Warning, "endpoint", failure.why())
                    .remedy("start this member, or take it out of the URL"),
            ),
        }
    }
    versions.sort();
    versions.dedup();
    findings.extend(versions.iter().map(|version| version_found(version)));
    findings
}

fn version_found(version: &str) -> Finding {
    let found = format!("etcd {version}");
    let mut numbers = version
        .split(['.', '-', '+'])
        .map(|number| number.parse().ok());
    let mut next = || numbers.next().flatten().unwrap_or(0);
    let this: (u32, u32, u32) = (next(), next(), next());
    let is_fixed = FIXED
        .iter()
        .any(|fixed| (this.0, this.1) == (fixed.0, fixed.1) && this >= *fixed);
    match is_fixed || this >= (3, 6, 0) {
        true => Finding::new(Level::Ok, "version", found),
        false => Finding::new(
            Level::Warning,
            "version",
            format!(
                "{found}: a leader that was stalled for a while can revoke leases that are alive, \
                 and so take a lock from its holder, which learns it at once"
            ),
        )
        .remedy("update to etcd 3.4.31, 3.5.13 or later"),
    }
}

fn size(members: usize) -> Finding {
    let id = "failover";
    match members {
        1 => Finding::new(
            Level::Note,
            id,
            "one member: no lock can be acquired or renewed while it is down",
        )
        .remedy("use three members, if locks have to outlive one of them"),
        _ => Finding::new(
            Level::Ok,
            id,
            format!(
                "{members} members: locks outlive the loss of {}",
                members.saturating_sub(1) / 2
            ),
        ),
    }
}

fn named(etcd: &Etcd, members: usize) -> Finding {
    let id = "endpoints";
    let named = etcd.settings.hosts.len();
    match named >= members {
        true => Finding::new(Level::Ok, id, "the URL names all members"),
        false => Finding::new(
            Level::Note,
            id,
            format!("the URL names {named} of {members} members: only these are asked"),
        )
        .remedy("name all members: etcd://host1,host2,host3/#name"),
    }
}

fn alarm(alarms: Result<Value, Failure>) -> Option<Finding> {
    let alarms = alarms.ok()?;
    let alarms = alarms.get("alarms")?.as_array()?;
    let kinds: Vec<&str> = alarms
        .iter()
        .filter_map(|alarm| alarm.get("alarm")?.as_str())
        .collect();
    let kinds = kinds.join(", ");
    (!kinds.is_empty()).then(|| {
        Finding::new(
            Level::Warning,
            "alarm",
            format!("the cluster has an alarm ({kinds}) and may refuse to write"),
        )
        .remedy("compact and defragment (NOSPACE), then `etcdctl alarm disarm`")
    })
}

/// Whether all endpoints are addresses of this host.
fn is_loopback(etcd: &Etcd) -> bool {
    etcd.settings.hosts.iter().all(|host| {
        let address = host.name.parse::<IpAddr>();
        host.name == "localhost" || address.is_ok_and(|address| address.is_loopback())
    })
}

fn users(etcd: &Etcd) -> Finding {
    let id = "users";
    let has_users = matches!(&*etcd.login_token(), Some(Some(_)));
    match &etcd.settings.login {
        Some(login) if has_users => Finding::new(
            Level::Ok,
            id,
            format!("logged in as {}", holdlock::inspect::printable(&login.user)),
        ),
        _ if is_loopback(etcd) => {
            Finding::new(Level::Ok, id, "no users, on addresses of this host")
        }
        _ => Finding::new(
            Level::Note,
            id,
            "the cluster has no users: everybody who reaches it can delete a lock",
        )
        .remedy("`etcdctl auth enable`, with a role that has readwrite on the prefix"),
    }
}

fn tls(etcd: &Etcd) -> Finding {
    let id = "tls";
    if etcd.certificates.is_some() {
        return Finding::new(Level::Ok, id, "TLS, with a certificate that was checked");
    }
    match is_loopback(etcd) {
        true => Finding::new(Level::Ok, id, "no TLS, on addresses of this host"),
        false => Finding::new(
            Level::Warning,
            id,
            "no TLS: others on the network can read and change what is sent",
        )
        .remedy("start etcd with --cert-file and --key-file, and write etcds:// in the URL"),
    }
}

/// A lease is granted and revoked, as for a lock.
async fn lease(
    etcd: &Etcd,
    client: &Client,
    patience: Patience,
    connected: Duration,
) -> Result<Vec<Finding>, Failure> {
    let (lease, ttl) = (Lease::random(), etcd.settings.ttl.as_secs());
    let grant = json!({"ID": number(lease.0), "TTL": number(ttl)});
    let began = Instant::now();
    let (_, granted) = client.call(patience, "/v3/lease/grant", &grant).await?;
    let write = began.elapsed();
    let mut trip = Duration::MAX;
    for _ in 0..TRIPS {
        let began = Instant::now();
        let keep = json!({"ID": number(lease.0)});
        client.call(patience, "/v3/lease/keepalive", &keep).await?;
        trip = trip.min(began.elapsed());
    }
    place::revoke(client, lease).await?;
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    let found = format!(
        "{:.1} ms to connect, {:.1} ms to write, {:.1} ms to renew",
        millis(connected),
        millis(write),
        millis(trip)
    );
    let latency = match write.max(trip) < etcd.settings.ttl / 20 {
        true => Finding::new(Level::Ok, "latency", found),
        false => Finding::new(
            Level::Warning,
            "latency",
            format!(
                "{found}: much beside a time limit of {}",
                spoken(etcd.settings.ttl)
            ),
        )
        .remedy("give etcd a disk of its own, or add a greater ttl= to the URL, such as ttl=60"),
    };
    let given = number_at(&granted, "TTL");
    let mut findings = vec![latency];
    if given != ttl {
        findings.push(Finding::new(
            Level::Note,
            "lease",
            format!("the cluster makes leases of {given} s where {ttl} s were asked for"),
        ));
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_with_the_defect_are_told() {
        let level = |version| version_found(version).level;
        for version in ["3.4.23", "3.4.30", "3.5.0", "3.5.12", "3.3.27", ""] {
            assert_eq!(level(version), Level::Warning, "{version}");
        }
        for version in ["3.4.31", "3.5.13", "3.5.21", "3.6.0", "3.6.0-rc.1", "4.0.0"] {
            assert_eq!(level(version), Level::Ok, "{version}");
        }
    }
}
