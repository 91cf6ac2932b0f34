//! Random programs whose members wait for one another in a cycle.
//!
//! Each member has one lock and wants that of the next. Of a program that *goes on* one member has a
//! way out, drawn from all there are: a limit, another thread, a child that has inherited the
//! lock, and so on; so an `Error::Deadlock` is wrong. Of one that is *stuck* nobody has, so
//! that there has to be one, and then all the others go on.
//!
//! | file | what is in it |
//! |---|---|
//! | `plan` | which members there are: drawn by a seed |
//! | `member` | what one member does, as a process or a thread |
//! | `program` | all members of one program |
//! | `run` | many programs side by side |

pub mod member;
pub mod plan;
pub mod program;
pub mod run;
