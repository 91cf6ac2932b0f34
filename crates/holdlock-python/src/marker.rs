//! The marker file of a soft lock: it appears whole or not at all, and only its holder removes it.
//!
//! If a process creates a marker by its name and then writes it, other processes see an empty file
//! for a moment, and for ever if the process dies in that moment. Therefore the file is written
//! while it has no name (O_TMPFILE), and then gets its name by linkat(2), which fails if the name
//! is taken. If a file system cannot do that (NFS), the file first has another name.
//!
//! This is native, so that an exception of a signal handler, such as KeyboardInterrupt, cannot
//! interrupt it; such an exception can arrive between any two steps of Python code. The object
//! holds the lock: if it gets lost before it is in the lock's state, dropping it removes the
//! marker.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::{error, fork};

/// The text that frees a marker which its holder cannot remove. See `_soft/_marker.py`.
const RELEASED: &[u8] = b"filelock/released\n";

/// A process that can write to a marker can make others take it over, so only the owner may write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// A published marker. Dropping it removes the file.
#[pyclass(frozen, module = "holdlock._native")]
pub(crate) struct Marker {
    /// None: it was withdrawn.
    published: Mutex<Option<Published>>,
    generation: u32,
}

struct Published {
    file: File,
    /// What fstat(2) said when the file was complete.
    stat: Stat,
    /// The paths at which the marker may be: the lock's path, or a path beside it during a
    /// take-over.
    paths: Vec<PathBuf>,
}

#[pymethods]
impl Marker {
    /// The descriptor of the file; None if the marker was withdrawn.
    fn fileno(&self) -> Option<i32> {
        let published = self.published();
        published.as_ref().map(|it| it.file.as_raw_fd())
    }

    /// Removes the marker, if it is still there. Another file at the path stays.
    fn withdraw(&self, py: Python<'_>) -> PyResult<()> {
        let published = self.published().take();
        let Some(published) = published else {
            return Ok(());
        };
        let path = published.paths[0].clone();
        py.detach(|| published.withdraw())
            .map_err(|error| error::io_error(&error, path.as_os_str()))
    }

    /// Closes the descriptor, and leaves the file.
    fn leave(&self) {
        self.published().take();
    }
}

impl Marker {
    fn published(&self) -> MutexGuard<'_, Option<Published>> {
        self.published
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Marker {
    fn drop(&mut self) {
        let Some(published) = self.published().take() else {
            return;
        };
        if KEEP.load(Ordering::Relaxed) {
            return;
        }
        if self.generation == fork::generation() {
            // A finalizer cannot raise.
            let _ = published.withdraw();
        } else {
            // The marker is the parent's. The child may have closed the descriptor, and may use its
            // number for another file.
            let _ = published.file.into_raw_fd();
        }
    }
}

impl Published {
    fn withdraw(self) -> io::Result<()> {
        let is_open = rustix::fs::fstat(&self.file).is_ok_and(|open| is_same(&open, &self.stat));
        // While the descriptor is open, no other file has its inode number. After other code has
        // closed it, a file that was written later may have that number.
        let is_ours = |it: &Stat| is_same(it, &self.stat) && (is_open || is_as_old(it, &self.stat));
        let removed = remove(&self.paths, is_ours);
        if !is_open {
            let _ = self.file.into_raw_fd(); // the number may be another file's
            return removed.map(|_| ());
        }
        if removed? {
            return Ok(());
        }
        if rustix::fs::fstat(&self.file)?.st_nlink > 0 {
            // A process that took this marker for a dead owner's has put it aside, and will put it
            // back. This text makes it free there. An empty marker would never be free, so the
            // text comes first, and then the rest is cut off.
            self.file.write_all_at(RELEASED, 0)?;
            self.file.set_len(RELEASED.len() as u64)?;
        }
        Ok(())
    }
}

/// Removes the file at the first path that names the marker. Returns false if no path does.
fn remove(paths: &[PathBuf], is_ours: impl Fn(&Stat) -> bool) -> io::Result<bool> {
    for path in paths {
        match rustix::fs::lstat(path) {
            Ok(there) if is_ours(&there) => {
                rustix::fs::unlink(path)?;
                return Ok(true);
            }
            Ok(_) | Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(false)
}

fn is_same(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}

fn is_as_old(one: &Stat, other: &Stat) -> bool {
    (one.st_mtime, one.st_mtime_nsec) == (other.st_mtime, other.st_mtime_nsec)
}

static KEEP: AtomicBool = AtomicBool::new(false);

/// The process is ending: from now on, dropping a marker leaves its file. A lock that a running
/// thread holds is then free when the process has ended, and not before.
#[pyfunction]
pub(crate) fn keep_markers() {
    KEEP.store(true, Ordering::Relaxed);
}

/// Puts a marker with this text at `path`; None if a file is already there.
///
/// `exact`: the umask does not change the mode. `lock`: the path of the lock, if `path` is another
/// one.
#[pyfunction]
#[pyo3(signature = (path, mode, exact, text, lock=None, /))]
pub(crate) fn publish_marker(
    py: Python<'_>,
    path: PathBuf,
    mode: u32,
    exact: bool,
    text: Vec<u8>,
    lock: Option<PathBuf>,
) -> PyResult<Option<Marker>> {
    let name = lock.clone().unwrap_or_else(|| path.clone());
    let mode = Mode::from_raw_mode(mode & !WRITABLE_BY_OTHERS);
    let paths: Vec<PathBuf> = std::iter::once(path.clone()).chain(lock).collect();
    let marker = |file: File| -> io::Result<Marker> {
        let stat = rustix::fs::fstat(&file)?;
        let published = Published {
            file,
            stat,
            paths: paths.clone(),
        };
        Ok(Marker {
            published: Mutex::new(Some(published)),
            generation: fork::generation(),
        })
    };
    let fill = |file: &File| fill(file, mode, exact, &text);
    py.detach(|| {
        if let Some(file) = nameless(&path, mode)? {
            fill(&file)?;
            match link_nameless(&file, &path) {
                Ok(()) => return marker(file).map(Some),
                Err(Errno::EXIST) => return Ok(None),
                // No /proc, or no links on this file system: the other method then fails, too.
                Err(Errno::NOENT | Errno::XDEV | Errno::PERM) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let aside = Aside::create(&path, mode)?;
        fill(&aside.file)?;
        match rustix::fs::link(&aside.path, &path) {
            Ok(()) => marker(aside.file.try_clone()?).map(Some),
            Err(Errno::EXIST) => Ok(None),
            Err(error) => Err(error.into()),
        }
    })
    .map_err(|error| error::io_error(&error, name.as_os_str()))
}

/// A new file without a name in the directory of `path`; None if the file system has no such files.
fn nameless(path: &Path, mode: Mode) -> io::Result<Option<File>> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    match rustix::fs::open(directory, flags, mode) {
        Ok(file) => Ok(Some(file.into())),
        // Linux before 3.11 ignores O_TMPFILE, and then cannot write to a directory.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn link_nameless(file: &File, path: &Path) -> rustix::io::Result<()> {
    let source = format!("/proc/self/fd/{}", file.as_raw_fd());
    rustix::fs::linkat(CWD, source, CWD, path, AtFlags::SYMLINK_FOLLOW)
}

fn fill(file: &File, mode: Mode, exact: bool, text: &[u8]) -> io::Result<()> {
    if exact {
        rustix::fs::fchmod(file, mode)?;
    } else {
        // Others take a marker that its owner cannot write for a file that is no marker. (Some
        // network file systems report mode 0 for a new file.)
        let needed = Mode::RUSR | Mode::WUSR;
        let given = Mode::from_raw_mode(rustix::fs::fstat(file)?.st_mode);
        if !given.is_empty() && !given.contains(needed) {
            let _ = rustix::fs::fchmod(file, given | needed);
        }
    }
    // One write: a full disk may take a part of the text.
    if rustix::io::write(file.as_fd(), text)? != text.len() {
        return Err(Errno::NOSPC.into());
    }
    Ok(())
}

/// A new file under another name; dropping this removes the file.
struct Aside {
    file: File,
    path: PathBuf,
}

impl Aside {
    fn create(path: &Path, mode: Mode) -> io::Result<Aside> {
        let mut random = [0; 8];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
        let mut name = path.as_os_str().to_owned().into_vec();
        let number = u64::from_ne_bytes(random);
        name.extend(format!(".new.{}.{number:016x}", std::process::id()).into_bytes());
        let path = PathBuf::from(OsString::from_vec(name));
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file: OwnedFd = rustix::fs::open(&path, flags, mode)?;
        Ok(Aside {
            file: file.into(),
            path,
        })
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        let _ = rustix::fs::unlink(&self.path);
    }
}
