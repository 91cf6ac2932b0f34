//! The command `holdlock`.
//!
//! This file only chooses the subcommand. Scripts call `run` thousands of times, so it is
//! recognised before a parser is built, and only the parser of `run` is built.

#![cfg_attr(not(test), no_main)]

mod cli;
mod demo;
mod descendants;
mod doctor;
mod duration;
mod engines;
mod exit;
mod flock;
mod graph;
mod list;
mod lockdir;
mod namesakes;
mod report;
mod run;
mod say;
mod show;
mod sys;
mod top;
mod torture;
mod wait;
mod who;

use std::ffi::OsString;

use exit::Outcome;

/// The program: runs the subcommand that its words name, and returns the exit code. Called by
/// `sys::start`.
#[cfg_attr(test, allow(dead_code))]
fn program(mut words: impl Iterator<Item = OsString>) -> u8 {
    let first = words.next();
    let outcome = match first.as_ref().and_then(|word| word.to_str()) {
        Some("run") => {
            say::do_not_wait();
            cli::run::parse(words).and_then(run::run)
        }
        Some("demo") => cli::demo::parse(words).and_then(demo::demo),
        Some("path") => cli::path::parse(words).and_then(print_path),
        Some("report") => cli::report::parse(words).and_then(report::report),
        Some("doctor") => cli::doctor::parse(words).and_then(doctor::doctor),
        Some("torture") => cli::torture::parse(words).and_then(torture::torture),
        Some("top") => cli::top::parse(words).and_then(top::top),
        Some("who") => cli::who::parse(words).and_then(who::who),
        Some("wait") => cli::wait::parse(words).and_then(wait::wait),
        Some("list") => cli::list::parse(words).and_then(list::list),
        #[cfg(feature = "engines")]
        Some("engine") => cli::engine::parse(words).and_then(engines::init::init),
        Some("graph") => cli::graph::parse(words).and_then(graph::graph),
        Some("completions") => cli::completions::parse(words).and_then(cli::completions::print),
        Some("man") => cli::man::parse(words).and_then(cli::man::write),
        Some(demo::WORKER) => demo::worker::work(words),
        Some(torture::WORKER) => torture::worker::work(words),
        Some(doctor::WORKER) => doctor::worker::work(words),
        Some(doctor::PARTNER) => doctor::partner::obey(words),
        _ => cli::top_level(first.into_iter().chain(words)),
    };
    say::report(outcome)
}

/// `holdlock path NAME`: the bytes of the path as they are, and a newline.
fn print_path((lock, names): (OsString, lockdir::Names)) -> Outcome {
    use std::os::unix::ffi::OsStringExt;
    let mut line = lockdir::locate_among(&lock, names)?
        .trusted()?
        .into_os_string()
        .into_vec();
    line.push(b'\n');
    show::output::print_bytes(&line)?;
    Ok(exit::SUCCESS)
}
