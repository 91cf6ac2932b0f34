//! Tries to break exclusion, for as long as you like:
//!
//! ```text
//! torture [never|on-release|adversary] [ACQUISITIONS] [kill] [shared] [fair]
//! ```

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use holdlock_conformance::Scratch;
use holdlock_conformance::torture::{Removal, Trial, work};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "worker") {
        let removal = Removal::from_name(&arguments[1]).expect("a removal");
        let threads = arguments[4].parse().expect("a number");
        work(
            removal,
            arguments[2] == "shared",
            arguments[3] == "fair",
            threads,
            &PathBuf::from(&arguments[5]),
        );
        return ExitCode::SUCCESS;
    }
    let has = |word: &str| arguments.iter().any(|argument| argument == word);
    let scratch = Scratch::in_memory();
    let trial = Trial {
        program: std::env::current_exe().expect("this program"),
        directory: scratch.path(""),
        processes: 8,
        threads: 4,
        acquisitions: arguments
            .iter()
            .find_map(|argument| argument.parse().ok())
            .unwrap_or(1_000_000),
        at_most: Duration::MAX,
        removal: arguments
            .iter()
            .find_map(|argument| Removal::from_name(argument))
            .unwrap_or(Removal::Never),
        kill: has("kill"),
        shared: has("shared"),
        fair: has("fair"),
    };
    let verdict = trial.run();
    println!("{verdict:?}");
    if verdict.overlaps + verdict.errors == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
