//! Semaphores: at most N holders, each with a slot of its own, whatever dies, in the order of
//! arrival.

mod actors;
mod deadlocks;
mod exclusion;
mod number;
mod order;
mod tries;
mod waits;
