//! What to do where the operating system refuses to open the lock file.

use std::io;

use crate::sys::Refusal;

/// The remedy for a file that cannot be opened.
pub(super) fn remedy(error: &io::Error) -> &'static str {
    match Refusal::of(error) {
        Some(Refusal::SymbolicLink) => {
            "the last component is a symbolic link, which only LockOptions::follow_symlinks follows"
        }
        Some(Refusal::Missing) => "create its directory, or use LockOptions::create_parents",
        Some(Refusal::NotADirectory) => "a part of the path is not a directory",
        Some(Refusal::IsADirectory) => {
            "a directory cannot be opened for writing, and a path that ends in a slash is not created"
        }
        Some(Refusal::NoPermission) => {
            "opening it needs permission to read or write the file, creating it permission to write \
             its directory"
        }
        Some(Refusal::ProcessHasTooManyFiles) => {
            "this process has too many files open: close some, or raise RLIMIT_NOFILE (ulimit -n)"
        }
        Some(Refusal::SystemHasTooManyFiles) => {
            "the whole system has too many files open: close some, or raise fs.file-max"
        }
        Some(Refusal::NoSpace) => {
            "there is no space for a new file: free some space, or use an existing lock file"
        }
        Some(Refusal::ReadOnly) => {
            "the file does not exist and cannot be created there: use a writable directory"
        }
        Some(Refusal::Running) => {
            "the file is a running program, which cannot be written: use another file"
        }
        Some(Refusal::Socket) => "a socket or an event descriptor cannot be a lock file",
        Some(Refusal::NameTooLong) => "use a shorter name",
        _ => "check the path and its permissions",
    }
}
