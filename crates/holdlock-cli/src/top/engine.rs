//! Asks an engine for its locks. A thread of its own waits for the answers, so that the keys work
//! while the engine does not answer.

use std::collections::hash_map::DefaultHasher;
use std::ffi::OsStr;
use std::hash::{Hash, Hasher};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant, SystemTime};

use holdlock::inspect::{FileId, Process};
use holdlock_engines::{EngineServer, Error, Listed, Member};

use super::model::{File, Held, Host, Wait, Who};
use super::text::clean;
use crate::engines::{failure, open_place, tell};
use crate::exit::Failure;
use crate::show::time::span;
use crate::sys::signals;

/// How long a look waits for an answer. A later answer is shown by a later look.
const PATIENCE: Duration = Duration::from_millis(250);

pub(super) struct OfEngine {
    ask: Sender<()>,
    answers: Receiver<Result<Vec<Listed>, Error>>,
    asked: Option<Instant>,
    place: EngineServer,
    host: Host,
}

impl OfEngine {
    /// Asks once, so that an engine that cannot be asked is an error.
    pub(super) fn new(url: &OsStr) -> Result<OfEngine, Failure> {
        let place = open_place(url)?;
        tell(place.warnings());
        let first = place.list().map_err(|error| failure(&error))?;
        let (ask, asked) = channel();
        let (tell, answers) = channel();
        let name = place.name().to_owned();
        let asking = place.clone();
        let work = move || answer(&asking, &asked, &tell);
        let thread = std::thread::Builder::new().name("holdlock-top".to_owned());
        // Signals are for the thread that waits for keys.
        signals::without_any(|| thread.spawn(work))
            .map_err(|error| Failure::system("cannot start a thread", error))?;
        let mut source = OfEngine {
            ask,
            answers,
            asked: None,
            host: Host {
                name,
                at: SystemTime::now(),
                now: Instant::now(),
                files: Vec::new(),
                cycles: Vec::new(),
                unseen: Vec::new(),
                trouble: None,
                is_engine: true,
            },
            place,
        };
        source.take_over(first);
        Ok(source)
    }

    pub(super) fn host(&self) -> &Host {
        &self.host
    }

    /// Why no signal is sent to the process that the record of a holder names.
    pub(super) fn refuses(&self, pid: u32) -> Option<String> {
        match self.place.has_client(pid) {
            Ok(true) => None,
            Ok(false) => Some(format!("{pid} has no connection to this server")),
            Err(error) => Some(clean(&format!("{error:#}"))),
        }
    }

    pub(super) fn look(&mut self) {
        if self.asked.is_none() && self.ask.send(()).is_ok() {
            self.asked = Some(Instant::now());
        }
        let answer = self.answers.recv_timeout(PATIENCE);
        self.host.now = Instant::now();
        self.host.at = SystemTime::now();
        match answer {
            Ok(answer) => {
                self.asked = None;
                match answer {
                    Ok(listed) => {
                        self.host.trouble = None;
                        self.take_over(listed);
                    }
                    Err(error) => self.host.trouble = Some(clean(&format!("{error:#}"))),
                }
            }
            Err(_) => {
                let silent = self.asked.map(|asked| asked.elapsed()).unwrap_or_default();
                self.host.trouble = Some(format!("no answer for {}", span(silent)));
            }
        }
    }

    fn take_over(&mut self, listed: Vec<Listed>) {
        let files = listed.into_iter().map(|one| self.file(&one));
        self.host.files = files.collect();
    }

    fn file(&self, listed: &Listed) -> File {
        let name = listed.name.as_deref().unwrap_or("?");
        let now = self.host.now;
        let members = &listed.members;
        let held = |holder: &Member| Held {
            kind: brief(self.place.kind()),
            mode: holder.mode,
            range: String::new(),
            inherited_from: None,
            keepers: vec![who(holder)],
            held: words(holder),
        };
        let wait = |(waiter, turn): (&Member, u32)| Wait {
            kind: brief(self.place.kind()),
            mode: waiter.mode,
            range: String::new(),
            turn,
            who: Some(who(waiter)),
            since: age(waiter)
                .and_then(|age| now.checked_sub(age))
                .unwrap_or(now),
        };
        File {
            file_id: number(name),
            path: clean(&format!("{}#{name}", self.place.name())),
            about: self.place.kind().to_owned(),
            locks: members.holders.iter().map(held).collect(),
            waiters: members.waiters.iter().zip(1..).map(wait).collect(),
        }
    }
}

/// The engine in its narrow column.
fn brief(engine: &str) -> String {
    match engine {
        "postgres" => "pg".to_owned(),
        other => other.to_owned(),
    }
}

/// Answers until all senders are gone.
fn answer(place: &EngineServer, asked: &Receiver<()>, tell: &Sender<Result<Vec<Listed>, Error>>) {
    while asked.recv().is_ok() && tell.send(place.list()).is_ok() {}
}

/// The views know a lock by a number.
fn number(name: &str) -> FileId {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    FileId {
        major: 0,
        minor: 0,
        inode: hasher.finish(),
    }
}

fn age(member: &Member) -> Option<Duration> {
    Some(member.since?.elapsed().unwrap_or_default())
}

/// `for 12 min, token 1690: migrating accounts`
fn words(holder: &Member) -> Option<String> {
    let mut words = format!("for {}", span(age(holder)?));
    if let Some(token) = holder.token {
        words += &format!(", token {token}");
    }
    if let Some(rest) = holder.rest {
        words += &format!(", lease {} left", span(rest));
    }
    if let Some(note) = &holder.note {
        words += &format!(": {}", clean(note));
    }
    Some(words)
}

fn who(member: &Member) -> Who {
    let unknown = || "?".to_owned();
    let here = member.pid_here();
    let process = here.and_then(Process::of);
    let user = member.user.as_ref().or(member.login.as_ref());
    let user = user.map_or_else(unknown, clean);
    Who {
        pid: member.pid.unwrap_or(0),
        user: match &member.host {
            Some(host) => format!("{user}@{}", clean(host)),
            None => user,
        },
        command: member.command.as_ref().map_or_else(unknown, clean),
        state: process
            .as_ref()
            .and_then(|process| process.state)
            .map_or_else(unknown, |state| state.to_string()),
        started: process.and_then(|process| process.started),
        inherited: false,
        host: member.host.as_ref().map(clean),
        is_elsewhere: here.is_none(),
    }
}
