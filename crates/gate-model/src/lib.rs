//! Model checking of the gate, which orders the threads of a process.
//!
//! The files of `crates/holdlock/src/gate` are compiled here with the types of loom. loom runs each
//! model in every order in which its threads' steps can follow each other, up to a bound, and with
//! every value that the memory model allows a thread to read. It reports two threads inside, a
//! section that does not see the effects of the one before, and threads that all sleep: a lost
//! wake-up.
//!
//! | file | what is in it |
//! |---|---|
//! | `sync`, `acquire`, `wait`, `sys` | stand-ins for the library's modules of these names |
//! | `lock` | a lock that uses the gate as `FileLock` does |
//! | `models` | the tests |

#![cfg(test)]

mod acquire;
// Some of it only the library uses.
#[allow(dead_code, unused_imports)]
#[path = "../../holdlock/src/gate/mod.rs"]
mod gate;
mod lock;
mod models;
mod sync;
mod sys;
mod wait;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Exclusive,
    Shared,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Flock,
}
