//! The temporary file on which locks are tried: new, in the same directory, and removed again.

use std::collections::hash_map::RandomState;
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Signal, getpid, kill_current_process_group};

use crate::sys::groups::own_group;

/// A name that no other file has, and that shows which program created the file.
pub(super) fn fresh_name() -> String {
    // The seed of the standard library's hash tables comes from the kernel.
    let mut random = fastrand::Rng::with_seed(RandomState::new().build_hasher().finish());
    let letters: String = (0..8).map(|_| random.alphanumeric()).collect();
    format!(".holdlock-doctor-{letters}")
}

/// The file, and the second name that it has for a moment.
pub(super) struct Temporary {
    pub(super) path: PathBuf,
    pub(super) renamed: PathBuf,
}

impl Temporary {
    pub(super) fn new(directory: &Path, name: &str) -> Temporary {
        Temporary {
            path: directory.join(name),
            renamed: directory.join(format!("{name}-2")),
        }
    }

    /// Creates the file; never uses an existing one.
    pub(super) fn create(&self) -> io::Result<File> {
        let _turn = turn();
        OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&self.path)
    }

    /// Removes the file under both names. True if certainly no file is left.
    pub(super) fn remove(&self) -> bool {
        let gone = |path| match fs::remove_file(path) {
            Ok(()) => true,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        // Both, even if the first fails; and in the order of the rename: a rename between the two
        // removals must not save the file.
        gone(&self.path) & gone(&self.renamed)
    }

    /// Ends the process and its partners, from any thread, and leaves no file.
    pub(super) fn remove_and_exit(&self, code: u8) -> ! {
        // Never released, so that no file is created between the removal and the end.
        let _turn = turn();
        self.remove();
        // A partner that hangs would not notice. The group is ours, unless the hidden subcommand
        // was called by hand.
        if own_group() == getpid().as_raw_pid() {
            let _ = kill_current_process_group(Signal::KILL);
        }
        std::process::exit(code.into());
    }
}

/// Opens the temporary file anew. Not by its name: the owner of the directory may have put a link
/// to another file there.
pub(super) fn open_again(file: &File) -> io::Result<File> {
    open_number(file.as_raw_fd())
}

/// The same by the number of a descriptor of this process.
pub(super) fn open_number(number: RawFd) -> io::Result<File> {
    let link = format!("/proc/self/fd/{number}");
    OpenOptions::new().read(true).write(true).open(link)
}

/// The turn to create the file, or to end the process.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Temporary {
    fn drop(&mut self) {
        self.remove();
    }
}
