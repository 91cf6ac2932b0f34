//! Let only one instance of a program run, and name the one that runs.
//!
//! Run it in two terminals at once: `cargo run --example single_instance`.

use std::process::ExitCode;

use holdlock::{Error, FileLock};

fn main() -> Result<ExitCode, Error> {
    // A service would use its own directory in /run.
    let lock = FileLock::open(std::env::temp_dir().join("holdlock-example-instance.lock"))?;
    // Bind the guard to a name: `let _ = …` would release the lock at once.
    let _only_one = match lock.try_lock() {
        Ok(guard) => guard,
        Err(error) if error.is_conflict() => {
            // The message names the process that runs.
            eprintln!("already running: {error}");
            return Ok(ExitCode::from(75));
        }
        Err(error) => return Err(error),
    };
    println!("running; press Enter to end");
    let _ = std::io::stdin().read_line(&mut String::new());
    Ok(ExitCode::SUCCESS)
}
