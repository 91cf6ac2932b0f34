//! The files in which users of PostgreSQL keep addresses and passwords.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::secret::Secret;

/// The password for a connection, from a password file (`~/.pgpass`). A line is
/// `host:port:database:user:password`; `*` matches everything, and a backslash quotes.
pub(super) fn password(
    file: &str,
    host: &str,
    port: u16,
    database: &str,
    user: &str,
) -> Option<Secret> {
    let port = port.to_string();
    let wanted = [host, &port, database, user];
    file.lines()
        .filter(|line| !line.starts_with('#'))
        .find_map(|line| {
            let mut fields = fields(line).into_iter();
            let matches = wanted.iter().all(|wanted| {
                let field = fields.next();
                field.is_some_and(|(field, quoted)| field == *wanted || (field == "*" && !quoted))
            });
            matches.then(|| fields.next().map(|(password, _)| Secret::new(password)))?
        })
}

/// The fields of a line, and whether each contained a backslash.
fn fields(line: &str) -> Vec<(String, bool)> {
    let mut fields = vec![(String::new(), false)];
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        let last = fields.len() - 1;
        match character {
            ':' if last < 4 => fields.push((String::new(), false)),
            '\\' => {
                fields[last].0.extend(characters.next());
                fields[last].1 = true;
            }
            _ => fields[last].0.push(character),
        }
    }
    fields
}

/// A password file, unless others may read it: then it is ignored, and the second value says so.
pub(super) fn password_file(path: &Path) -> (Option<String>, Option<String>) {
    let Ok(facts) = std::fs::metadata(path) else {
        return (None, None);
    };
    if facts.is_file() && facts.mode() & 0o077 != 0 {
        let warning = format!(
            "the password file {} is ignored: others may read or write it; chmod 0600 it",
            path.display()
        );
        return (None, Some(warning));
    }
    (std::fs::read_to_string(path).ok(), None)
}

/// The settings of a service, from a service file (`pg_service.conf`). None if it is not there.
pub(super) fn service(file: &str, name: &str) -> Option<HashMap<String, String>> {
    let mut lines = file.lines().map(str::trim);
    lines.find(|line| {
        let section = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        section == Some(name)
    })?;
    let settings = lines
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('='));
    let owned = |(key, value): (&str, &str)| (key.trim().to_owned(), value.trim().to_owned());
    Some(settings.map(owned).collect())
}

/// The service files, the user's first.
pub(super) fn service_files() -> Vec<PathBuf> {
    let of_user = std::env::var_os("PGSERVICEFILE").map(PathBuf::from);
    let of_user = of_user.or_else(|| Some(home()?.join(".pg_service.conf")));
    let of_system = std::env::var_os("PGSYSCONFDIR").map(PathBuf::from);
    let of_system = of_system.unwrap_or_else(|| "/etc/postgresql-common".into());
    let of_system = of_system.join("pg_service.conf");
    of_user.into_iter().chain([of_system]).collect()
}

pub(super) fn home() -> Option<PathBuf> {
    std::env::var_os("HOME").map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_matches_has_the_password() {
        let file = "# comment\nother:*:*:*:no\n\nh:5432:d\\:b:u:s:e\\\\cret\n*:*:*:*:any\n\\*:*";
        let found = |host, database| {
            let secret = password(file, host, 5432, database, "u");
            secret.map(|secret| secret.reveal().to_owned())
        };
        assert_eq!(found("h", "d:b").as_deref(), Some("s:e\\cret"));
        assert_eq!(found("x", "d").as_deref(), Some("any"));
        assert_eq!(found("other", "d").as_deref(), Some("no"));
        assert!(password("h:1:d:u", "h", 1, "d", "u").is_none());
    }

    #[test]
    fn a_service_is_a_section() {
        let file = "[a]\nhost=x\n\n[b]\n# c\nhost = y\nport=1\n[c]\nuser=z\n";
        let found = service(file, "b").expect("there");
        assert_eq!(found.len(), 2);
        assert_eq!(found["host"], "y");
        assert!(service(file, "d").is_none());
    }
}
