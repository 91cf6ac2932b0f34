//! /proc/self/mountinfo: which file system a path is on, and how it is mounted.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// One line of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Mount {
    pub(super) id: u64,
    /// `major:minor`, as the kernel knows the file system.
    pub(super) device: String,
    /// The directory of the file system that is mounted here.
    pub(super) root: PathBuf,
    pub(super) point: PathBuf,
    /// The options of this mount, and those of the file system: `ro` can be in either.
    options: Vec<String>,
    /// `ext4`, `nfs4`, `fuse.sshfs`.
    pub(super) kind: String,
    pub(super) source: PathBuf,
}

impl Mount {
    /// Whether the option is set, with or without a value.
    pub(super) fn has(&self, name: &str) -> bool {
        self.options.iter().any(|option| {
            let rest = option.strip_prefix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
        })
    }

    /// The value of `name=value`.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let value = |option: &'_ String| {
            let rest = option.strip_prefix(name)?.strip_prefix('=')?;
            Some(option.len() - rest.len())
        };
        self.options
            .iter()
            .find_map(|option| value(option).map(|start| &option[start..]))
    }
}

/// The mounts of this process.
pub(super) fn read() -> io::Result<Vec<Mount>> {
    Ok(parse(&fs::read("/proc/self/mountinfo")?))
}

/// Lines that cannot be understood are left out.
pub(super) fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|byte| *byte == b'\n').filter_map(line).collect()
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`
fn line(line: &[u8]) -> Option<Mount> {
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    // The number of optional fields before the dash varies.
    let dash = 6 + words.get(6..)?.iter().position(|word| *word == b"-")?;
    let text = |at: usize| Some(String::from_utf8_lossy(words.get(at)?).into_owned());
    let path = |at: usize| Some(PathBuf::from(OsString::from_vec(plain(words.get(at)?))));
    let options = [text(5)?, text(dash + 3).unwrap_or_default()];
    let options = options.iter().flat_map(|list| list.split(','));
    Some(Mount {
        id: text(0)?.parse().ok()?,
        device: text(2)?,
        root: path(3)?,
        point: path(4)?,
        options: options.map(str::to_owned).collect(),
        kind: text(dash + 1)?,
        source: path(dash + 2)?,
    })
}

/// Undoes the octal escapes of space, tab, newline and backslash: `\040`.
fn plain(word: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((&first, tail)) = rest.split_first() {
        let code = tail.get(..3).and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 8).ok()
        });
        match code {
            Some(byte) if first == b'\\' => {
                plain.push(byte);
                rest = &tail[3..];
            }
            _ => {
                plain.push(first);
                rest = tail;
            }
        }
    }
    plain
}

/// The mount with this number of statx(2).
pub(super) fn by_id(mounts: &[Mount], id: u64) -> Option<&Mount> {
    mounts.iter().find(|mount| mount.id == id)
}

/// Finds the mount of a path by its name alone, without touching the path. Later mounts cover
/// earlier ones; symbolic links are not followed.
pub(super) fn by_name<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a Mount> {
    let above = mounts.iter().filter(|mount| path.starts_with(&mount.point));
    above.max_by_key(|mount| mount.point.components().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"\
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
40 27 0:50 / /srv/a\\040b rw,nosuid shared:7 master:2 - nfs4 host:/x\\134y rw,vers=4.2,local_lock=none
41 27 0:51 /sub /srv rw - overlay overlay rw,lowerdir=/l,upperdir=/u
nonsense
42 27 0:52 / /srv rw - tmpfs
43 27 0:53 / /e rw - tmpfs  rw
";

    #[test]
    fn every_field_is_found_and_escapes_are_undone() {
        let mounts = parse(TEXT);
        assert_eq!(mounts.len(), 4);
        let nfs = by_id(&mounts, 40).unwrap();
        assert_eq!(nfs.point, Path::new("/srv/a b"));
        assert_eq!(nfs.source, Path::new("host:/x\\y"));
        assert_eq!((nfs.kind.as_str(), nfs.device.as_str()), ("nfs4", "0:50"));
        assert_eq!(nfs.value("local_lock"), Some("none"));
        assert_eq!(nfs.value("local"), None);
        assert!(nfs.has("nosuid") && nfs.has("vers") && !nfs.has("ver"));
        assert_eq!(by_id(&mounts, 41).unwrap().root, Path::new("/sub"));
        // A source can be empty.
        assert_eq!(by_id(&mounts, 43).unwrap().source, Path::new(""));
    }

    #[test]
    fn what_is_no_escape_stays() {
        assert_eq!(plain(b"a\\\\b\\9\\08x\\"), b"a\\\\b\\9\\08x\\");
        assert_eq!(plain(b"\\011\\012\\377"), b"\t\n\xff");
    }

    #[test]
    fn a_path_is_on_the_deepest_and_last_mount_of_its_name() {
        let mounts = parse(TEXT);
        let id = |path: &str| by_name(&mounts, Path::new(path)).unwrap().id;
        assert_eq!((id("/"), id("/srvx")), (27, 27));
        assert_eq!((id("/srv/x"), id("/srv/a b/c")), (41, 40));
    }

    #[test]
    fn this_machine_has_mounts() {
        assert!(!read().unwrap().is_empty());
    }
}
