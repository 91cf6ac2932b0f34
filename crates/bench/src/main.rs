//! Side-by-side measurements of the raw system calls, `std::fs::File::lock`, fs4, fd-lock and
//! holdlock. All take turns in one run, so other work of the machine affects all of them alike.
//!
//! ```text
//! holdlock-bench [CASE…] [--quick] [--json] [--holdlock PATH] [--python DIR] [--rust-peers PATH]
//! ```

mod args;
mod asleep;
mod board;
mod cases;
mod crew;
mod machine;
mod peers;
mod report;
mod stats;
mod sys;
mod table;
mod turns;
mod watchdog;
mod worker;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use args::{Args, Command};
use report::Report;

/// The result of a case or of a worker's job.
type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The settings of a run.
struct Bench {
    /// A fresh directory for lock files.
    dir: PathBuf,
    quick: bool,
    /// The path of the command `holdlock`, if `--holdlock` gives one.
    holdlock: Option<PathBuf>,
    /// The directory of the Python packages, if `--python` gives one.
    python: Option<PathBuf>,
    /// The program that locks by other crates, if `--rust-peers` gives one.
    rust_peers: Option<PathBuf>,
}

impl Bench {
    /// One number for a full run, another for a quick one.
    fn pick<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1).peekable();
    if words.next_if(|word| word == worker::MARK).is_some() {
        return worker::main(words);
    }
    match args::parse(words) {
        Ok(Command::Help) => say(args::HELP),
        Ok(Command::Measure(args)) => measure(&args).unwrap_or_else(|error| {
            eprintln!("holdlock-bench: {error}");
            ExitCode::FAILURE
        }),
        Err(error) => {
            eprintln!("holdlock-bench: {error}\n\n{}", args::HELP);
            ExitCode::from(2)
        }
    }
}

fn measure(args: &Args) -> Outcome<ExitCode> {
    let dir = tempfile::Builder::new()
        .prefix("holdlock-bench-")
        .tempdir()?;
    let _dog = watchdog::start(watchdog::limit(args.quick), Some(dir.path().to_owned()));
    let bench = Bench {
        dir: dir.path().to_owned(),
        quick: args.quick,
        holdlock: args.holdlock.clone(),
        python: args.python.clone(),
        rust_peers: args.rust_peers.clone(),
    };
    let machine = machine::Machine::look(&bench.dir, args.quick);
    if !args.json {
        say(&machine.to_string());
    }
    let mut reports: Vec<Report> = Vec::new();
    let mut failed = false;
    for case in &args.cases {
        eprintln!("measuring {} …", case.name);
        match (case.run)(&bench) {
            Ok(report) => {
                if !args.json {
                    say(&table::draw(&report));
                }
                reports.push(report);
            }
            Err(error) => {
                eprintln!("holdlock-bench: {}: {error}", case.name);
                failed = true;
            }
        }
    }
    if args.json {
        say(&format!("{:#}\n", report::json(&machine, &reports)));
    } else {
        say(&table::goals(&reports));
    }
    dir.close()?;
    Ok(ExitCode::from(u8::from(failed)))
}

/// Prints. Does not panic if the reader has closed the pipe.
fn say(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
