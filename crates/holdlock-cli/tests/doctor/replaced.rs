//! A directory whose owner puts a link to another file in the place of the temporary file.

use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::thread;

use holdlock_test_support::watchdog;
use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};

use super::{Place, left_in};

fn watched(path: &Path, what: WatchFlags, how: CreateFlags) -> OwnedFd {
    let watch = init(CreateFlags::CLOEXEC | how).unwrap();
    add_watch(&watch, path, what).unwrap();
    watch
}

#[test]
fn the_temporary_file_is_not_followed_to_another_one() {
    let _dog = watchdog::watch(60);
    let place = Place::new();
    let (directory, target) = (place.join("d"), place.join("target"));
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(&target, "").unwrap();
    let created = watched(&directory, WatchFlags::CREATE, CreateFlags::empty());
    let opened = watched(&target, WatchFlags::OPEN, CreateFlags::NONBLOCK);
    let link = target.clone();
    let owner = thread::spawn(move || {
        let mut room = [MaybeUninit::uninit(); 1024];
        let mut events = Reader::new(created, &mut room);
        let event = events.next().unwrap();
        let name = event.file_name().unwrap().to_bytes();
        let path = directory.join(OsStr::from_bytes(name));
        std::fs::remove_file(&path).unwrap();
        symlink(link, path).unwrap();
    });
    let finished = place.run(["doctor", "./d/x.lock"]);
    owner.join().unwrap();
    let mut room = [MaybeUninit::uninit(); 1024];
    let was_opened = Reader::new(opened, &mut room).next().is_ok();
    assert!(!was_opened, "{}", finished.text());
    // The locks were tried on the file that the doctor had created.
    let kept = "flock locks exclude, are shared";
    assert!(finished.text().contains(kept), "{}", finished.text());
    assert_eq!(left_in(&place.join("d")), [""; 0]);
}
