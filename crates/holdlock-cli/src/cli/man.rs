//! `holdlock man DIRECTORY`: writes the manual pages, made from what `--help` prints.

mod page;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Arg, Command, value_parser};

use crate::exit::{self, Failure, Outcome, reason};
use crate::show::text;

const AFTER: &str = "\
Exit codes: 0 written, 64 wrong usage, 73 cannot be written.

Examples:
  holdlock man ~/.local/share/man/man1
  man holdlock-run";

pub(super) fn command() -> Command {
    Command::new("man")
        .bin_name("holdlock man")
        .about("Write the manual pages to a directory")
        .after_help(AFTER)
        .arg(
            Arg::new("DIRECTORY")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("Create DIRECTORY if it is missing; replace pages of the same names"),
        )
}

/// Parses the words after `man`.
pub(crate) fn parse(words: impl Iterator<Item = OsString>) -> Result<PathBuf, Failure> {
    let mut matches = super::matches(command(), words)?;
    Ok(matches.remove_one("DIRECTORY").expect("clap requires it"))
}

/// Writes a page for the command and one for each subcommand.
pub(crate) fn write(directory: PathBuf) -> Outcome {
    let tree = super::tree();
    fs::create_dir_all(&directory).map_err(|error| not_written(&directory, &error))?;
    let mut pages: Vec<(String, Command)> = tree
        .get_subcommands()
        .filter(|found| !found.is_hide_set())
        .map(|found| (format!("holdlock-{}", found.get_name()), found.clone()))
        .collect();
    let names: Vec<String> = pages.iter().map(|(name, _)| name.clone()).collect();
    pages.insert(0, ("holdlock".to_owned(), tree));
    for (name, command) in pages {
        let others: Vec<&str> = match name.as_str() {
            "holdlock" => names.iter().map(String::as_str).collect(),
            _ => vec!["holdlock"],
        };
        let file = directory.join(format!("{name}.1"));
        fs::write(&file, page::page(&name, command, &others))
            .map_err(|error| not_written(&file, &error))?;
    }
    Ok(exit::SUCCESS)
}

fn not_written(path: &Path, error: &std::io::Error) -> Failure {
    let (path, error) = (text::path(path), reason(error));
    let message = format!("cannot write {path}: {error}");
    Failure::new(exit::CANNOT_CREATE, message)
}
