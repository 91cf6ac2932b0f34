//! Serialises fields for which serde's own form may fail.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};

/// A path in serde's form, which is a string. Bytes that are not UTF-8 become U+FFFD; serde refuses
/// them.
pub(super) fn path<S: Serializer>(path: &Option<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
    path.as_ref()
        .map(|path| path.to_string_lossy())
        .serialize(to)
}

/// A time in serde's form: seconds and nanoseconds since 1970. serde refuses an earlier time, which
/// becomes null here: the clock of the host was wrong.
pub(super) fn time<S: Serializer>(time: &Option<SystemTime>, to: S) -> Result<S::Ok, S::Error> {
    time.filter(|time| *time >= UNIX_EPOCH).serialize(to)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::time::{Duration, UNIX_EPOCH};

    use serde_json::{Value, json, to_value};

    use crate::inspect::{self, Deadlock, FileId, Kind, Process, State, Step, Unseen};
    use crate::{Family, FileLock, Mode};

    /// The JSON of the one file that has a lock at `path`.
    fn locked_file(path: &std::path::Path) -> Value {
        let lock = FileLock::open(path).expect("a lock file in a temporary directory");
        let guard = lock.lock().expect("nobody else knows the file");
        let snapshot = inspect::file(path).expect("/proc/locks can be read");
        drop(guard);
        fs::remove_file(path).expect("ours");
        let mut value = to_value(&snapshot).expect("a snapshot can be serialised");
        value["files"][0].take()
    }

    #[test]
    fn a_snapshot_has_the_names_of_its_fields() {
        let name = format!("holdlock-unit-serialize-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let file = locked_file(&path);
        assert_eq!(file["path"], json!(path));
        assert_eq!(file["removed"], json!(false));
        assert!(file["file_id"]["inode"].is_u64() && file["waiters"] == json!([]));
        let lock = &file["locks"][0];
        assert_eq!(lock["kind"], json!("flock"));
        assert_eq!(lock["mode"], json!("exclusive"));
        assert_eq!(lock["range"], json!({"start": 0, "end": null}));
        assert_eq!(lock["taker"], json!(std::process::id()));
        let process = &lock["holders"][0]["process"];
        assert_eq!(process["pid"], json!(std::process::id()));
        assert!(process["started"]["secs_since_epoch"].is_u64());
        assert!(process["state"].is_string());
    }

    #[test]
    fn a_path_that_is_not_utf8_does_not_fail() {
        let mut name = format!("holdlock-unit-serialize-{}-", std::process::id()).into_bytes();
        name.extend(b"\xff\n");
        let file = locked_file(&std::env::temp_dir().join(OsStr::from_bytes(&name)));
        let path = file["path"].as_str().expect("a string");
        assert!(path.ends_with("-\u{fffd}\n"), "{path:?}");
    }

    #[test]
    fn a_deadlock_shows_its_steps() {
        let mut process = Process::of(std::process::id()).expect("this process runs");
        process.started = Some(UNIX_EPOCH - Duration::from_secs(1));
        process.state = Some(State::Sleeping);
        let deadlock = Deadlock {
            steps: vec![Step {
                thread: None,
                waiter: process.clone(),
                file_id: FileId {
                    major: 8,
                    minor: 1,
                    inode: 7,
                },
                path: Some(OsStr::from_bytes(b"/a\xff").into()),
                kind: Kind::Ofd,
                mode: Mode::Shared,
                holder: process,
            }],
            certain: true,
        };
        let value = to_value(&deadlock).expect("a deadlock can be serialised");
        let step = &value["steps"][0];
        assert_eq!(step["path"], json!("/a\u{fffd}"));
        assert_eq!(step["file_id"], json!({"major": 8, "minor": 1, "inode": 7}));
        assert_eq!(
            (&step["kind"], &step["mode"]),
            (&json!("ofd"), &json!("shared"))
        );
        assert_eq!(step["waiter"]["started"], json!(null));
        assert_eq!(step["holder"]["state"], json!("sleeping"));
    }

    #[test]
    fn enumerations_are_words() {
        let unseen = [Unseen::Processes(3), Unseen::OtherNamespaces];
        assert_eq!(
            to_value(unseen).expect("plain data"),
            json!([{"processes": 3}, "other_namespaces"])
        );
        assert_eq!(to_value(Family::Flock).expect("plain data"), json!("flock"));
        for kind in [Kind::Flock, Kind::Ofd, Kind::Posix, Kind::Lease] {
            assert_eq!(to_value(kind).expect("plain data"), json!(kind.to_string()));
        }
    }
}
