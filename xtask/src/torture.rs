//! `cargo xtask torture`: the long run of `holdlock torture`.

use std::path::Path;
use std::process::Command;

use crate::dist;
use crate::run::{Done, run};

/// At 40 000 a second, that is 40 minutes with some ten thousand kills.
const SECTIONS: &str = "100000000";

/// Runs in memory, where it is quickest; then, a hundredth of that, where the build
/// is.
pub(crate) fn torture(arguments: &[String]) -> Done {
    let program = dist::dist()?;
    let command = |words: &[&str]| {
        let mut command = Command::new(&program);
        command.arg("torture").args(words);
        command
    };
    if !arguments.is_empty() {
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        return run(command(&words));
    }
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        let words = ["--for", "1d", "--sections", SECTIONS, "/dev/shm"];
        run(command(&words))?;
    }
    let mut here = command(&["--for", "1d", "--sections", "1000000"]);
    here.arg(dist::target_directory());
    run(here)
}
