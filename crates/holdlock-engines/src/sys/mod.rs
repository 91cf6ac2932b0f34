//! What the operating system is asked for, and the only unsafe code.

#![allow(unsafe_code)]

pub(crate) mod clock;
pub(crate) mod closed_in_child;
pub(crate) mod event;
pub(crate) mod exit;
pub(crate) mod fork;
pub(crate) mod sentinel;
pub(crate) mod thread;
