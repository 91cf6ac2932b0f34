//! Where the database is and how to get in: from the URL, and what it leaves out from the service
//! file, the environment and the password files, as libpq does it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::key::{Key, SLOTS};
use super::places;
use crate::Error;
use crate::secret::{self, Secret};
use crate::tls::{Check, TlsSettings};
use crate::url::{Host, Url, wrong};

const PORT: u16 = 5432;
const TTL: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(5);

/// All that a connection needs.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// With their ports.
    pub(super) hosts: Vec<Host>,
    pub(super) user: String,
    pub(super) database: String,
    pub(super) name: String,
    pub(super) key: Key,
    /// How many may hold the lock at the same time, if it has slots.
    pub(super) slots: Option<u32>,
    pub(super) tls: TlsSettings,
    pub(super) ttl: Duration,
    pub(super) connect_timeout: Duration,
    pub(super) pooler_is_for_sessions: bool,
    /// Settings of the session, for the server.
    pub(super) options: Option<String>,
    password: Option<Secret>,
    password_file: Option<String>,
    pub(super) warnings: Vec<String>,
    /// The URL without user, password and options.
    pub(super) shown: String,
}

/// Our option, libpq's names for it, and its variable.
const OPTIONS: [(&str, &str, &str); 18] = [
    ("ttl", "", ""),
    ("slots", "", ""),
    ("key", "", ""),
    ("pooler", "", ""),
    ("sslmode", "", "PGSSLMODE"),
    ("ca", "sslrootcert", "PGSSLROOTCERT"),
    ("cert", "sslcert", "PGSSLCERT"),
    ("key_file", "sslkey", "PGSSLKEY"),
    ("user", "", "PGUSER"),
    ("password", "", "PGPASSWORD"),
    ("host", "hostaddr", "PGHOST"),
    ("port", "", "PGPORT"),
    ("dbname", "", "PGDATABASE"),
    ("service", "", "PGSERVICE"),
    ("passfile", "", "PGPASSFILE"),
    ("options", "", "PGOPTIONS"),
    ("connect_timeout", "", "PGCONNECT_TIMEOUT"),
    // Accepted because it is common in URLs of databases. Ours is shown to others.
    ("application_name", "", ""),
];

/// The values of the options, from all places.
struct Values {
    url: HashMap<&'static str, String>,
    service: HashMap<String, String>,
}

impl Values {
    fn read(url: &Url) -> Result<Values, Error> {
        let mut values = Values {
            url: HashMap::new(),
            service: HashMap::new(),
        };
        for (key, value) in &url.options {
            let known = OPTIONS
                .iter()
                .find(|(ours, libpq, _)| key == ours || key == libpq);
            let Some((ours, ..)) = known else {
                let known: Vec<&str> = OPTIONS.iter().map(|option| option.0).collect();
                let key = holdlock::inspect::printable(key);
                return Err(wrong(
                    &format!("there is no option {key}"),
                    &format!("the options are {}", known.join(", ")),
                ));
            };
            values.url.insert(ours, value.clone());
        }
        if let Some(service) = values.get("service") {
            values.service = read_service(&service)?;
        }
        Ok(values)
    }

    fn get(&self, option: &str) -> Option<String> {
        let (_, libpq, variable) = OPTIONS.iter().find(|(ours, ..)| *ours == option)?;
        let in_service = || {
            self.service
                .get(option)
                .or_else(|| self.service.get(*libpq))
        };
        let in_environment = || match variable.is_empty() {
            true => None,
            false => std::env::var(variable).ok(),
        };
        let value = self.url.get(option).or_else(in_service).cloned();
        let value = value.or_else(in_environment);
        value.filter(|value| !value.is_empty())
    }

    fn in_url(&self, option: &str) -> Option<String> {
        let value = self.url.get(option).cloned();
        value.filter(|value| !value.is_empty())
    }

    fn seconds(&self, option: &str, least: u64) -> Result<Option<Duration>, Error> {
        let Some(text) = self.get(option) else {
            return Ok(None);
        };
        match text.parse() {
            Ok(seconds) if (least..=3600).contains(&seconds) => {
                Ok(Some(Duration::from_secs(seconds)))
            }
            _ => Err(wrong(
                &format!("{option}= is not a time"),
                &format!("write whole seconds from {least} to 3600"),
            )),
        }
    }
}

fn read_service(name: &str) -> Result<HashMap<String, String>, Error> {
    let files = places::service_files();
    let found = files.iter().find_map(|path| {
        let file = std::fs::read_to_string(path).ok()?;
        places::service(&file, name)
    });
    found.ok_or_else(|| {
        let files: Vec<String> = files
            .iter()
            .map(|file| file.display().to_string())
            .collect();
        let name = holdlock::inspect::printable(name);
        wrong(
            &format!("there is no service {name}"),
            &format!("add a section [{name}] to {}", files.join(" or ")),
        )
    })
}

impl Settings {
    pub(super) fn read(url: &Url) -> Result<Settings, Error> {
        let values = Values::read(url)?;
        let mut warnings = Vec::new();
        // An option counts more than the part of the URL that says the same, as libpq has it.
        let user = values.in_url("user").or_else(|| url.user.clone());
        let user = user.or_else(|| values.get("user"));
        let user = user.or_else(|| whoami::username().ok()).ok_or_else(|| {
            wrong(
                "the user has no name",
                "write it as in postgres://user@host/database#name",
            )
        })?;
        let path = || Some(url.path.clone()).filter(|path| !path.is_empty());
        let database = values.in_url("dbname").or_else(path);
        let database = database.or_else(|| values.get("dbname"));
        let database = database.unwrap_or_else(|| user.clone());
        if database.contains('\0') || user.contains('\0') {
            return Err(wrong(
                "the user or the database contains a NUL",
                "use other names",
            ));
        }
        let hosts = hosts(url, &values)?;
        let password = password(url, &values, &mut warnings)?;
        let password_file = password_file(&values, &mut warnings);
        let pooler_is_for_sessions = match values.get("pooler").as_deref() {
            None => false,
            Some("session") => true,
            Some(_) => {
                return Err(wrong(
                    "pooler= has one value only",
                    "write pooler=session if the pooler gives each client a session of its own",
                ));
            }
        };
        let key = values
            .url
            .get("key")
            .map(|key| Key::parse(key))
            .transpose()?;
        let slots = slots(&values)?;
        if slots.is_some() && key.is_some() {
            return Err(wrong(
                "slots= and key= exclude each other",
                "give one of them",
            ));
        }
        Ok(Settings {
            slots,
            key: key.unwrap_or_else(|| Key::of_name(&url.name)),
            tls: tls(&values)?,
            ttl: values.seconds("ttl", 3)?.unwrap_or(TTL),
            connect_timeout: values.seconds("connect_timeout", 1)?.unwrap_or(CONNECT),
            pooler_is_for_sessions,
            options: values.get("options"),
            shown: url.shown(&hosts, PORT, &database),
            name: url.name.clone(),
            hosts,
            user,
            database,
            password,
            password_file,
            warnings,
        })
    }

    /// The password for this host.
    pub(super) fn password(&self, host: &Host) -> Option<Secret> {
        let from_file = || {
            // As libpq has it.
            let name = if host.is_directory() {
                "localhost"
            } else {
                &host.name
            };
            let file = self.password_file.as_deref()?;
            let port = host.port.unwrap_or(PORT);
            places::password(file, name, port, &self.database, &self.user)
        };
        self.password.clone().or_else(from_file)
    }
}

fn hosts(url: &Url, values: &Values) -> Result<Vec<Host>, Error> {
    let mut hosts = url.hosts.clone();
    if hosts.is_empty() || values.in_url("host").is_some() {
        let names = values.get("host").unwrap_or_default();
        let names = names.split(',').filter(|name| !name.is_empty());
        let port = |position| match &url.hosts[..] {
            [one] => one.port,
            many => many.get(position).and_then(|host: &Host| host.port),
        };
        let named = names.enumerate().map(|(position, name)| Host {
            name: name.to_owned(),
            port: port(position),
        });
        hosts = named.collect();
    }
    if hosts.is_empty() {
        let directories = ["/run/postgresql", "/var/run/postgresql"];
        let socket = directories.iter().find(|place| Path::new(place).is_dir());
        hosts.push(Host {
            name: socket.copied().unwrap_or("localhost").to_owned(),
            port: None,
        });
    }
    let ports = values.get("port").unwrap_or_default();
    let ports: Vec<&str> = ports.split(',').collect();
    for (position, host) in hosts.iter_mut().enumerate() {
        let port = match ports.len() {
            1 => ports[0],
            _ => ports.get(position).copied().unwrap_or_default(),
        };
        let counts = host.port.is_none() || values.in_url("port").is_some();
        if counts && !port.is_empty() {
            host.port = Host::parse(&format!("h:{port}"))?.port;
        }
        host.port = host.port.or(Some(PORT));
    }
    Ok(hosts)
}

fn slots(values: &Values) -> Result<Option<u32>, Error> {
    match values.url.get("slots").map(|slots| slots.parse()) {
        None => Ok(None),
        Some(Ok(slots)) if (1..=SLOTS).contains(&slots) => Ok(Some(slots)),
        Some(_) => Err(wrong(
            "slots= is no number of slots",
            &format!("write a number from 1 to {SLOTS}, the same in each process"),
        )),
    }
}

fn password(
    url: &Url,
    values: &Values,
    warnings: &mut Vec<String>,
) -> Result<Option<Secret>, Error> {
    let in_query = values.in_url("password").map(Secret::new);
    if let Some(password) = in_query.or_else(|| url.password.clone()) {
        warnings.push(format!(
            "the URL contains a password, which others may see (arguments are in the list of \
             processes); put it into ~/.pgpass, or into a file that {} names",
            secret::PASSWORD_FILE
        ));
        return Ok(Some(password));
    }
    if let Some(password) = secret::from_named_file()? {
        return Ok(Some(password));
    }
    // Also PGPASSWORD, and the service's.
    Ok(values.get("password").map(Secret::new))
}

fn password_file(values: &Values, warnings: &mut Vec<String>) -> Option<String> {
    let path = values.get("passfile").map(PathBuf::from);
    let path = path.or_else(|| Some(places::home()?.join(".pgpass")))?;
    let (file, warning) = places::password_file(&path);
    warnings.extend(warning);
    file
}

fn tls(values: &Values) -> Result<TlsSettings, Error> {
    let path = |option| values.get(option).map(PathBuf::from);
    let mode = values.get("sslmode");
    if values.get("ca").as_deref() == Some("system") {
        // As libpq has it: whoever trusts all public authorities has to look at the name.
        return match mode.as_deref() {
            None | Some("verify-full") => {
                TlsSettings::new(Check::ChainAndName, None, path("cert"), path("key_file"))
            }
            Some(_) => Err(wrong(
                "ca=system (sslrootcert=system) needs sslmode=verify-full",
                "write that, or leave sslmode= out (also PGSSLMODE and the service file count)",
            )),
        };
    }
    let of_libpq = || Some(places::home()?.join(".postgresql/root.crt")).filter(|ca| ca.is_file());
    let ca = path("ca").or_else(of_libpq);
    let check = match (mode.as_deref(), ca.is_some()) {
        (Some("disable"), _) => Check::NoTls,
        (None | Some("prefer" | "allow"), _) => Check::Nothing { required: false },
        (Some("require"), false) => Check::Nothing { required: true },
        // As libpq has it: a certificate to check by is there to be used.
        (Some("require"), true) | (Some("verify-ca"), _) => Check::Chain,
        (Some("verify-full"), _) => Check::ChainAndName,
        (Some(_), _) => {
            return Err(wrong(
                "sslmode= has another value",
                "write disable, prefer, require, verify-ca or verify-full",
            ));
        }
    };
    TlsSettings::new(check, ca, path("cert"), path("key_file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Result<Settings, Error> {
        Settings::read(&Url::parse(url)?)
    }

    #[test]
    fn what_is_shown_has_neither_password_nor_options() {
        let settings =
            read("postgres://u:hidden@h:5432,h2:1/d?password=hidden&ttl=30#n").expect("ok");
        assert_eq!(settings.shown, "postgres://h,h2:1/d#n");
        assert_eq!(settings.ttl, Duration::from_secs(30));
        assert!(!format!("{settings:?}").contains("hidden"));
        assert!(settings.warnings[0].contains(".pgpass"));
        assert!(!settings.warnings[0].contains("hidden"));
    }

    #[test]
    fn the_directory_of_a_socket_is_shown_as_it_is_written() {
        let settings = read("postgres://%2Frun%2Fa%3Ab%2520c:7/d#n").expect("ok");
        assert_eq!(settings.hosts[0].name, "/run/a:b%20c");
        assert_eq!(settings.shown, "postgres://%2Frun%2Fa%3Ab%2520c:7/d#n");
        let settings = read("postgres:///d?host=/run/db&port=5432#n").expect("ok");
        assert_eq!(settings.shown, "postgres://%2Frun%2Fdb/d#n");
    }

    #[test]
    fn an_option_counts_more_than_the_part_of_the_url_that_says_the_same() {
        let all = "host=h2&port=7&user=bob&dbname=e&password=new";
        let settings = read(&format!("postgres://ann:old@h1:6/d?{all}#n")).expect("ok");
        assert_eq!(settings.shown, "postgres://h2:7/e#n");
        let password = settings.password.as_ref().map(Secret::reveal);
        assert_eq!((&*settings.user, password), ("bob", Some("new")));
        // The ports stay where only the hosts are others.
        let settings = read("postgres://h1:6/d?host=h2#n").expect("ok");
        assert_eq!(settings.shown, "postgres://h2:6/d#n");
    }

    #[test]
    fn the_authorities_of_the_system_are_trusted_only_with_the_name() {
        for option in ["ca", "sslrootcert"] {
            for mode in ["", "&sslmode=verify-full"] {
                let settings = read(&format!("postgres://h/d?{option}=system{mode}#n"));
                let check = settings.expect("ok").tls.check;
                assert_eq!(check, Check::ChainAndName, "{option}{mode}");
            }
        }
    }

    #[test]
    fn wrong_options_say_what_is_right() {
        for (options, part) in [
            ("tll=3", "ttl, slots, key"),
            ("slots=0", "from 1"),
            ("slots=2&key=3", "exclude each other"),
            ("ttl=x", "seconds"),
            ("ttl=1", "from 3"),
            ("sslmode=yes", "verify-full"),
            ("ca=system&sslmode=verify-ca", "needs sslmode=verify-full"),
            (
                "sslrootcert=system&sslmode=disable",
                "needs sslmode=verify-full",
            ),
            ("pooler=transaction", "pooler=session"),
            ("key=a", "key=N"),
            ("cert=a", "key_file"),
            ("port=x", "port"),
            ("service=missing-service", "[missing-service]"),
        ] {
            let url = format!("postgres:///d?{options}#n");
            let error = read(&url).expect_err(options).to_string();
            assert!(error.contains(part), "{options}: {error}");
        }
    }
}
