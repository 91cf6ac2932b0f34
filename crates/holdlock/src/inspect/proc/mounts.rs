//! Reads devices and mount points from /proc/PID/mountinfo.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// The mounts of one process.
pub(crate) struct Mounts(Vec<u8>);

impl Mounts {
    pub(crate) fn ours() -> Mounts {
        Mounts::of(std::process::id())
    }

    pub(crate) fn of(pid: u32) -> Mounts {
        Mounts(fs::read(format!("/proc/{pid}/mountinfo")).unwrap_or_default())
    }

    /// The major and minor device number of a mount.
    pub(crate) fn device(&self, mount_id: u32) -> Option<(u32, u32)> {
        self.lines().find_map(|mut fields| {
            (number(fields.next()?)? == mount_id).then_some(())?;
            device_of(fields.nth(1)?)
        })
    }

    /// The first directory on which a device is mounted.
    pub(crate) fn point_of(&self, device: (u32, u32)) -> Option<PathBuf> {
        self.lines().find_map(|mut fields| {
            (device_of(fields.nth(2)?)? == device).then_some(())?;
            Some(PathBuf::from(OsString::from_vec(unescaped(fields.nth(1)?))))
        })
    }

    fn lines(&self) -> impl Iterator<Item = impl Iterator<Item = &[u8]>> {
        self.0
            .split(|byte| *byte == b'\n')
            .map(|line| line.split(|byte| *byte == b' '))
    }
}

fn number(field: &[u8]) -> Option<u32> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

fn device_of(field: &[u8]) -> Option<(u32, u32)> {
    let mut numbers = field.split(|byte| *byte == b':');
    Some((number(numbers.next()?)?, number(numbers.next()?)?))
}

/// Decodes a field: mountinfo has `\040` for a space, and such escapes for tab, newline and
/// backslash.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        let octal = (*first == b'\\')
            .then(|| std::str::from_utf8(tail.get(..3)?).ok())
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_in_mount_points_are_decoded() {
        assert_eq!(unescaped(br"/mnt/a\040b\134c"), b"/mnt/a b\\c");
        assert_eq!(unescaped(br"/mnt/\9"), br"/mnt/\9");
        assert_eq!(unescaped(br"/mnt/\"), br"/mnt/\");
    }

    #[test]
    fn the_mount_point_of_proc_is_found() {
        let proc = fs::metadata("/proc/self/mountinfo").expect("/proc is there");
        let device =
            crate::sys::identity::device_numbers(std::os::unix::fs::MetadataExt::dev(&proc));
        assert_eq!(
            Mounts::ours().point_of(device),
            Some(PathBuf::from("/proc"))
        );
    }
}
