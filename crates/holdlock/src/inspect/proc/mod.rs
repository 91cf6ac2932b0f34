//! What /proc shows about locks and about the processes that hold them.
//!
//! | file | what it does |
//! |---|---|
//! | `ancestors` | finds the ancestors of a process, and whether they wait for it |
//! | `blocked` | finds the threads that wait in a lock call, from their registers and memory |
//! | `boot` | tells boots of this machine apart; the offset of a time namespace |
//! | `candidates` | keeps the locked files that may be a removed file |
//! | `descriptors` | finds the locks on the open files of a process, from fdinfo |
//! | `file` | finds the holders and waiters of one lock file |
//! | `locks_file` | reads /proc/locks, which changes meanwhile |
//! | `mounts` | reads mountinfo |
//! | `parallel` | looks at many processes with several threads |
//! | `file_id` | finds device and inode as they are in the kernel's lock table |
//! | `proc_file` | reads a file of /proc |
//! | `process` | describes a process: command, user, state, start |
//! | `removed` | finds the holders of removed lock files |
//! | `slot_users` | makes one lock of the locks of a slot's holder |
//! | `survey` | makes files with holders and waiters out of entries of the lock table |
//! | `table` | parses an entry of the lock table |
//! | `whole_table` | reads the lock table of the whole host |

pub(crate) mod ancestors;
pub(crate) mod blocked;
pub(crate) mod boot;
pub(crate) mod candidates;
pub(crate) mod descriptors;
pub(crate) mod file;
pub(crate) mod file_id;
pub(crate) mod locks_file;
pub(crate) mod mounts;
pub(crate) mod parallel;
pub(crate) mod proc_file;
pub(crate) mod process;
pub(crate) mod removed;
mod repeated;
mod slot_users;
pub(crate) mod survey;
pub(crate) mod table;
pub(crate) mod whole_table;
