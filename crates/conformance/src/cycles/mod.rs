//! Random programs whose members wait for one another in a cycle.
//!
//! Each member has one lock and waits for the lock of the next member. In a program that *goes on*
//! one member has a way out, drawn at random: a limit, another thread, a child that has inherited
//! the lock, and so on. An `Error::Deadlock` is then wrong. In a program that is *stuck* no member
//! has a way out. One member must get the error, and then all the others continue.
//!
//! | file | contents |
//! |---|---|
//! | `plan` | the members, drawn from a seed |
//! | `member` | the part of one member, as a process or a thread |
//! | `program` | all members of one program |
//! | `run` | many programs side by side |

pub mod member;
pub mod plan;
pub mod program;
pub mod run;
