//! The environment that the command inherits.

use std::ffi::OsStr;

/// Sets a variable, or removes it.
pub(crate) fn set(name: &str, value: Option<&OsStr>) {
    // SAFETY: another thread must not read the environment by getenv(3) at this time. The helper
    // threads of the library and of `run` never read it, and std has a lock of its own for Rust
    // code.
    unsafe {
        match value {
            Some(value) => std::env::set_var(name, value),
            None => std::env::remove_var(name),
        }
    }
}
