//! `holdlock top`: holders and waiters, live.
//!
//! | file | what it does |
//! |---|---|
//! | `engine` | asks an engine for its locks, in a thread of its own |
//! | `source`, `seen` | reads the locks of the host at a low cost, and remembers how long each process has waited |
//! | `model` | the locks, put into words |
//! | `app`, `sort` | the part that is on the screen, and the effects of the keys |
//! | `question` | the question before a signal is sent to a holder |
//! | `draw/` | one file for each view, into a grid of cells |
//! | `screen` | sends the changes of the grid to the terminal |
//! | `terminal`, `keys` | sets the terminal up, waits for keys and signals, and restores the terminal |
//! | `text` | escapes text from other programs |

mod app;
mod draw;
#[cfg(feature = "engines")]
mod engine;
mod keys;
mod model;
mod question;
mod screen;
mod seen;
mod sort;
mod source;
mod terminal;
#[cfg(test)]
mod tests;
mod text;

use std::ffi::OsString;
use std::time::{Duration, Instant};

use crate::exit::{self, Failure, Outcome};
use crate::show;
use crate::show::output::print;
use app::{App, Then};
use draw::Theme;
use keys::Keys;
use screen::Screen;
use source::Source;
use terminal::{Event, Terminal};

/// The shortest time between two looks.
pub(crate) const SHORTEST: Duration = Duration::from_millis(100);

/// After Esc, the rest of an arrow key may take this long.
const REST_OF_KEY: Duration = Duration::from_millis(50);

/// What the command line asks for.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The URL of an engine, whose locks are shown in place of those of the host.
    pub(crate) engine: Option<OsString>,
    pub(crate) interval: Duration,
    pub(crate) once: bool,
    pub(crate) size: Option<(u16, u16)>,
    pub(crate) press: String,
}

pub(crate) fn top(settings: Settings) -> Outcome {
    if settings.once {
        return once(&settings);
    }
    // Before the terminal is taken, so that an error is a line.
    let mut source = Source::new(settings.engine.as_deref())?;
    source.look();
    let terminal = Terminal::open()?;
    let trouble = |error| Failure::system("the terminal failed", error);
    let mut top = Top::new(settings.interval, source, terminal);
    // If the user may not read the locks at all, an error is better than an empty list.
    if let Some(message) = &top.source.host().trouble {
        return Err(Failure::new(exit::OS_ERROR, message.clone()));
    }
    let end = top.run().map_err(trouble)?;
    if let Some(number) = end {
        top.terminal.die(number);
    }
    Ok(exit::SUCCESS)
}

/// One picture, as text.
fn once(settings: &Settings) -> Outcome {
    let mut source = Source::new(settings.engine.as_deref())?;
    source.look();
    if let Some(message) = &source.host().trouble {
        return Err(Failure::new(exit::OS_ERROR, message.clone()));
    }
    let size = settings.size.or_else(terminal::size).unwrap_or((80, 24));
    let theme = Theme { color: false };
    let mut app = App::new(settings.interval);
    app.settle(source.host());
    let mut picture = Screen::blank(size);
    draw::draw(&mut picture, &mut app, source.host(), theme);
    let mut keys = Keys::default();
    let mut pressed = keys.feed(settings.press.as_bytes());
    pressed.extend(keys.complete());
    for key in pressed {
        app.press(key, source.host());
        picture = Screen::blank(size);
        draw::draw(&mut picture, &mut app, source.host(), theme);
    }
    let text = screen::as_text(picture, !show::terminal::has_unicode());
    print(&text)?;
    Ok(exit::SUCCESS)
}

/// The state of the running program.
struct Top {
    source: Source,
    app: App,
    screen: Screen,
    theme: Theme,
    keys: Keys,
    terminal: Terminal,
    next_look: Instant,
}

impl Top {
    fn new(interval: Duration, source: Source, terminal: Terminal) -> Top {
        let mut app = App::new(interval);
        app.settle(source.host());
        Top {
            source,
            app,
            screen: Screen::new(!show::terminal::has_unicode()),
            theme: Theme {
                color: show::terminal::has_colour(),
            },
            keys: Keys::default(),
            terminal,
            next_look: Instant::now() + interval,
        }
    }

    /// Runs until the user quits. Returns the signal that ended it, if one did.
    fn run(&mut self) -> std::io::Result<Option<i32>> {
        self.draw()?;
        loop {
            let event = self.terminal.wait(self.patience())?;
            let then = match event {
                Event::Closed => return Ok(None),
                Event::Input(bytes) => {
                    let keys = self.keys.feed(&bytes);
                    self.press(keys)
                }
                Event::Nothing if self.keys.is_incomplete() => {
                    let keys = self.keys.complete();
                    self.press(keys)
                }
                Event::Nothing => Then::Draw,
                Event::Signal(libc::SIGTSTP) => Then::Suspend,
                // Continued after a stop by SIGSTOP.
                Event::Signal(libc::SIGCONT) => {
                    self.terminal.take()?;
                    Then::Repaint
                }
                Event::Signal(libc::SIGWINCH) => Then::Repaint,
                Event::Signal(number) => return Ok(Some(number)),
            };
            match then {
                Then::Quit => return Ok(None),
                Then::Suspend => {
                    self.terminal.suspend()?;
                    self.screen.forget();
                }
                Then::Repaint => self.screen.forget(),
                Then::Look => self.next_look = Instant::now(),
                Then::Send => {
                    self.source.look();
                    self.app.send(&self.source);
                    self.app.settle(self.source.host());
                }
                Then::Draw => {}
            }
            self.look_if_due();
            self.draw()?;
        }
    }

    fn press(&mut self, keys: Vec<keys::Key>) -> Then {
        let mut last = Then::Draw;
        for key in keys {
            match self.app.press(key, self.source.host()) {
                Then::Draw => {}
                then @ (Then::Quit | Then::Suspend | Then::Send) => return then,
                then => last = then,
            }
        }
        last
    }

    /// The time to sleep if nothing happens.
    fn patience(&self) -> Duration {
        if self.keys.is_incomplete() {
            REST_OF_KEY
        } else if self.app.paused {
            Duration::from_secs(3600)
        } else {
            self.next_look.saturating_duration_since(Instant::now())
        }
    }

    fn look_if_due(&mut self) {
        let now = Instant::now();
        if !self.app.paused && now >= self.next_look {
            self.source.look();
            self.app.settle(self.source.host());
            self.next_look = now + self.app.interval;
        }
    }

    /// Writes the changes. After an interruption by a signal, the next call writes everything.
    fn draw(&mut self) -> std::io::Result<()> {
        let mut picture = Screen::blank(self.terminal.size());
        draw::draw(&mut picture, &mut self.app, self.source.host(), self.theme);
        let change = self.screen.change(picture);
        if !change.is_empty() && !self.terminal.write(&change)? {
            self.screen.forget();
        }
        Ok(())
    }
}
