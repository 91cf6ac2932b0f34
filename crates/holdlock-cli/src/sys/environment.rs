//! Variables for the command.

/// Sets a variable of this process, which the command inherits.
pub(crate) fn set(name: &str, value: &str) {
    // SAFETY: no other thread reads the environment without std's lock. Besides this thread there
    // are the helper thread of the engine and the one that shows a wait. Their own code uses std;
    // the C library reads variables when it looks up a host's name, which has been done when the
    // lock is acquired.
    unsafe { std::env::set_var(name, value) };
}
