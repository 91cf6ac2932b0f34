//! Where the server is, how to get in, and how the lock is kept: from the URL and the environment.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::Error;
use crate::secret::{self, Secret};
use crate::tls::{Check, TlsSettings};
use crate::url::{Host, Url, wrong};

pub(super) const PORT: u16 = 6379;
const TTL: Duration = Duration::from_secs(15);
const CONNECT: Duration = Duration::from_secs(5);
/// The longest time for which a waiter may say nothing and keep its place.
const PLACE: Duration = Duration::from_secs(6);
const SLOTS: u32 = 10_000;
const OPTIONS: [&str; 7] = [
    "ttl",
    "slots",
    "replicas",
    "ca",
    "cert",
    "key_file",
    "connect_timeout",
];

/// All that a connection needs.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// With their ports.
    pub(super) hosts: Vec<Host>,
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) database: i64,
    pub(super) name: String,
    /// How many may hold the lock at the same time.
    pub(super) slots: u32,
    /// Whether the URL says so.
    pub(super) has_slots: bool,
    /// How many replicas have to confirm each acquisition and each renewal.
    pub(super) replicas: u32,
    pub(super) tls: TlsSettings,
    pub(super) ttl: Duration,
    pub(super) connect_timeout: Duration,
    pub(super) warnings: Vec<String>,
    /// The URL without user, password and options.
    pub(super) shown: String,
}

impl Settings {
    pub(super) fn read(url: &Url) -> Result<Settings, Error> {
        let options = Options::read(url)?;
        let mut hosts = url.hosts.clone();
        if hosts.is_empty() {
            hosts.push(Host {
                name: "localhost".to_owned(),
                port: None,
            });
        }
        for host in &mut hosts {
            host.port = host.port.or(Some(PORT));
        }
        let database = match url.path.as_str() {
            "" => 0,
            path => path
                .parse::<u32>()
                .map(i64::from)
                .map_err(|_| wrong("the database is not a number", "write redis://host/0#name"))?,
        };
        let mut warnings = Vec::new();
        let slots = options.number("slots", SLOTS)?;
        let ttl = options.seconds("ttl", 3)?.unwrap_or(TTL);
        Ok(Settings {
            password: password(url, &mut warnings)?,
            user: url.user.clone(),
            database,
            name: url.name.clone(),
            slots: slots.unwrap_or(1),
            has_slots: slots.is_some(),
            replicas: options.number("replicas", 100)?.unwrap_or(0),
            tls: options.tls(url)?,
            ttl,
            connect_timeout: options.seconds("connect_timeout", 1)?.unwrap_or(CONNECT),
            shown: url.shown(&hosts, PORT, &database.to_string()),
            hosts,
            warnings,
        })
    }

    /// For how long a waiter may say nothing and keep its place.
    pub(super) fn place(&self) -> Duration {
        PLACE.min(self.ttl)
    }
}

fn password(url: &Url, warnings: &mut Vec<String>) -> Result<Option<Secret>, Error> {
    if let Some(password) = &url.password {
        warnings.push(format!(
            "the URL contains a password, which others see in the list of processes; put it into a \
             file that {} names",
            secret::PASSWORD_FILE
        ));
        return Ok(Some(password.clone()));
    }
    if let Some(password) = secret::from_named_file()? {
        return Ok(Some(password));
    }
    // The variable of redis-cli.
    let password = std::env::var("REDISCLI_AUTH").ok();
    Ok(password.filter(|text| !text.is_empty()).map(Secret::new))
}

/// The options of the URL.
struct Options(HashMap<&'static str, String>);

impl Options {
    fn read(url: &Url) -> Result<Options, Error> {
        let mut values = HashMap::new();
        for (key, value) in &url.options {
            let Some(known) = OPTIONS.iter().find(|known| **known == key) else {
                let key = holdlock::inspect::printable(key);
                return Err(wrong(
                    &format!("there is no option {key}"),
                    &format!("the options are {}", OPTIONS.join(", ")),
                ));
            };
            values.insert(*known, value.clone());
        }
        Ok(Options(values))
    }

    fn number(&self, option: &str, most: u32) -> Result<Option<u32>, Error> {
        match self.0.get(option).map(|text| text.parse()) {
            None => Ok(None),
            Some(Ok(number)) if (1..=most).contains(&number) => Ok(Some(number)),
            Some(_) => Err(wrong(
                &format!("{option}= is no such number"),
                &format!("write a number from 1 to {most}, the same in each process"),
            )),
        }
    }

    fn seconds(&self, option: &str, least: u64) -> Result<Option<Duration>, Error> {
        match self.0.get(option).map(|text| text.parse()) {
            None => Ok(None),
            Some(Ok(seconds)) if (least..=3600).contains(&seconds) => {
                Ok(Some(Duration::from_secs(seconds)))
            }
            Some(_) => Err(wrong(
                &format!("{option}= is not a time"),
                &format!("write whole seconds from {least} to 3600"),
            )),
        }
    }

    fn tls(&self, url: &Url) -> Result<TlsSettings, Error> {
        let file = |option| self.0.get(option).map(PathBuf::from);
        let check = match url.scheme.as_str() {
            "rediss" | "valkeys" => Check::ChainAndName,
            _ => Check::NoTls,
        };
        let files = [file("ca"), file("cert"), file("key_file")];
        if check == Check::NoTls && files.iter().any(Option::is_some) {
            return Err(wrong(
                "ca=, cert= and key_file= are for TLS",
                "write rediss:// or valkeys://",
            ));
        }
        let [ca, cert, key] = files;
        TlsSettings::new(check, ca, cert, key)
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
        let settings = read("rediss://u:hidden@h:6379,h2:1/3?ttl=30&slots=4#n").expect("ok");
        assert_eq!(settings.shown, "rediss://h,h2:1/3#n");
        assert_eq!((settings.database, settings.slots), (3, 4));
        assert_eq!(settings.ttl, Duration::from_secs(30));
        assert_eq!(settings.tls.check, Check::ChainAndName);
        assert!(!format!("{settings:?}").contains("hidden"));
        assert!(settings.warnings[0].contains("HOLDLOCK_PASSWORD_FILE"));
        assert!(!settings.warnings[0].contains("hidden"));
    }

    #[test]
    fn a_socket_is_shown_as_it_is_written() {
        let settings = read("valkey://%2Frun%2Fredis.sock#n").expect("ok");
        assert_eq!(settings.hosts[0].name, "/run/redis.sock");
        assert_eq!(settings.shown, "valkey://%2Frun%2Fredis.sock/0#n");
    }

    #[test]
    fn wrong_options_say_what_is_right() {
        for (url, part) in [
            ("redis://h/x#n", "not a number"),
            ("redis://h?tll=3#n", "ttl, slots, replicas"),
            ("redis://h?slots=0#n", "from 1"),
            ("redis://h?replicas=x#n", "from 1"),
            ("redis://h?ttl=1#n", "from 3"),
            ("redis://h?ca=x#n", "rediss://"),
            ("rediss://h?cert=x#n", "key_file"),
        ] {
            let error = read(url).expect_err(url).to_string();
            assert!(error.contains(part), "{url}: {error}");
        }
    }
}
