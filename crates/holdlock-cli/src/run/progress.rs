//! Reports progress during a wait.
//!
//! A terminal gets one line soon; the line is updated in its place and removed when the wait is
//! over. A file or pipe, such as a log, gets a line when the wait has become long, further lines at
//! growing distances, and a last line when the lock is acquired. There are no colours.

use std::ffi::OsStr;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant, SystemTime};

use holdlock::Record;
use holdlock::inspect::{self, Snapshot, Unseen, Waiter};

use super::conflict::OUTSIDE;
use super::{Progress, Settings};
use crate::exit;
use crate::say::write;
use crate::show::time::{rounded, span};
use crate::show::{held, text};
use crate::sys::groups::{in_foreground, own_group};

/// A shorter wait is not reported.
const SOON: Duration = Duration::from_millis(500);
/// How often the line on a terminal changes.
const TICK: Duration = Duration::from_secs(1);
/// A wait of this length is reported in a log.
const LONG: Duration = Duration::from_secs(5);
const MINUTE: Duration = Duration::from_secs(60);

/// The holders and waiters of a lock, as far as they are known.
#[derive(Default)]
pub(super) struct Seen {
    /// Pid, command and user of the first holder, if they could be found.
    holder: Option<String>,
    /// The start of that process. The kernel does not record when it acquired the lock.
    started: Option<SystemTime>,
    /// For how long the first holder has the lock, and why, if the lock has a record.
    held: Option<String>,
    more: usize,
    /// Our place in the queue, and the number of waiters.
    queue: Option<(usize, usize)>,
}

impl Seen {
    pub(super) fn of(snapshot: &Snapshot, us: u32) -> Seen {
        // The kernel hides the waiters behind a hidden holder, too.
        let outside = || is_hidden(snapshot).then(|| OUTSIDE.to_owned());
        let Some(file) = snapshot.files.iter().find(|file| !file.removed) else {
            return Seen {
                holder: outside(),
                ..Seen::default()
            };
        };
        let holders = file.holders();
        let first = holders.first();
        let record = Record::of(file);
        let record = record.filter(|record| first.is_some_and(|first| first.pid == record.pid));
        let is_us = |waiter: &Waiter| waiter.process.as_ref().is_some_and(|p| p.pid == us);
        let place = file.waiters.iter().position(is_us);
        Seen {
            holder: first
                .map(|holder| text::process_cut(holder, None))
                .or_else(outside),
            started: first.and_then(|holder| holder.started),
            held: record.as_ref().map(held::words),
            more: holders.len().saturating_sub(1),
            queue: place.map(|place| (place + 1, file.waiters.len())),
        }
    }
}

#[cfg(feature = "engines")]
impl Seen {
    /// Of a lock that is kept elsewhere: the first holder, since when it holds the lock, how many
    /// others do, and our place in the queue.
    pub(super) fn elsewhere(
        holder: Option<String>,
        since: Option<SystemTime>,
        more: usize,
        queue: Option<(usize, usize)>,
    ) -> Seen {
        let age = since.and_then(|since| since.elapsed().ok());
        Seen {
            holder,
            started: None,
            held: age.map(|age| format!("for {}", span(age))),
            more,
            queue,
        }
    }
}

/// Whether the kernel does not show all locks.
pub(super) fn is_hidden(snapshot: &Snapshot) -> bool {
    snapshot.unseen.contains(&Unseen::OtherNamespaces)
}

/// Where and when a wait is shown.
pub(super) struct Display {
    manner: Manner,
    /// What is waited for now.
    lock: String,
    /// All locks of the run.
    all: String,
    began: Instant,
    next: Instant,
    shown: bool,
    quiet: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    InPlace,
    Lines,
    Nothing,
}

impl Display {
    pub(super) fn new(settings: &Settings, began: Instant) -> Display {
        let in_place = io::stderr().is_terminal()
            && std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
        let manner = match settings.progress {
            _ if settings.quiet => Manner::Nothing,
            Progress::Never => Manner::Nothing,
            _ if in_place => Manner::InPlace,
            _ => Manner::Lines,
        };
        let first = match settings.progress {
            Progress::Auto if manner == Manner::Lines => LONG,
            _ => SOON,
        };
        Display {
            manner,
            lock: String::new(),
            all: settings
                .locks
                .iter()
                .map(|lock| short(lock))
                .collect::<Vec<_>>()
                .join(", "),
            began,
            next: began + first,
            shown: false,
            quiet: settings.quiet,
        }
    }

    /// The run is for this lock alone. The user's word for it may be a URL with a password, which
    /// is never shown.
    #[cfg(feature = "engines")]
    pub(super) fn call_it(&mut self, lock: &OsStr) {
        self.turn_to(lock);
        self.all = short(lock);
    }

    /// The wait is for this lock from now on.
    pub(super) fn turn_to(&mut self, lock: &OsStr) {
        self.lock = short(lock);
    }

    /// Whether a line will be shown so soon that the holders are needed now.
    pub(super) fn shows_holders(&self, now: Instant) -> bool {
        self.manner != Manner::Nothing && self.next <= now + LONG
    }

    /// Shows the line that is due. Returns the time of the next one; None: there is no other.
    pub(super) fn show(&mut self, seen: &Seen, now: Instant) -> Option<Instant> {
        if self.manner == Manner::Nothing {
            return None;
        }
        if now >= self.next {
            let waited = now.saturating_duration_since(self.began);
            let text = self.text(seen, waited);
            self.next = now
                + match self.manner {
                    Manner::InPlace => {
                        if !in_background() {
                            let text: String = text.chars().take(width()).collect();
                            write(&format!("\r{text}\x1b[K"));
                            self.shown = true;
                        }
                        TICK
                    }
                    _ => {
                        write(&format!("{text}\n"));
                        self.shown = true;
                        // After a minute, after two, after four.
                        waited.max(MINUTE - waited.min(MINUTE))
                    }
                };
        }
        Some(self.next)
    }

    /// Prints a text on a line of its own.
    pub(super) fn warn(&mut self, text: &str) {
        if self.quiet {
            return;
        }
        if self.manner == Manner::InPlace && self.shown {
            write("\r\x1b[K");
            self.next = Instant::now();
        }
        exit::warn(&text.replace(char::is_control, "\u{fffd}"));
    }

    /// Ends the report: removes the line on a terminal, or prints the last line elsewhere.
    pub(super) fn end(&mut self, acquired: bool) {
        match self.manner {
            // Another job's text is on the line now, if this one was put into the background.
            Manner::InPlace if self.shown && !in_background() => write("\r\x1b[K"),
            Manner::Lines if self.shown && acquired => {
                let waited = rounded(self.began.elapsed());
                exit::warn(&format!("acquired {} after {waited}", self.all));
            }
            _ => {}
        }
        self.manner = Manner::Nothing;
    }

    fn text(&self, seen: &Seen, waited: Duration) -> String {
        let mut text = format!("holdlock: waiting {} for {}", span(waited), self.lock);
        if let Some((position, length)) = seen.queue
            && length > 1
        {
            text.push_str(&format!(", place {position} of {length}"));
        }
        if let Some(holder) = &seen.holder {
            text.push_str(&format!("; held by {holder}"));
            if let Some(held) = &seen.held {
                text.push_str(&format!(" {held}"));
            } else if let Some(started) = seen.started {
                let age = started.elapsed().unwrap_or_default();
                text.push_str(&format!(", started {} ago", span(age)));
            }
            if seen.more > 0 {
                text.push_str(&format!(" and {} more", seen.more));
            }
        }
        // A path may contain any characters; the result must stay one line.
        inspect::printable(&text).to_string()
    }
}

/// Whether another job has the terminal now: a job in the background prints nothing.
fn in_background() -> bool {
    in_foreground(io::stderr()).is_some_and(|group| group != own_group())
}

/// One character less than a line has, so that the cursor stays in it.
fn width() -> usize {
    let size = rustix::termios::tcgetwinsize(io::stderr()).ok();
    let columns = size.map_or(0, |size| usize::from(size.ws_col));
    if columns > 1 { columns - 1 } else { 79 }
}

/// The end of a long path, so that the line has room for the holder.
fn short(lock: &OsStr) -> String {
    const LENGTH: usize = 36;
    let lock = inspect::printable(lock).to_string();
    match lock.char_indices().rev().nth(LENGTH) {
        Some((at, first)) => format!("…{}", &lock[at + first.len_utf8()..]),
        None => lock,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_paths_show_their_end() {
        assert_eq!(short(OsStr::new("./x.lock")), "./x.lock");
        let long = format!("/a/{}/ä.lock", "b".repeat(50));
        let shown = short(OsStr::new(&long));
        assert!(shown.starts_with("…b") && shown.ends_with("/ä.lock"));
        assert_eq!(shown.chars().count(), 37);
    }
}
