//! Reads small files of /proc. An inspection of the host reads thousands of them.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

/// Nearly all files of /proc fit into this many bytes.
const USUAL_SIZE: usize = 4096;

/// The whole content of a file of /proc. The kernel returns a small file in one read if the buffer
/// has room for it: one system call where `fs::read` makes five.
pub(crate) fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let mut text = vec![0; USUAL_SIZE];
    let length = loop {
        match file.read(&mut text) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            other => break other?,
        }
    };
    text.truncate(length);
    if length == USUAL_SIZE {
        file.read_to_end(&mut text)?;
    }
    Ok(text)
}

/// Like [`read`], as text. Bytes that are not UTF-8 become U+FFFD.
pub(crate) fn read_text(path: impl AsRef<Path>) -> io::Result<String> {
    let text = read(path)?;
    Ok(String::from_utf8(text)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_longer_than_one_read_is_complete() {
        use std::process::{Command, Stdio};
        let mut child = Command::new("sh")
            .args(["-c", "echo; read line", &"x".repeat(3 * USUAL_SIZE)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh starts");
        // The kernel shows the arguments only when the program runs.
        let mut ready = [0];
        let stdout = child.stdout.as_mut().expect("piped");
        stdout.read_exact(&mut ready).expect("it runs");
        let path = format!("/proc/{}/cmdline", child.id());
        let text = read(&path).expect("ours");
        assert!(text.len() > 3 * USUAL_SIZE);
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
