//! Sending signals.
#![allow(unsafe_code)]

/// Sends a signal to a process.
pub fn kill(pid: u32, signal: i32) {
    // SAFETY: takes no pointers.
    unsafe { libc::kill(pid as libc::pid_t, signal) };
}

/// Sends a signal to all processes of a group, if there are any.
pub fn kill_group(group: u32, signal: i32) {
    // SAFETY: takes no pointers.
    unsafe { libc::kill(-(group as libc::pid_t), signal) };
}

/// Ends all children of this process.
pub fn kill_children() {
    for task in std::fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten()
    {
        let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace().flat_map(str::parse) {
            kill(child, libc::SIGKILL);
        }
    }
}
