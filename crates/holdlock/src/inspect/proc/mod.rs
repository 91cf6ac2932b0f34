//! What /proc tells of locks and of the processes that have them.
//!
//! | file | what is in it |
//! |---|---|
//! | `ancestors` | the parents of a process, and whether they wait for it |
//! | `blocked` | the lock calls in which threads sleep, from their registers and memory |
//! | `candidates` | the locked files that may be a removed one |
//! | `descriptors` | the locks that a process has open, from fdinfo |
//! | `file` | one lock file: holders and waiters |
//! | `locks_file` | reading /proc/locks, which changes meanwhile |
//! | `mounts` | mountinfo |
//! | `parallel` | asking about many processes by several threads |
//! | `place` | device and inode, as the kernel's table has them |
//! | `proc_file` | reading a file of /proc |
//! | `process` | a process: command, user, state, start |
//! | `removed` | holders of removed lock files |
//! | `survey` | from lines of the table to files with holders and waiters |
//! | `table` | the format of a line |
//! | `whole_table` | the lock table of the whole host |

pub(crate) mod ancestors;
pub(crate) mod blocked;
pub(crate) mod candidates;
pub(crate) mod descriptors;
pub(crate) mod file;
pub(crate) mod locks_file;
pub(crate) mod mounts;
pub(crate) mod parallel;
pub(crate) mod place;
pub(crate) mod proc_file;
pub(crate) mod process;
pub(crate) mod removed;
pub(crate) mod survey;
pub(crate) mod table;
pub(crate) mod whole_table;
