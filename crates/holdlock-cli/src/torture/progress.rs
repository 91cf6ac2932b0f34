//! The line that shows on a terminal how far the run is.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use super::text::grouped;
use crate::show::time::span;
use crate::sys::groups::{in_foreground, own_group};

/// How often it changes.
const EVERY: Duration = Duration::from_millis(200);

pub(super) struct Progress {
    time: Duration,
    sections: Option<u64>,
    next: Option<Instant>,
    shown: bool,
}

impl Progress {
    pub(super) fn new(time: Duration, sections: Option<u64>) -> Progress {
        let in_place = io::stderr().is_terminal()
            && std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
        Progress {
            time,
            sections,
            next: in_place.then(Instant::now),
            shown: false,
        }
    }

    pub(super) fn show(&mut self, elapsed: Duration, sections: u64) {
        let Some(next) = self.next.filter(|next| Instant::now() >= *next) else {
            return;
        };
        self.next = Some(next + EVERY);
        // A job in the background keeps silent.
        if in_foreground(io::stderr()).is_some_and(|group| group != own_group()) {
            return;
        }
        let of = self.sections.map(|all| format!(" of {}", grouped(all)));
        let text = format!(
            "\rholdlock: {} of {}, {}{} sections\x1b[K",
            span(elapsed),
            span(self.time),
            grouped(sections),
            of.unwrap_or_default()
        );
        write(&text);
        self.shown = true;
    }

    /// Removes the line.
    pub(super) fn end(&mut self) {
        if self.shown {
            write("\r\x1b[K");
        }
        self.next = None;
    }
}

fn write(text: &str) {
    // Where that fails, it cannot be reported either.
    let _ = io::stderr().write_all(text.as_bytes());
}
