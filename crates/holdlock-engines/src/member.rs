//! Who holds a lock or waits for it, and the record by which each of them tells it to the others.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use holdlock::Mode;
use holdlock::inspect::printable;
use serde_json::{Map, Value};

use crate::keeper;
use crate::process;
use crate::sys::fork::PerProcess;

/// One that holds a lock or waits for it.
///
/// What it tells of itself comes from a record that it shows in the engine. The fields are `None`
/// where the record is missing or hidden, and for programs other than holdlock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// Exclusive or shared.
    pub mode: Mode,
    /// The name of the host that the process runs on.
    pub host: Option<String>,
    /// The process, on that host.
    pub pid: Option<u32>,
    /// The user whom the process belongs to, on that host.
    pub user: Option<String>,
    /// The program or the command.
    pub command: Option<String>,
    /// What the process says about itself.
    pub note: Option<String>,
    /// When it acquired the lock, or began to wait, by the clock of that host.
    pub since: Option<SystemTime>,
    /// The token of a holder.
    pub token: Option<u64>,
    /// How long the engine keeps the lock for this holder if it hears nothing more. `None` where
    /// the engine does not know.
    pub rest: Option<Duration>,
    /// Which process it is on its host, so that a number that is in use again is not mistaken.
    pub(crate) identity: Option<String>,
    /// The engine's name for the connection or lease.
    pub session: Option<String>,
    /// From where the connection comes, and as which user of the engine.
    pub login: Option<String>,
}

/// The holders and the waiters of a lock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Members {
    /// Those who hold it.
    pub holders: Vec<Member>,
    /// Those who wait for it, in the order in which they will be served.
    pub waiters: Vec<Member>,
}

/// `pid 12 (make) of root on db1`, or what the engine knows.
impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(pid) = self.pid else {
            f.write_str("a session")?;
            if let Some(session) = &self.session {
                write!(f, " ({})", printable(session))?;
            }
            return match &self.login {
                Some(login) => write!(f, " of {}", printable(login)),
                None => Ok(()),
            };
        };
        write!(f, "pid {pid}")?;
        if let Some(command) = &self.command {
            write!(f, " ({})", printable(command))?;
        }
        if let Some(user) = &self.user {
            write!(f, " of {}", printable(user))?;
        }
        if let Some(host) = &self.host {
            write!(f, " on {}", printable(host))?;
        }
        if let Some(note) = &self.note {
            write!(f, ": {}", printable(note))?;
        }
        Ok(())
    }
}

impl Member {
    /// One of which the engine knows only the mode.
    pub(crate) fn unknown(mode: Mode) -> Member {
        Member {
            mode,
            host: None,
            pid: None,
            user: None,
            command: None,
            note: None,
            since: None,
            token: None,
            rest: None,
            identity: None,
            session: None,
            login: None,
        }
    }

    /// What this process tells about a request of its own. Asks the name service for the user: the
    /// helper thread must not call this.
    pub(crate) fn of_this_process(mode: Mode, command: Option<String>) -> Member {
        let host = rustix::system::uname();
        let comm = || std::fs::read_to_string("/proc/self/comm");
        Member {
            host: Some(host.nodename().to_string_lossy().into_owned()),
            pid: Some(std::process::id()),
            user: user(),
            command: command.or_else(|| Some(comm().ok()?.trim_end().to_owned())),
            since: Some(SystemTime::now()),
            identity: process::identity(std::process::id()),
            ..Member::unknown(mode)
        }
    }

    /// The number of the process, if it runs on this host, in the namespace of the caller, and
    /// still is the one that holds or waits.
    pub fn pid_here(&self) -> Option<u32> {
        let (pid, identity) = (self.pid?, self.identity.as_ref()?);
        (process::identity(pid).as_ref() == Some(identity)).then_some(pid)
    }

    /// The record: JSON in ASCII, at most `limit` bytes. It contains no `/`, and so neither the
    /// beginning nor the end of a comment.
    pub(crate) fn record(&self, lock: &str, limit: usize) -> String {
        // The longest texts are cut first, until the record is short enough.
        (0..8)
            .map(|round| self.cut_record(lock, 256 >> round))
            .find(|record| record.len() <= limit)
            .unwrap_or_default()
    }

    fn cut_record(&self, lock: &str, most: usize) -> String {
        let mut record = Map::new();
        let text = |text: &Option<String>| {
            let cut = |text: &String| text.chars().take(most).collect::<String>();
            text.as_ref().map(|text| Value::from(cut(text)))
        };
        let since = self
            .since
            .and_then(|since| since.duration_since(UNIX_EPOCH).ok());
        let fields = [
            ("v", Some(Value::from(1))),
            ("name", text(&Some(lock.to_owned()))),
            ("mode", Some(Value::from(self.mode.to_string()))),
            ("host", text(&self.host)),
            ("pid", self.pid.map(Value::from)),
            ("id", text(&self.identity)),
            ("user", text(&self.user)),
            ("cmd", text(&self.command)),
            ("since", since.map(|since| Value::from(since.as_secs()))),
            ("token", self.token.map(Value::from)),
            ("note", text(&self.note)),
        ];
        for (key, value) in fields {
            if let Some(value) = value {
                record.insert(key.to_owned(), value);
            }
        }
        ascii(&Value::Object(record).to_string())
    }

    /// The name of the lock in a record; its first characters, if it is very long.
    pub(crate) fn name_in(record: &str) -> Option<String> {
        let record: Value = serde_json::from_str(record).ok()?;
        record.get("name")?.as_str().map(str::to_owned)
    }

    /// Takes over what a record says. Returns false, and changes nothing, if it is none.
    pub(crate) fn read_record(&mut self, record: &str) -> bool {
        let Ok(Value::Object(record)) = serde_json::from_str(record) else {
            return false;
        };
        if record.get("v").and_then(Value::as_u64) != Some(1) {
            return false;
        }
        let text = |key| record.get(key).and_then(Value::as_str).map(str::to_owned);
        let number = |key| record.get(key).and_then(Value::as_u64);
        self.host = text("host");
        self.pid = number("pid").and_then(|pid| pid.try_into().ok());
        self.identity = text("id");
        self.user = text("user");
        self.command = text("cmd");
        self.note = text("note");
        self.token = number("token");
        let since = number("since").map(Duration::from_secs);
        self.since = since.and_then(|since| UNIX_EPOCH.checked_add(since));
        match text("mode").as_deref() {
            Some("shared") => self.mode = Mode::Shared,
            Some("exclusive") => self.mode = Mode::Exclusive,
            _ => {}
        }
        true
    }
}

/// The name of the user. The name service is asked once for each user that the process runs as: it
/// can take long, or be silent.
fn user() -> Option<String> {
    static KNOWN: PerProcess<(u32, String)> = PerProcess::new();
    debug_assert!(!keeper::is_this_thread(), "it has locks to keep");
    let uid = rustix::process::geteuid().as_raw();
    match KNOWN.get() {
        Some((known, name)) if *known == uid => Some(name.clone()),
        _ => {
            let name = whoami::username().ok()?;
            KNOWN.set((uid, name.clone()));
            Some(name)
        }
    }
}

/// The same JSON with `\u` for `/` and for all that is not ASCII. Both occur only in strings.
fn ascii(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '/' => text.push_str("\\u002f"),
            '\0'..='\x7e' => text.push(character),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    text.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written_and_cannot_end_a_comment() {
        let mut ours =
            Member::of_this_process(Mode::Shared, Some("a */ \u{1F512} \\/* \n b".into()));
        ours.since = Some(UNIX_EPOCH + Duration::from_secs(1_795_000_000));
        ours.token = Some(u64::MAX);
        let record = ours.record("na/me", 900);
        assert!(record.is_ascii() && !record.contains('/'));
        assert!(!record.contains('\n'));
        let mut read = Member::unknown(Mode::Exclusive);
        assert!(read.read_record(&record));
        assert_eq!(read, ours);
    }

    #[test]
    fn a_long_record_is_cut() {
        let long = "\u{fc}".repeat(5000);
        let ours = Member::of_this_process(Mode::Exclusive, Some(long.clone()));
        let record = ours.record(&long, 900);
        assert!(!record.is_empty() && record.len() <= 900);
        assert!(Member::unknown(Mode::Exclusive).read_record(&record));
    }

    #[test]
    fn other_text_is_no_record() {
        let mut member = Member::unknown(Mode::Shared);
        for text in ["", "{", "[]", "{}", "{\"v\":2}", "select 1"] {
            assert!(!member.read_record(text));
        }
        assert_eq!(member, Member::unknown(Mode::Shared));
    }
}
