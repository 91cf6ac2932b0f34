//! Starting the command.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use rustix::fs::{Access, access};
use rustix::io::Errno;

use crate::exit::{self, Failure};

/// Starts the command, as execvp(3) would: found along PATH, and by the shell
/// where it is a script that does not say by whom. Without `pre_exec`, so that the
/// standard library can spare the copying of our address space.
pub(super) fn start(program: &OsStr, arguments: &[OsString]) -> Result<Child, Failure> {
    let started = Command::new(program).args(arguments).spawn();
    let started = match started {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::NOEXEC) => {
            Command::new("/bin/sh")
                .arg(find(program))
                .args(arguments)
                .spawn()
        }
        other => other,
    };
    started.map_err(|error| not_started(program, &error))
}

/// Where the system found a program that it could not execute.
fn find(program: &OsStr) -> PathBuf {
    let path = std::env::var_os("PATH").filter(|_| !program.as_bytes().contains(&b'/'));
    let places = path.iter().flat_map(std::env::split_paths);
    let mut found = places
        .map(|place| place.join(program))
        .filter(|file| is_executable(file));
    found.next().unwrap_or_else(|| program.into())
}

fn is_executable(file: &Path) -> bool {
    file.is_file() && access(file, Access::EXEC_OK).is_ok()
}

fn not_started(program: &OsStr, error: &io::Error) -> Failure {
    let code = match Errno::from_io_error(error) {
        Some(Errno::NOENT) => exit::NOT_FOUND,
        Some(Errno::AGAIN | Errno::NOMEM | Errno::MFILE | Errno::NFILE) => exit::OS_ERROR,
        _ => exit::NOT_EXECUTABLE,
    };
    Failure::new(code, format!("cannot run {}: {error}", program.display()))
}
