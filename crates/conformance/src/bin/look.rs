//! `look PATH`: the locks there in words, as the library sees them. Without a path: all locks.

use holdlock::inspect;
use holdlock_conformance::told;

fn main() {
    let snapshot = match std::env::args_os().nth(1) {
        Some(path) => inspect::file(path),
        None => inspect::host(),
    };
    for line in told::lines(&snapshot.expect("/proc/locks can be read")) {
        println!("{line}");
    }
}
