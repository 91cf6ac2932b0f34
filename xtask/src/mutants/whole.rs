//! Runs a program, and ends all processes that it leaves behind: a program without one of its
//! mechanisms may run for ever.

use std::collections::HashSet;
use std::fs::{self, DirEntry, File};
use std::io;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// The variable by which what the program has started is found, whatever has become its parent.
const MARK: &str = "HOLDLOCK_MUTANTS";

/// Far longer than a process has no variables when it becomes another program.
const BECOMES: Duration = Duration::from_secs(60);

/// The program's status and what it has said. A file takes what it says: at a pipe, this would wait
/// for all that the program leaves behind.
pub(super) fn run(mut command: Command, said: &Path) -> io::Result<(ExitStatus, String)> {
    let file = File::create(said)?;
    let mark = said.display().to_string();
    let others = without_variables()?;
    let status = command
        .env(MARK, &mark)
        .stdout(file.try_clone()?)
        .stderr(file)
        .status()?;
    // Until there are none: one may start another meanwhile, so one look that finds none is not
    // enough.
    let began = Instant::now();
    let mut looks_without = 0;
    while looks_without < 3 {
        let found = end_marked(&mark)?
            || began.elapsed() < BECOMES && !without_variables()?.is_subset(&others);
        looks_without = if found { 0 } else { looks_without + 1 };
        thread::sleep(Duration::from_millis(10));
    }
    let said = fs::read(said)?;
    Ok((status, String::from_utf8_lossy(&said).into_owned()))
}

/// Ends all processes that have the mark. Returns whether there were any.
fn end_marked(mark: &str) -> io::Result<bool> {
    let wanted = format!("{MARK}={mark}");
    let mut found = false;
    for (pid, entry) in processes()? {
        if variables(&entry)
            .split(|byte| *byte == 0)
            .any(|one| one == wanted.as_bytes())
        {
            found = true;
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    Ok(found)
}

/// Processes that have a program and no variables. A process that becomes another program has none
/// for a moment, and may have the mark.
fn without_variables() -> io::Result<HashSet<Pid>> {
    let has_program = |entry: &DirEntry| fs::read_link(entry.path().join("exe")).is_ok();
    let is_without = |entry: &DirEntry| variables(entry).is_empty() && has_program(entry);
    let found = processes()?.filter(|(_, entry)| is_without(entry));
    Ok(found.map(|(pid, _)| pid).collect())
}

fn processes() -> io::Result<impl Iterator<Item = (Pid, DirEntry)>> {
    let with_pid = |entry: DirEntry| {
        let number = entry.file_name().to_str()?.parse().ok()?;
        Some((Pid::from_raw(number)?, entry))
    };
    Ok(fs::read_dir("/proc")?.flatten().filter_map(with_pid))
}

/// It may have ended, and a zombie has none.
fn variables(entry: &DirEntry) -> Vec<u8> {
    fs::read(entry.path().join("environ")).unwrap_or_default()
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
