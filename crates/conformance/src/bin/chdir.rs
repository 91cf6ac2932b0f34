//! `chdir DIRECTORY`: opens `relative.lock`, goes to the directory, locks.

fn main() {
    let lock = holdlock::FileLock::open("relative.lock").expect("opens");
    let directory = std::env::args_os().nth(1).expect("a directory");
    std::env::set_current_dir(directory).expect("goes there");
    let guard = lock.lock().expect("locked");
    assert!(guard.is_current().expect("no error"));
}
