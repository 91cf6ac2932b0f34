//! Where the lock files of a run are: in a fresh directory, which is removed at the end.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use holdlock::Error;
use rustix::process::geteuid;

use super::engine::{About, Engine};
use super::fresh_seed;
use super::mode::Mode;
use crate::doctor;
use crate::exit::{CANNOT_CREATE, Failure, NO_INPUT, OS_ERROR, reason};
use crate::show::text;

pub(super) struct Place {
    /// Absolute.
    pub(super) directory: PathBuf,
    /// The directory that the user named.
    pub(super) parent: PathBuf,
    pub(super) file_system: Option<String>,
    /// The engine, if the locks are not files, and what the report says of it.
    pub(super) engine: Option<(Engine, About)>,
}

/// A mode that cannot be tried here, and why.
pub(super) type LeftOut = (Mode, String);

impl Place {
    /// Finds the engine of a URL. The directory is for what its holders write.
    pub(super) fn at_engine(url: &OsStr) -> Result<Place, Failure> {
        let mut place = Place::create(&std::env::temp_dir())?;
        let engine = Engine::named(url, &place.directory)?;
        let about = engine.try_once(Mode::Exclusive)?;
        place.file_system = None;
        place.engine = Some((engine, about));
        Ok(place)
    }

    /// Creates the directory in `path`, or beside it if it is a file.
    pub(super) fn create(path: &Path) -> Result<Place, Failure> {
        // The watch of the waiters reads /proc, and must not take other processes for the workers.
        let shown = fs::read_link("/proc/self").ok();
        if shown.as_deref() != Some(Path::new(&std::process::id().to_string())) {
            let why = "/proc is not that of this PID namespace; mount it: mount -t proc proc /proc";
            return Err(Failure::new(
                OS_ERROR,
                format!("cannot watch the workers: {why}"),
            ));
        }
        let failed = |error: io::Error| {
            let code = match error.kind() {
                io::ErrorKind::NotFound => NO_INPUT,
                _ => CANNOT_CREATE,
            };
            let (path, why) = (text::path(path), reason(&error));
            let remedy = "give a directory in which you can create files";
            let message = format!("cannot create a directory in {path}: {why}; {remedy}");
            Failure::new(code, message)
        };
        let mut parent = path.canonicalize().map_err(failed)?;
        if !parent.is_dir() {
            parent.pop();
        }
        if geteuid().is_root()
            && let Some(why) = danger_to_root(&parent).map_err(failed)?
        {
            let remedy = "give a directory of root to which only root can write, or run \
                          `holdlock torture` as another user";
            let path = text::path(path);
            return Err(Failure::new(
                CANNOT_CREATE,
                format!("root cannot test {path} safely: {why}; {remedy}"),
            ));
        }
        let name = format!(".holdlock-torture-{:x}", fresh_seed());
        let directory = parent.join(name);
        let mut builder = DirBuilder::new();
        builder.mode(0o700).create(&directory).map_err(failed)?;
        Ok(Place {
            file_system: doctor::file_system_of(&directory),
            directory,
            parent,
            engine: None,
        })
    }

    /// Which of the modes work here at all, and why the others do not. An error if none does.
    pub(super) fn modes(&self, wanted: &[Mode]) -> Result<(Vec<Mode>, Vec<LeftOut>), Failure> {
        let mut modes = Vec::new();
        let mut left_out = Vec::new();
        let mut failure = None;
        if let Some((engine, _)) = &self.engine {
            wanted
                .iter()
                .try_for_each(|mode| engine.try_once(*mode).map(drop))?;
            return Ok((wanted.to_vec(), left_out));
        }
        for &mode in wanted {
            match self.try_once(mode) {
                Ok(()) => modes.push(mode),
                Err(error) => {
                    left_out.push((mode, error.to_string()));
                    failure = Some(error);
                }
            }
        }
        match failure {
            Some(error) if modes.is_empty() => Err(error.into()),
            _ => Ok((modes, left_out)),
        }
    }

    fn try_once(&self, mode: Mode) -> Result<(), Error> {
        if mode == Mode::Slots {
            Mode::open_slots(&self.directory)?.try_lock()?.release()?;
        }
        let mut members = 0..mode.lock_files(&self.directory).len();
        members.try_for_each(|member| mode.open(&self.directory, member)?.try_lock()?.release())
    }
}

/// Whether another user could put another directory in the place of the new one, while workers open
/// files in it with the rights of root. `path` has no symbolic links.
fn danger_to_root(path: &Path) -> io::Result<Option<String>> {
    // In a user namespace, the owner of the system's directories need not be its root.
    let owners = [0, fs::metadata("/")?.uid()];
    for directory in path.ancestors() {
        let found = fs::metadata(directory)?;
        let directory = text::path(directory);
        if !owners.contains(&found.uid()) {
            let owner = found.uid();
            return Ok(Some(format!(
                "user {owner} owns {directory}, and could replace the files there meanwhile"
            )));
        }
        let by_group = found.mode() & 0o020 != 0 && found.gid() != 0;
        let is_sticky = found.mode() & 0o1000 != 0;
        if (by_group || found.mode() & 0o002 != 0) && !is_sticky {
            return Ok(Some(format!(
                "other users can write to {directory}, and could replace the files there meanwhile"
            )));
        }
    }
    Ok(None)
}

impl Drop for Place {
    fn drop(&mut self) {
        // Where that fails, the directory says by its name where it comes from.
        let _ = fs::remove_dir_all(&self.directory);
    }
}
