//! Sets the terminal up, and restores it, however this program ends.

use std::io::{self, IsTerminal};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::stdio::{stdin, stdout};
use rustix::termios::{self, OptionalActions, Termios};

use crate::exit::Failure;
use crate::sys::signal_fd::SignalFd;

/// The settings of the terminal before the program. The panic hook needs them, too.
static BEFORE: OnceLock<Termios> = OnceLock::new();

/// Whether the terminal is set up. Restoring it twice would move the cursor onto newer text.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The other screen, without a cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[0m\x1b[?25h\x1b[?1049l";

/// The terminal while we have it. Dropping it gives the terminal back.
pub(super) struct Terminal {
    signals: SignalFd,
}

/// The reason for the end of a sleep.
pub(super) enum Event {
    Input(Vec<u8>),
    Signal(i32),
    /// The time is over.
    Nothing,
    /// The terminal is gone.
    Closed,
}

impl Terminal {
    pub(super) fn open() -> Result<Terminal, Failure> {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() || dumb {
            return Err(Failure::usage(
                "top needs a terminal on standard input and output, and its type in TERM; \
                 `holdlock list` prints the locks once, `holdlock top --once` a picture",
            ));
        }
        let before = termios::tcgetattr(stdin())
            .map_err(|error| Failure::system("cannot ask the terminal for its settings", error))?;
        let _ = BEFORE.set(before);
        let signals = SignalFd::new(&[
            libc::SIGTERM,
            libc::SIGINT,
            libc::SIGHUP,
            libc::SIGQUIT,
            libc::SIGTSTP,
            libc::SIGCONT,
            libc::SIGWINCH,
        ])
        .map_err(|error| Failure::system("cannot wait for signals", error))?;
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            hook(panic);
        }));
        let terminal = Terminal { signals };
        terminal
            .take()
            .map_err(|error| Failure::system("cannot set the terminal up", error))?;
        Ok(terminal)
    }

    /// A process in the background is stopped here until it is in the foreground.
    pub(super) fn take(&self) -> io::Result<()> {
        TAKEN.store(true, Ordering::Relaxed);
        if let Some(before) = BEFORE.get() {
            let mut raw = before.clone();
            raw.make_raw();
            termios::tcsetattr(stdin(), OptionalActions::Now, &raw)?;
        }
        let _ = self.write(ENTER);
        Ok(())
    }

    /// Stops this process as a job that the shell can continue.
    pub(super) fn suspend(&self) -> io::Result<()> {
        give_back();
        crate::sys::signals::stop(libc::SIGTSTP, true);
        self.take()
    }

    /// Ends as the signal would have ended us.
    pub(super) fn die(self, number: i32) {
        give_back();
        self.signals.yield_to(number);
    }

    /// Columns and rows. Some terminals do not know theirs.
    pub(super) fn size(&self) -> (u16, u16) {
        size().unwrap_or((80, 24))
    }

    /// Sleeps until there is something to do.
    pub(super) fn wait(&self, limit: Duration) -> io::Result<Event> {
        let mut fds = [
            PollFd::from_borrowed_fd(stdin(), PollFlags::IN),
            PollFd::new(&self.signals, PollFlags::IN),
        ];
        let limit = limit.try_into().ok();
        match poll(&mut fds, limit.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if let Some(number) = self.signals.next() {
            return Ok(Event::Signal(number));
        }
        if fds[0].revents().is_empty() {
            return Ok(Event::Nothing);
        }
        let mut bytes = [0; 256];
        match rustix::io::read(stdin(), &mut bytes) {
            Ok(0) | Err(Errno::IO) => Ok(Event::Closed),
            Ok(length) => Ok(Event::Input(bytes[..length].to_vec())),
            Err(Errno::INTR | Errno::AGAIN) => Ok(Event::Nothing),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes the text, unless a signal arrives while the terminal accepts nothing. Returns whether
    /// all was written.
    pub(super) fn write(&self, text: &str) -> io::Result<bool> {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let mut fds = [
                PollFd::from_borrowed_fd(stdout(), PollFlags::OUT),
                PollFd::new(&self.signals, PollFlags::IN),
            ];
            match poll(&mut fds, None) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            if fds[0].revents().is_empty() {
                return Ok(false);
            }
            match some(rest) {
                Ok(written) => rest = &rest[written..],
                // The terminal is gone. The next wait says how.
                Err(Errno::IO) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        give_back();
    }
}

pub(super) fn size() -> Option<(u16, u16)> {
    let size = termios::tcgetwinsize(stdout()).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col, size.ws_row))
}

/// A terminal that accepts output accepts at least this many bytes.
const PIECE: usize = 256;

fn some(bytes: &[u8]) -> rustix::io::Result<usize> {
    match rustix::io::write(stdout(), &bytes[..bytes.len().min(PIECE)]) {
        Ok(written) => Ok(written),
        Err(Errno::INTR | Errno::AGAIN) => Ok(0),
        Err(error) => Err(error),
    }
}

/// Restores the screen and the settings. Failures are ignored, because there is no way to report
/// them; a terminal that accepts nothing must not block the program.
fn give_back() {
    if !TAKEN.swap(false, Ordering::Relaxed) {
        return;
    }
    let patience = Duration::from_millis(200).try_into().ok();
    let mut fds = [PollFd::from_borrowed_fd(stdout(), PollFlags::OUT)];
    if poll(&mut fds, patience.as_ref()) == Ok(1) {
        let _ = some(LEAVE.as_bytes());
    }
    if let Some(before) = BEFORE.get() {
        let _ = termios::tcsetattr(stdin(), OptionalActions::Now, before);
    }
}
