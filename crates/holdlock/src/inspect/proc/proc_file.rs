//! Small files of /proc, of which very many are read.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

/// What nearly all of them fit into.
const USUAL: usize = 4096;

/// The whole text of a file that the kernel gives in one read, if there is room for it: one system
/// call where `fs::read` makes five.
pub(crate) fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let mut text = vec![0; USUAL];
    let length = loop {
        match file.read(&mut text) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            other => break other?,
        }
    };
    text.truncate(length);
    if length == USUAL {
        file.read_to_end(&mut text)?;
    }
    Ok(text)
}

/// The same as text; other bytes become U+FFFD.
pub(crate) fn read_text(path: impl AsRef<Path>) -> io::Result<String> {
    let text = read(path)?;
    Ok(String::from_utf8(text)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_ones_are_whole_too() {
        use std::process::{Command, Stdio};
        let mut child = Command::new("sh")
            .args(["-c", "echo; read line", &"x".repeat(3 * USUAL)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh starts");
        // The kernel has its arguments once it runs, and no earlier.
        let mut ready = [0];
        let stdout = child.stdout.as_mut().expect("piped");
        stdout.read_exact(&mut ready).expect("it runs");
        let path = format!("/proc/{}/cmdline", child.id());
        let text = read(&path).expect("ours");
        assert!(text.len() > 3 * USUAL);
        assert_eq!(text, std::fs::read(&path).expect("ours"));
        drop(child.stdin.take());
        child.wait().expect("it ends");
        let name = read_text("/proc/self/comm").expect("ours");
        assert_eq!(
            name,
            std::fs::read_to_string("/proc/self/comm").expect("ours")
        );
    }
}
