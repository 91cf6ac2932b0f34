//! Which process of which host a number means.

use std::fs;

/// The boot, the PID namespace and the start of a process: with its number, no two processes have
/// the same. None if /proc does not show it.
pub(crate) fn identity(pid: u32) -> Option<String> {
    const START: usize = 22;
    /// The command's name, which may contain blanks, is the second field.
    const NAME: usize = 2;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let boot = boot.split('-').next()?;
    let namespace = fs::read_link(format!("/proc/{pid}/ns/pid")).or_else(|_| {
        // Another user's process: its number is that of our namespace.
        fs::read_link("/proc/self/ns/pid")
    });
    let namespace = namespace.ok()?.to_string_lossy().into_owned();
    let namespace: String = namespace.chars().filter(char::is_ascii_digit).collect();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let start = fields.split_whitespace().nth(START - NAME - 1)?;
    Some(format!("{boot}-{namespace}-{start}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_one_identity_until_it_ends() {
        let mut child = std::process::Command::new("sleep")
            .arg("100")
            .spawn()
            .expect("starts");
        let first = identity(child.id());
        assert!(first.is_some() && identity(child.id()) == first);
        child.kill().expect("killed");
        child.wait().expect("ended");
        assert_eq!(identity(child.id()), None);
    }
}
