//! The project's own tasks: `cargo xtask test`, `soak`, `torture`, `bench`, `dist`, `install`,
//! `mutants`, `wheels`, `screenshots`.

mod dist;
mod install;
mod lanes;
mod mutants;
mod outcome;
mod python;
mod run;
mod rust;
mod screenshots;
mod soak;
mod test;
mod torture;
mod wheels;

use std::process::ExitCode;

const HELP: &str = "\
The project's own tasks.

Usage: cargo xtask <TASK> [ARGUMENT]...

Tasks:
  test           Everything that must hold: format, lints, all tests, docs without warnings
  python         Of these only the Python module: build it, install it in target/python, test it
  soak N [--all | ARG...]
                 Run the Rust tests N times beside two busy loops for each processor, and N times
                 pinned to one processor; say which test failed how often. --all: the Python
                 module's tests, too; ARG...: only the test programs that `cargo test ARG...`
                 runs; after `--` the name of a test
  torture [ARG]...
                 Try to break locks in a hundred million sections in memory, and in a million on the
                 file system of the build; ARG...: those of `holdlock torture`
  bench [ARG]... Measure against the peers, side by side in one run (--help tells more)
  dist           Build the command as it is meant to be installed: static and small
  install [--flock] [PREFIX]
                 That build with its manual pages and completions, under PREFIX [/usr/local],
                 below DESTDIR where that is set; --flock: also as PREFIX/bin/flock
  wheels [NAME]  Build the wheels for each Linux platform, and the source distribution, in
                 target/upload; try what can run here (needs PyPI and `rustup target add`).
                 NAME: only the wheels of the targets with this text in their name
  screenshots    Make the pictures of docs/top.md anew, with real processes (needs unshare)
  mutants [NAME] Take each mechanism out in turn and see that a test notices; NAME: only those
                 with this text in their name, or of this area (a file of xtask/src/mutants/list)
";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let task = arguments.next().unwrap_or_default();
    let arguments: Vec<String> = arguments.collect();
    let done = match task.as_str() {
        "test" => test::test(),
        "python" => test::python(),
        "soak" => soak::soak(&arguments),
        "torture" => torture::torture(&arguments),
        "bench" => dist::bench(&arguments),
        "dist" => dist::dist().map(|program| println!("{}", program.display())),
        "install" => install::install(&arguments),
        "mutants" => mutants::mutants(arguments.first().map(String::as_str)),
        "wheels" => wheels::wheels(arguments.first().map(String::as_str)),
        "screenshots" => screenshots::screenshots(),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprint!("{HELP}");
            return ExitCode::from(64);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}
