//! Whether /proc/locks has the same device and inode numbers as stat(2). Programs that look for
//! holders in /proc/locks compare the two.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;

use rustix::fs::{FlockOperation, flock, major, minor};

use super::finding::Finding;
use super::temporary;

pub(super) fn look(temporary: &File) -> Option<Finding> {
    let (stat, table) = names(temporary).ok()?;
    let table = table?;
    (stat != table).then(|| {
        let found = format!(
            "/proc/locks has the number {table} for a file for which stat(2) has {stat} \
             (device:inode, as on btrfs or overlays): tools that compare them do not find the \
             holders of a lock"
        );
        Finding::note("kernel-table", found)
    })
}

/// The numbers that stat(2) reports, and those of the table.
fn names(temporary: &File) -> io::Result<(String, Option<String>)> {
    let file = temporary::open_again(temporary)?;
    flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive)?;
    let found = file.metadata()?;
    let stat = format!(
        "{:02x}:{:02x}:{}",
        major(found.dev()),
        minor(found.dev()),
        found.ino()
    );
    let told = fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd()))?;
    Ok((stat, name_in(&told)))
}

/// The third word from the end of `lock:\t1: FLOCK ADVISORY WRITE 4711 fe:00:4711 0 EOF`. On NFS,
/// and elsewhere, there may be no such line.
fn name_in(told: &str) -> Option<String> {
    let line = told.lines().find_map(|line| line.strip_prefix("lock:"))?;
    let word = line
        .split_whitespace()
        .find(|word| word.matches(':').count() == 2)?;
    Some(word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_a_file_by_device_and_inode() {
        let told = "pos:\t0\nflags:\t0100000\nmnt_id:\t27\nino:\t9\n\
                    lock:\t1: FLOCK  ADVISORY  WRITE 4711 fe:00:9 0 EOF\n";
        assert_eq!(name_in(told).as_deref(), Some("fe:00:9"));
        assert_eq!(name_in("pos:\t0\n"), None);
    }
}
