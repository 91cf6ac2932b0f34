//! Count in the locked file itself: the file is the lock and the data.
//!
//! Run it in two terminals at once: `cargo run --example data_file`. No count is lost.

use std::io::{Read, Seek, Write};

use holdlock::LockOptions;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::temp_dir().join("holdlock-example-counter");
    let counter = LockOptions::new().writable(true).open(&path)?;
    let mut count = 0;
    for _ in 0..1000 {
        let guard = counter.lock()?;
        let mut file = guard.file();
        let mut text = String::new();
        // The position is where the last holder in this process left it.
        file.rewind()?;
        file.read_to_string(&mut text)?;
        count = text.trim().parse::<u64>().unwrap_or(0) + 1;
        file.rewind()?;
        file.set_len(0)?;
        writeln!(file, "{count}")?;
        guard.release()?;
    }
    println!("{}: {count}", path.display());
    Ok(())
}
