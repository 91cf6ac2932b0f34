//! What happens when a test program ends, however it ends.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

/// A shell script that runs when this is dropped, or when this process ends: also if it is killed.
#[derive(Debug)]
pub(super) struct AtEnd {
    /// The shell reads from this pipe until its end.
    begin: Option<ChildStdin>,
    /// This pipe ends when the script has ended.
    ended: ChildStdout,
}

impl AtEnd {
    /// The script runs as this user and group.
    pub(super) fn run(script: &str, user: Option<(u32, u32)>) -> AtEnd {
        let mut shell = Command::new("sh");
        if let Some((user, group)) = user {
            shell.uid(user).gid(group);
        }
        // It is no child of ours, since a watchdog kills our children.
        let script = format!("exec 3<&0; (cat <&3; {script}) 2> /dev/null &");
        let mut shell = shell
            .args(["-c", &script])
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        // `wait` closes the first pipe, unless it is taken before.
        let at_end = AtEnd {
            begin: shell.stdin.take(),
            ended: shell.stdout.take().expect("a pipe"),
        };
        shell.wait().expect("ended");
        at_end
    }

    /// The script runs only when this process ends.
    pub(super) fn forget(self) {
        std::mem::forget(self);
    }
}

impl Drop for AtEnd {
    fn drop(&mut self) {
        drop(self.begin.take());
        let _ = self.ended.read_to_end(&mut Vec::new());
    }
}
