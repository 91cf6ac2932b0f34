//! Who holds a lock and who waits for it, told of real processes of all kinds.

mod deadlocks;
mod holders;
mod inherited;
mod names;
mod namespaces;
mod places;
mod queues;
mod scale;
mod states;
mod tools;
mod users;
