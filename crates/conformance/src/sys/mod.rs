//! System calls that tests make by hand.

#![allow(unsafe_code)]

mod descriptors;
mod file_locks;
mod fork;
mod process;
mod signals;
mod timers;

pub use descriptors::{
    close, close_all_from, cover, descriptors_below, is_open, locked_descriptors_below,
    set_nonblocking,
};
pub use file_locks::{fcntl_lock, flock, lease, unlease, wait_until_queued};
pub use fork::{Child, bare_fork, fork, take_a_mutex_at_fork, while_forks_wait};
pub use holdlock_test_support::signal::{kill, kill_group};
pub use process::{
    Resource, become_real_time, die_with_parent, end_thread, is_root, limit, on_the_last_cpu,
    own_descriptor_table, sleep_until_killed, thread_id, umask,
};
pub use signals::{
    SIGNALS, SignalReader, block, block_real_time_signals, count_signals,
    count_signals_on_the_alternate_stack, install, install_with, is_blocked, kill_thread,
    with_default_sigpipe,
};
pub use timers::{ThreadTimer, alarm, monotonic, process_cpu, sleep, thread_cpu};
