//! The URL of a lock: `engine://user@host:port,host2/where?option=value#name`.
//!
//! The parts have the same meaning for all engines. Each may contain percent-encoded bytes.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::Error;
use crate::secret::Secret;

/// What is encoded of a path that stands in the place of a host.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The parts of a URL, decoded.
#[derive(Clone, Debug)]
pub(crate) struct Url {
    pub(crate) scheme: String,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
    /// Empty if the URL names none.
    pub(crate) hosts: Vec<Host>,
    /// Without the slash that begins it.
    pub(crate) path: String,
    pub(crate) options: Vec<(String, String)>,
    /// What is locked.
    pub(crate) name: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) port: Option<u16>,
}

impl Url {
    /// Messages never repeat the URL, because it may contain a password.
    pub(crate) fn parse(text: &str) -> Result<Url, Error> {
        let url = Url::parse_place(text)?;
        let name = url.name.clone();
        url.with_name(name)
    }

    /// The same lock at another name.
    pub(crate) fn with_name(mut self, name: String) -> Result<Url, Error> {
        if name.is_empty() {
            return Err(wrong(
                "the name of the lock is missing",
                "put it behind `#`, as in postgres://host/database#name",
            ));
        }
        if name.contains('\0') {
            return Err(wrong("the name contains a NUL", "use another name"));
        }
        self.name = name;
        Ok(self)
    }

    /// As [`parse`](Url::parse), for a URL that may have no name.
    pub(crate) fn parse_place(text: &str) -> Result<Url, Error> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(wrong(
                "there is no `://` in it",
                "write it as in postgres://host/database#name",
            ));
        };
        let (place, name) = rest.split_once('#').unwrap_or((rest, ""));
        let (rest, query) = place.split_once('?').unwrap_or((place, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        // A password that contains `/`, `?` or `#` unencoded ends the authority too early: the `@`
        // behind the password comes later then. What is shown would be a part of the password.
        let at_in_name = name.contains('@') && (name.contains('#') || place == authority);
        if authority.contains(':') && (path.contains('@') || query.contains('@') || at_in_name) {
            return Err(wrong(
                "there is an `@` where a password has ended already",
                "in a password write %2F for `/`, %23 for `#` and %3F for `?`; write %40 for an \
                 `@` that belongs to the path, an option or the name",
            ));
        }
        // A password that contains `@` unencoded is still understood.
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (Some(login), hosts),
            None => (None, authority),
        };
        let (user, password) = match login.map(|login| login.split_once(':')) {
            None => (None, None),
            Some(None) => (login, None),
            Some(Some((user, password))) => (Some(user), Some(password)),
        };
        let user = user.map(|user| decode(user, "the user")).transpose()?;
        let password = password.map(|password| decode(password, "the password"));
        let name = decode(name, "the name")?;
        let hosts = hosts.split(',').filter(|host| !host.is_empty());
        let options = query.split('&').filter(|option| !option.is_empty());
        let url = Url {
            scheme: scheme.to_ascii_lowercase(),
            user: user.filter(|user| !user.is_empty()),
            password: password.transpose()?.map(Secret::new),
            hosts: hosts.map(Host::parse).collect::<Result<_, _>>()?,
            path: decode(path, "the path")?,
            options: options.map(option).collect::<Result<_, _>>()?,
            name: String::new(),
        };
        match name.is_empty() {
            true => Ok(url),
            false => url.with_name(name),
        }
    }

    /// The URL as it is shown: without user, password, options, and the usual port.
    pub(crate) fn shown(&self, hosts: &[Host], port: u16, path: &str) -> String {
        let shown = |host: &Host| host.shown(port).to_string();
        let hosts: Vec<String> = hosts.iter().map(shown).collect();
        format!(
            "{}://{}/{path}#{}",
            self.scheme,
            hosts.join(","),
            holdlock::inspect::printable(&self.name)
        )
    }
}

impl Host {
    pub(crate) fn parse(text: &str) -> Result<Host, Error> {
        let bracket = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
        let (name, port) = match bracket {
            Some((name, rest)) => (name, rest.strip_prefix(':')),
            None => match text.split_once(':') {
                Some((name, port)) => (name, Some(port)),
                None => (text, None),
            },
        };
        let port = match port {
            None => None,
            Some(port) => match port.parse::<u16>() {
                Ok(port) if port > 0 => Some(port),
                _ => {
                    return Err(wrong(
                        "a port is not a number from 1 to 65535",
                        "write host:port, an IPv6 address in brackets, and a `/` before the \
                         database; in a password write %2F for `/`, %23 for `#` and %3F for `?`",
                    ));
                }
            },
        };
        let name = decode(name, "a host")?;
        Ok(Host { name, port })
    }

    /// As a URL has it, without the usual port.
    fn shown(&self, port: u16) -> Host {
        Host {
            name: match self.is_directory() {
                true => utf8_percent_encode(&self.name, ENCODED).to_string(),
                false => self.name.clone(),
            },
            port: self.port.filter(|own| *own != port),
        }
    }

    /// Whether it is the directory of a Unix socket.
    pub(crate) fn is_directory(&self) -> bool {
        self.name.starts_with('/')
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = holdlock::inspect::printable(&self.name);
        match name.to_string().contains(':') {
            true => write!(f, "[{name}]")?,
            false => write!(f, "{name}")?,
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

fn option(text: &str) -> Result<(String, String), Error> {
    let Some((key, value)) = text.split_once('=') else {
        return Err(wrong(
            "an option has no value",
            "write ?option=value, and & between options",
        ));
    };
    Ok((decode(key, "an option")?, decode(value, "an option")?))
}

fn decode(text: &str, part: &str) -> Result<String, Error> {
    // A `%` that encodes nothing is most likely one of a password that was not encoded.
    let bytes = text.as_bytes();
    let encoded = |at: usize| {
        let digits = bytes.get(at + 1..at + 3);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    let mut signs = (0..bytes.len()).filter(|&at| bytes[at] == b'%');
    let decoded = percent_decode_str(text).decode_utf8();
    match decoded {
        Ok(decoded) if signs.all(encoded) => Ok(decoded.into_owned()),
        _ => Err(wrong(
            &format!("{part} is not percent-encoded UTF-8"),
            "write %25 for `%`",
        )),
    }
}

pub(crate) fn wrong(why: &str, remedy: &str) -> Error {
    Error::Url {
        why: format!("{why}; {remedy}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_parts_are_read() {
        let url = Url::parse("postgres://ann:s%40c@db1:6543,[::1],/app?ttl=30&a=b%26c#a%20b/ü");
        let url = url.expect("a URL");
        assert_eq!(url.user.as_deref(), Some("ann"));
        assert_eq!(url.password.as_ref().map(Secret::reveal), Some("s@c"));
        let hosts: Vec<String> = url.hosts.iter().map(Host::to_string).collect();
        assert_eq!(hosts, ["db1:6543", "[::1]"]);
        assert_eq!((url.path.as_str(), url.name.as_str()), ("app", "a b/ü"));
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(url.options, [pair("ttl", "30"), pair("a", "b&c")]);
    }

    #[test]
    fn what_is_missing_or_wrong_is_said_without_the_password() {
        for (text, part) in [
            ("nightly", "`://`"),
            ("postgres://u:hidden@h/d", "name"),
            ("postgres://u:hidden@h/d#", "name"),
            ("postgres://u:hidden@h:no/d#n", "port"),
            ("postgres://u:hidden/x@h/d#n", "%2F"),
            ("postgres://u:hidden%zz@h/d#n", "%25"),
            ("postgres://u:hidden@h/d?ttl#n", "option"),
            ("postgres://h/d#a%00b", "NUL"),
        ] {
            let error = Url::parse(text).expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
            assert!(!error.contains("hidden"), "{text}: {error}");
        }
    }

    #[test]
    fn a_password_that_is_not_encoded_is_never_taken_for_another_part() {
        for login in [
            "ann:/hidden",
            "ann:#hidden",
            "ann:?hidden=",
            "ann:12/hidden",
            "ann:12#hidden",
            "ann:12?hidden=",
            "ann:12/x#hidden",
            "ann:1@2/hidden",
            "ann:1@2#hidden",
            "ann:1@2?a=hidden",
        ] {
            let error = Url::parse(&format!("postgres://{login}@db/app#n")).expect_err(login);
            let error = error.to_string();
            assert!(error.contains("%2F"), "{login}: {error}");
            assert!(!error.contains("hidden"), "{login}: {error}");
        }
        for text in [
            "postgres://h/d?user=a@b#n",
            "postgres://ann:1@h/d#deploy@host",
            "redis://h:1/#deploy@host",
            "etcd://h/a@b#n#m@o",
        ] {
            Url::parse(text).expect(text);
        }
    }

    #[test]
    fn debug_output_has_no_password() {
        let url = Url::parse("postgres://u:hidden@h/d#n").expect("a URL");
        assert!(!format!("{url:?}").contains("hidden"));
    }

    #[test]
    fn no_text_makes_it_panic() {
        let mut state = 7_u64;
        let alphabet: Vec<char> = "a:/@#?&=%[],.0é\0 ".chars().collect();
        for _ in 0..20_000 {
            let mut text = String::from("postgres://");
            for _ in 0..12 {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                text.push(alphabet[(state >> 33) as usize % alphabet.len()]);
            }
            let _ = Url::parse(&text);
        }
    }
}
