//! The holders and waiters of locks, for real processes of all kinds.

mod deadlocks;
mod holders;
mod inherited;
mod names;
mod namespaces;
mod places;
mod queues;
mod states;
mod tools;
mod users;
