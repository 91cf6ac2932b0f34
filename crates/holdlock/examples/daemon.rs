//! Give the lock to a process that outlives this one, as a program does that becomes a daemon.
//!
//! Run it twice: `cargo run --example daemon`. The first run ends at once, and its daemon (here
//! `sleep 20`) keeps the lock. The second run fails and names the daemon.

use std::error::Error;
use std::process::{Command, Stdio};

use holdlock::FileLock;

fn main() -> Result<(), Box<dyn Error>> {
    let lock = FileLock::open(std::env::temp_dir().join("holdlock-example-daemon.lock"))?;
    let guard = lock.try_lock()?;
    // Children inherit this descriptor. The lock is held until the last process that has it ends.
    // Without this step a child would hold nothing.
    let inherited = guard.hand_over()?;
    let daemon = Command::new("sleep")
        .arg("20")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()?;
    drop(inherited);
    println!("the daemon is pid {} and holds the lock", daemon.id());
    Ok(())
}
