//! Several locks at once: all or none, and no set waits while it holds a lock.

mod actors;
mod deadlocks;
mod exclusion;
mod limits;
mod names;
mod waits;
