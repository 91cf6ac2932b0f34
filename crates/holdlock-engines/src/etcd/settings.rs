//! Where the cluster is and how to get in: from the URL, and what it leaves out from the variables
//! of etcdctl.

use std::path::PathBuf;
use std::time::Duration;

use crate::Error;
use crate::secret::{self, Secret};
use crate::tls::{Check, TlsSettings};
use crate::url::{Host, Url, wrong};

const PORT: u16 = 2379;
const TTL: Duration = Duration::from_secs(15);
const CONNECT: Duration = Duration::from_secs(5);
const PREFIX: &str = "holdlock";
/// A waiter for a slot watches all those before it.
const SLOTS: u32 = 1000;

const OPTIONS: [&str; 6] = ["ttl", "slots", "ca", "cert", "key_file", "connect_timeout"];

/// All that a connection needs.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// With their ports.
    pub(super) hosts: Vec<Host>,
    pub(super) login: Option<Login>,
    /// What the keys of all locks begin with.
    pub(super) prefix: String,
    pub(super) name: String,
    /// How many may hold the lock at the same time, if it has slots.
    pub(super) slots: Option<u32>,
    /// None without TLS.
    pub(super) tls: Option<TlsSettings>,
    pub(super) ttl: Duration,
    /// How long an endpoint may take to answer before it counts as dead.
    pub(super) connect_timeout: Duration,
    pub(super) warnings: Vec<String>,
    /// The URL without user, password and options.
    pub(super) shown: String,
}

#[derive(Clone, Debug)]
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: Option<Secret>,
}

impl Settings {
    pub(super) fn read(url: &Url) -> Result<Settings, Error> {
        if let Some((key, _)) = url
            .options
            .iter()
            .find(|(key, _)| !OPTIONS.contains(&key.as_str()))
        {
            let key = holdlock::inspect::printable(key);
            return Err(wrong(
                &format!("there is no option {key}"),
                &format!("the options are {}", OPTIONS.join(", ")),
            ));
        }
        let option = |wanted: &str| {
            let found = url.options.iter().rfind(|(key, _)| key == wanted);
            found.map(|(_, value)| value.as_str())
        };
        let secure = url.scheme == "etcds";
        let (hosts, mut warnings) = (hosts(url, secure)?, Vec::new());
        let prefix = url.path.trim_end_matches('/');
        Ok(Settings {
            login: login(url, &mut warnings)?,
            prefix: match prefix {
                "" => PREFIX.to_owned(),
                prefix => prefix.to_owned(),
            },
            name: url.name.clone(),
            slots: slots(option("slots"))?,
            tls: tls(option, secure)?,
            ttl: seconds("ttl", option("ttl"), 3)?.unwrap_or(TTL),
            connect_timeout: seconds("connect_timeout", option("connect_timeout"), 1)?
                .unwrap_or(CONNECT),
            shown: url.shown(&hosts, PORT, prefix),
            hosts,
            warnings,
        })
    }

    /// How long one try of one call may take: several fit into the time limit of a lease, except a
    /// very short one.
    pub(super) fn try_limit(&self) -> Duration {
        let limit = (self.ttl / 6).max(Duration::from_secs(1));
        limit.min(self.connect_timeout)
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn hosts(url: &Url, secure: bool) -> Result<Vec<Host>, Error> {
    let mut hosts = url.hosts.clone();
    if hosts.is_empty() {
        let endpoints = variable("ETCDCTL_ENDPOINTS").unwrap_or_else(|| "127.0.0.1".to_owned());
        for endpoint in endpoints.split(',').map(str::trim) {
            let (is_secure, host) = match endpoint.split_once("://") {
                Some((scheme, host)) => (scheme == "https", host),
                None => (secure, endpoint),
            };
            if is_secure != secure {
                return Err(wrong(
                    "ETCDCTL_ENDPOINTS and the URL differ in TLS",
                    "write etcds:// for https endpoints, and etcd:// for others",
                ));
            }
            hosts.push(Host::parse(host.trim_end_matches('/'))?);
        }
    }
    for host in &mut hosts {
        if host.is_directory() {
            return Err(wrong(
                "a host is a path",
                "write etcd://host:2379/prefix#name",
            ));
        }
        host.port = host.port.or(Some(PORT));
    }
    Ok(hosts)
}

fn login(url: &Url, warnings: &mut Vec<String>) -> Result<Option<Login>, Error> {
    if url.password.is_some() {
        warnings.push(format!(
            "the URL contains a password, which others see in the list of processes; put it into \
             a file that {} names",
            secret::PASSWORD_FILE
        ));
    }
    // `user:password` or `user`.
    let of_etcdctl = variable("ETCDCTL_USER").unwrap_or_default();
    let (user, password) = of_etcdctl.split_once(':').unwrap_or((&of_etcdctl, ""));
    let user = match &url.user {
        Some(user) => user.clone(),
        None if user.is_empty() => return Ok(None),
        None => user.to_owned(),
    };
    let from_variable = || {
        let separate = variable("ETCDCTL_PASSWORD").unwrap_or_else(|| password.to_owned());
        (!separate.is_empty()).then(|| Secret::new(separate))
    };
    let password = match &url.password {
        Some(password) => Some(password.clone()),
        None => secret::from_named_file()?.or_else(from_variable),
    };
    Ok(Some(Login { user, password }))
}

fn tls<'a>(
    option: impl Fn(&str) -> Option<&'a str>,
    secure: bool,
) -> Result<Option<TlsSettings>, Error> {
    let options = ["ca", "cert", "key_file"];
    if !secure {
        return match options.iter().find(|name| option(name).is_some()) {
            None => Ok(None),
            Some(name) => Err(wrong(
                &format!("{name}= is for TLS, and the URL is one without"),
                "write etcds:// in place of etcd://",
            )),
        };
    }
    let variables = ["ETCDCTL_CACERT", "ETCDCTL_CERT", "ETCDCTL_KEY"];
    let path = |index: usize| {
        let given = option(options[index]).map(str::to_owned);
        given
            .or_else(|| variable(variables[index]))
            .map(PathBuf::from)
    };
    TlsSettings::new(Check::ChainAndName, path(0), path(1), path(2)).map(Some)
}

fn seconds(name: &str, text: Option<&str>, least: u64) -> Result<Option<Duration>, Error> {
    match text.map(str::parse) {
        None => Ok(None),
        Some(Ok(seconds)) if (least..=3600).contains(&seconds) => {
            Ok(Some(Duration::from_secs(seconds)))
        }
        Some(_) => Err(wrong(
            &format!("{name}= is not a time"),
            &format!("write whole seconds from {least} to 3600"),
        )),
    }
}

fn slots(text: Option<&str>) -> Result<Option<u32>, Error> {
    match text.map(str::parse) {
        None => Ok(None),
        Some(Ok(slots)) if (1..=SLOTS).contains(&slots) => Ok(Some(slots)),
        Some(_) => Err(wrong(
            "slots= is no number of slots",
            &format!("write a number from 1 to {SLOTS}, the same in each process"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Result<Settings, Error> {
        Settings::read(&Url::parse(url)?)
    }

    #[test]
    fn what_is_shown_has_neither_password_nor_options() {
        let settings = read("etcd://u:hidden@h:2379,h2:1/team/?ttl=30#n").expect("ok");
        assert_eq!(settings.shown, "etcd://h,h2:1/team#n");
        assert_eq!(settings.ttl, Duration::from_secs(30));
        assert_eq!(settings.prefix, "team");
        assert!(!format!("{settings:?}").contains("hidden"));
        assert!(settings.warnings[0].contains("HOLDLOCK_PASSWORD_FILE"));
        assert!(!settings.warnings[0].contains("hidden"));
        let settings = read("etcds://h#n").expect("ok");
        assert_eq!(settings.shown, "etcds://h/#n");
        assert!(settings.tls.is_some() && settings.login.is_none());
    }

    #[test]
    fn wrong_options_say_what_is_right() {
        for (url, part) in [
            ("etcd://h/?tll=3#n", "ttl, slots, ca"),
            ("etcd://h/?slots=0#n", "from 1"),
            ("etcd://h/?ttl=x#n", "seconds"),
            ("etcd://h/?ttl=2#n", "from 3"),
            ("etcd://h/?ca=/x#n", "etcds://"),
            ("etcds://h/?cert=a#n", "key_file"),
            ("etcd://%2Frun/#n", "etcd://host"),
        ] {
            let error = read(url).expect_err(url).to_string();
            assert!(error.contains(part), "{url}: {error}");
        }
    }
}
