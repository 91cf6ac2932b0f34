//! Fill a cache once, although many processes ask for it at the same time.
//!
//! Run it in several terminals at once: `cargo run --example cache`. One process computes the
//! answer, the others wait for it. Remove the directory that it prints to start again.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::Duration;

use holdlock::FileLock;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::temp_dir().join("holdlock-example-cache");
    fs::create_dir_all(&directory)?;
    println!("the cache is {}", directory.display());
    println!("the answer is {}", answer(&directory)?);
    Ok(())
}

fn answer(cache: &Path) -> Result<String, Box<dyn Error>> {
    let file = cache.join("answer");
    // The lock has a file of its own, because the data file is replaced by a rename.
    let lock = FileLock::open(cache.join("answer.lock"))?;
    {
        // Any number of readers share the lock.
        let _reading = lock.lock_shared()?;
        if let Ok(answer) = fs::read_to_string(&file) {
            return Ok(answer);
        }
    }
    let _writing = lock.try_lock_for(Duration::from_secs(60))?;
    // Another process may have filled the cache while this one waited.
    if let Ok(answer) = fs::read_to_string(&file) {
        return Ok(answer);
    }
    println!("computing ...");
    std::thread::sleep(Duration::from_secs(5));
    let answer = "42".to_owned();
    let new = cache.join("answer.new");
    fs::write(&new, &answer)?;
    fs::rename(&new, &file)?;
    Ok(answer)
}
