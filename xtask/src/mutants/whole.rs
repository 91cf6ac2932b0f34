//! Runs a program, and ends all processes that it leaves behind: a program without one of its
//! mechanisms may run for ever.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// The variable by which what the program has started is found, whatever has become its parent.
const MARK: &str = "HOLDLOCK_MUTANTS";

/// The program's status and what it has said. A file takes what it says: at a pipe, this would wait
/// for all that the program leaves behind.
pub(super) fn run(mut command: Command, said: &Path) -> io::Result<(ExitStatus, String)> {
    let file = File::create(said)?;
    let mark = said.display().to_string();
    let status = command
        .env(MARK, &mark)
        .stdout(file.try_clone()?)
        .stderr(file)
        .status()?;
    // Until there are none: one may start another meanwhile. A process that becomes another program
    // has no variables for a moment, so one look that finds none is not enough.
    let mut looks_without = 0;
    while looks_without < 3 {
        looks_without = if end_marked(&mark)? {
            0
        } else {
            looks_without + 1
        };
        thread::sleep(Duration::from_millis(10));
    }
    let said = fs::read(said)?;
    Ok((status, String::from_utf8_lossy(&said).into_owned()))
}

/// Ends all processes that have the mark. Returns whether there were any.
fn end_marked(mark: &str) -> io::Result<bool> {
    let wanted = format!("{MARK}={mark}");
    let mut found = false;
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let number = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        let Some(pid) = number.and_then(Pid::from_raw) else {
            continue;
        };
        // It may have ended, and a zombie has none.
        let variables = fs::read(entry.path().join("environ")).unwrap_or_default();
        if variables
            .split(|byte| *byte == 0)
            .any(|one| one == wanted.as_bytes())
        {
            found = true;
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_leaves_behind_is_ended() {
        let said = std::env::temp_dir().join(format!("holdlock-said-{}", std::process::id()));
        let mut command = Command::new("sh");
        command.args(["-c", "setsid sleep 1000 & setsid sleep 1000 & exit 3"]);
        let (status, _) = run(command, &said).expect("runs");
        assert_eq!(status.code(), Some(3));
        assert!(!end_marked(&said.display().to_string()).expect("read"));
        fs::remove_file(said).expect("removed");
    }
}
