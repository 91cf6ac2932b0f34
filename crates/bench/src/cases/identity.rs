//! The cost of checking that a locked file is still the one at its path.

use std::ffi::CString;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::{AtFlags, CWD, StatxFlags, fcntl_getfl, fstat, lstat, stat, statat, statx};
use rustix::io::Errno;

use crate::report::{Column, Report};
use crate::turns::{self, Subject};
use crate::{Bench, Outcome};

pub(crate) fn run(bench: &Bench) -> Outcome<Report> {
    let path = bench.dir.join("identity.lock");
    let file = File::create(&path)?;
    let dir = File::open(&bench.dir)?;
    let path = CString::new(path.as_os_str().as_bytes())?;
    let path = path.as_c_str();
    let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
    let changes = WatchFlags::ATTRIB | WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF;
    inotify::add_watch(&watch, path, changes)?;
    let mut events = [0; 512];

    let nothing = StatxFlags::empty();
    let mut subjects = vec![
        subject("lstat", || Ok(lstat(path).map(drop)?)),
        subject("stat", || Ok(stat(path).map(drop)?)),
        subject("statx, empty mask", || {
            Ok(statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, nothing).map(drop)?)
        }),
        subject("lstat from an open directory", || {
            Ok(statat(&dir, c"identity.lock", AtFlags::SYMLINK_NOFOLLOW).map(drop)?)
        }),
        subject("fstat", || Ok(fstat(&file).map(drop)?)),
        subject("fcntl, F_GETFL", || Ok(fcntl_getfl(&file).map(drop)?)),
        subject("inotify read", || {
            match rustix::io::read(&watch, &mut events) {
                Err(Errno::WOULDBLOCK) => Ok(()),
                Ok(_) => Err("the file was changed".into()),
                Err(error) => Err(error.into()),
            }
        }),
    ];
    let samples = turns::take(&mut subjects, bench.pick(1000, 200), 500)?;

    let mut report = Report::new(
        "identity",
        "Ways to see that a locked file is still the one at its path",
        &[
            Column::new("median_ns", "median ns", 0),
            Column::new("ratio_lstat", "x lstat", 2),
        ],
    );
    let first = samples[0].median();
    for (subject, samples) in subjects.iter().zip(&samples) {
        let median = samples.median();
        report.row(subject.name.as_str(), vec![median, median / first]);
    }
    report.note("from an open directory, a directory that was moved or replaced is not seen");
    report.note("fstat sees a removed file (no links left), not a renamed or replaced one");
    report.note("of the descriptor itself: fstat tells the inode, F_GETFL the flags with which it was opened");
    report.note("inotify needs a watch for every lock, and for every directory above it");
    Ok(report)
}

fn subject<'a>(name: &str, once: impl FnMut() -> Outcome<()> + 'a) -> Subject<'a> {
    Subject {
        name: name.into(),
        once: Box::new(once),
    }
}
