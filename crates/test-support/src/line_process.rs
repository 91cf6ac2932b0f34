//! A process that takes lines and answers lines.

use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A process with a pipe to its standard input and one from its standard output. Killed and reaped
/// when dropped.
pub struct LineProcess {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl LineProcess {
    /// Starts the command.
    ///
    /// # Errors
    ///
    /// If the process cannot be started.
    pub fn start(command: &mut Command) -> io::Result<LineProcess> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (Some(to), Some(from)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("a process without pipes"));
        };
        Ok(LineProcess {
            child,
            to,
            from: BufReader::new(from),
        })
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a line.
    ///
    /// # Errors
    ///
    /// If the process has ended.
    pub fn tell(&mut self, line: impl fmt::Display) -> io::Result<()> {
        writeln!(self.to, "{line}")
    }

    /// Waits for its next line. `None` if the process has ended or has closed its output.
    ///
    /// # Errors
    ///
    /// If the line is not UTF-8.
    pub fn hear(&mut self) -> io::Result<Option<String>> {
        let mut line = String::new();
        let length = self.from.read_line(&mut line)?;
        Ok((length > 0).then(|| line.trim_end().to_owned()))
    }
}

impl Drop for LineProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
