//! Locks between hosts: the native part of `EngineLock` and `AsyncEngineLock`.
//!
//! | file | what it does |
//! |---|---|
//! | `lock.rs` | the class, as Python code sees it |
//! | `holds.rs` | the threads and tasks that hold the lock by one object |
//! | `at_end.rs` | the release of what is held when the program has ended |
//! | `acquire.rs` | the wait of a thread |
//! | `lost.rs` | the signal of a lost lock |
//! | `answer.rs` | the answers of the engine as Python objects |
//! | `raise.rs` | the Python exception for each error |

mod acquire;
mod answer;
mod at_end;
mod holds;
mod lock;
mod lost;
mod raise;

pub(crate) use lock::NativeEngineLock;
pub(crate) use lost::NativeLost;
