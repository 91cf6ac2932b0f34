//! The system calls that rustix has no safe function for, and the only unsafe code.

pub(crate) mod process;
pub(crate) mod signals;
