//! System calls of the whole process tree, including /bin/true, counted by strace.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::subjects::{self, Subject};
use crate::{Bench, Outcome};

/// strace, if this process may trace others.
pub(super) fn strace() -> Result<PathBuf, &'static str> {
    let strace = subjects::program("strace").ok_or("there is no strace in PATH")?;
    let mut trial = Command::new(&strace);
    trial.args(["-c", "-o", "/dev/null", super::NOTHING]);
    let status = trial.stdin(Stdio::null()).stderr(Stdio::null()).status();
    match status {
        Ok(status) if status.success() => Ok(strace),
        _ => Err("strace may not trace here"),
    }
}

/// The number of system calls of one run.
pub(super) fn count(strace: &Path, subject: &Subject, bench: &Bench) -> Outcome<f64> {
    let table = bench.dir.join("strace");
    let traced = subject.around([super::NOTHING]);
    let mut command = subjects::fresh(strace);
    command.args(["-c", "-f", "-o"]).arg(&table);
    command.arg(traced.get_program()).args(traced.get_args());
    super::once(&mut command)?;
    let text = std::fs::read_to_string(&table)?;
    total(&text).ok_or_else(|| "strace has counted nothing".into())
}

/// `100.00    0.000842           7       115         3 total`. The column of errors is missing if
/// there are none, and the time if it was too short.
fn total(table: &str) -> Option<f64> {
    let line = table.lines().find(|line| line.ends_with(" total"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::total;

    #[test]
    fn the_total_is_the_fourth_number() {
        let table = "% time\n------\n100.00    0.000842           7       115         3 total\n";
        assert_eq!(total(table), Some(115.0));
        let table = "100.00    0.000000           0        42           total\n";
        assert_eq!(total(table), Some(42.0));
        assert_eq!(total(""), None);
    }
}
