//! Lock files of every kind: which files are opened, created, refused, or left alone.

mod create;
mod kinds;
mod rights;
mod shortage;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use holdlock::{Error, FileLock};

const ACTOR: &str = env!("CARGO_BIN_EXE_holdlock-actor");

/// The error of opening, as a message.
fn refused(result: Result<FileLock, Error>) -> String {
    let error = result.expect_err("it should be refused");
    assert!(matches!(error, Error::Open { .. }), "{error}");
    error.to_string()
}

/// The message of another program, which opens the lock as its first act and fails.
fn said(mut command: Command) -> String {
    let output = command.output().expect("runs");
    String::from_utf8(output.stdout).expect("utf-8")
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it exists").permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
}
