//! A shell with job control at a real (pseudo-)terminal.
#![allow(unsafe_code, reason = "pre_exec")]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use holdlock_test_support::{DEADLINE, wait_for};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::Place;

/// Ctrl-C, as the keyboard sends it.
pub(crate) const INTERRUPT: &str = "\x03";
/// Ctrl-Z.
pub(crate) const SUSPEND: &str = "\x1a";

/// The shell, and the text on its screen.
pub(crate) struct Terminal {
    keyboard: File,
    shell: Child,
    seen: String,
    /// The position behind the last text that was expected and found.
    read: usize,
}

impl Terminal {
    /// Runs a script by `sh -m`, with the program's path as `$HOLDLOCK`.
    pub(crate) fn start(place: &Place, script: &str) -> Terminal {
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC);
        let keyboard = keyboard.unwrap();
        grantpt(&keyboard).unwrap();
        unlockpt(&keyboard).unwrap();
        let name = ptsname(&keyboard, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let screen = rustix::fs::open(name, flags, Mode::empty()).unwrap();
        let again = |fd: &OwnedFd| fd.try_clone().unwrap();
        let mut command: Command = place.command("sh");
        command
            .args(["-m", "-c", script])
            .env("TERM", "xterm")
            .stdin(again(&screen))
            .stdout(again(&screen))
            .stderr(screen);
        // SAFETY: two system calls, between fork and exec; standard input is open, it was just
        // set up.
        unsafe {
            command.pre_exec(|| {
                rustix::process::setsid()?;
                rustix::process::ioctl_tiocsctty(BorrowedFd::borrow_raw(0))?;
                Ok(())
            })
        };
        let shell = command.spawn().unwrap();
        Terminal {
            keyboard: keyboard.into(),
            shell,
            seen: String::new(),
            read: 0,
        }
    }

    /// Presses keys.
    pub(crate) fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Makes the window as large as that.
    pub(crate) fn resize(&self, columns: u16, rows: u16) {
        let size = Winsize {
            ws_col: columns,
            ws_row: rows,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&self.keyboard, size).unwrap();
    }

    /// Closes the window, and waits for the end of the shell.
    pub(crate) fn hang_up(mut self) -> ExitStatus {
        self.keyboard = File::open("/dev/null").unwrap();
        wait_for("the shell to end", || self.shell.try_wait().unwrap())
    }

    /// Examines the whole text so far, until there is an answer.
    pub(crate) fn wait_until<T>(&mut self, what: &str, ask: impl Fn(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(answer) = ask(&self.seen) {
                return answer;
            }
            let goes_on = Instant::now() < deadline && self.look();
            assert!(goes_on, "waited in vain for {what}: {:?}", self.seen);
        }
    }

    /// Waits until this text appears after the text that was read before.
    pub(crate) fn expect(&mut self, text: &str) {
        self.read_until(text);
    }

    /// The same; returns the text before it.
    pub(crate) fn read_until(&mut self, text: &str) -> String {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let rest = &self.seen[self.read..];
            if let Some(at) = rest.find(text) {
                let before = rest[..at].to_owned();
                self.read += at + text.len();
                return before;
            }
            let goes_on = Instant::now() < deadline && self.look();
            assert!(goes_on, "{text:?} is not in {:?}", &self.seen[self.read..]);
        }
    }

    /// Waits for the shell to end. Returns all that was on the screen.
    pub(crate) fn finish(mut self) -> String {
        let deadline = Instant::now() + DEADLINE;
        while self.look() {
            assert!(Instant::now() < deadline, "hangs: {:?}", self.seen);
        }
        std::mem::take(&mut self.seen)
    }

    /// Reads the text that arrives within a short time. False at the end of the text.
    fn look(&mut self) -> bool {
        let mut fds = [PollFd::from_borrowed_fd(
            self.keyboard.as_fd(),
            PollFlags::IN,
        )];
        let while_ = Duration::from_millis(100).try_into().unwrap();
        if poll(&mut fds, Some(&while_)).unwrap() == 0 {
            return true;
        }
        let mut bytes = [0; 4096];
        match self.keyboard.read(&mut bytes) {
            Ok(length) if length > 0 => {
                self.seen
                    .push_str(&String::from_utf8_lossy(&bytes[..length]));
                true
            }
            // EIO: no process has the terminal open.
            _ => false,
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // The end of the leader sends HUP to the processes that are still in the session.
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}
