//! `look PATH`: what the library sees of the locks there, in words. Without a path: of all.

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
