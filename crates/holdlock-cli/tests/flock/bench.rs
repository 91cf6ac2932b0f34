//! A place to run a line of shell in, with one of the two programs called `flock`.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

/// Longer than anything here takes on a loaded machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(150);

/// The content of each fresh directory.
const SET_UP: &str = "
umask 022; : >file; mkdir dir; ln -s file link; ln -s new dangling; ln -s loop loop; mkfifo fifo
: >readonly; chmod 444 readonly; : >noread; chmod 000 noread; : >notexec
printf 'echo script $0 $1\\n' >script; printf '#!/nonexistent\\n' >lost; chmod 755 script lost
printf '#!/bin/sh\\necho shell \"$@\"\\n' >shell; chmod 755 shell; : >'a b'
";

/// The beginning of every line: root becomes a user without privileges.
const HELPERS: &str = "
as_nobody() { if [ $(id -u) = 0 ]; then setpriv --reuid=65534 --clear-groups -- \"$@\"; else \"$@\"; fi; }
";

/// The result of a line. Elapsed times and the directory are left out.
#[derive(Debug, PartialEq)]
pub(crate) struct Ran {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// One of the two programs, called `flock`.
pub(crate) struct Bench {
    root: PathBuf,
}

impl Bench {
    pub(crate) fn ours() -> Bench {
        Bench::of(Path::new(env!("CARGO_BIN_EXE_holdlock")))
    }

    /// The flock of this build.
    pub(crate) fn of(program: &Path) -> Bench {
        let bench = Bench::new();
        // A copy, because the build directory may be closed to others. By another process: a
        // descriptor of ours that is open for writing would be inherited by what other tests start
        // just now, and make the program "busy".
        let copied = Command::new("cp")
            .arg(program)
            .arg(bench.root.join("bin/holdlock"))
            .status();
        assert!(copied.unwrap().success());
        symlink("holdlock", bench.root.join("bin/flock")).unwrap();
        bench
    }

    /// None if it is not installed.
    pub(crate) fn util_linux() -> Option<Bench> {
        let installed = ["/usr/bin/flock", "/bin/flock"]
            .into_iter()
            .find(|path| Path::new(path).exists())?;
        let bench = Bench::new();
        symlink(installed, bench.root.join("bin/flock")).unwrap();
        bench
            .run("flock --version")
            .out
            .contains("util-linux")
            .then_some(bench)
    }

    fn new() -> Bench {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("holdlock-flock-{}-{number}", std::process::id());
        let root = std::env::temp_dir().join(name);
        fs::create_dir_all(root.join("bin")).unwrap();
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
        Bench { root }
    }

    pub(crate) fn program(&self) -> PathBuf {
        self.root.join("bin/flock")
    }

    /// Runs a line in a fresh directory. Panics if it does not end.
    pub(crate) fn run(&self, script: &str) -> Ran {
        let place = self.root.join("place");
        let _ = fs::remove_dir_all(&place);
        fs::create_dir(&place).unwrap();
        fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
        let (out, err) = (self.root.join("out"), self.root.join("err"));
        let child = Command::new("sh")
            .arg("-c")
            .arg(format!("{SET_UP}\n{HELPERS}\n{script}"))
            .current_dir(&place)
            .env_clear()
            .env("PATH", format!("{}/bin:/usr/bin:/bin", self.root.display()))
            .env("LC_ALL", "C")
            .stdin(File::open("/dev/null").unwrap())
            .stdout(File::create(&out).unwrap())
            .stderr(File::create(&err).unwrap())
            .process_group(0)
            .spawn()
            .unwrap();
        let status = end_of(child, script);
        let text = |path: &Path| self.normal(&String::from_utf8_lossy(&fs::read(path).unwrap()));
        Ran {
            status: status
                .code()
                .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
            out: text(&out),
            err: text(&err),
        }
    }

    fn normal(&self, text: &str) -> String {
        let text = text.replace(self.root.to_str().unwrap(), "ROOT");
        let lines = text.split_inclusive('\n').map(|line| {
            if line.starts_with("flock: getting lock took ") {
                "flock: getting lock took TIME\n"
            } else {
                line
            }
        });
        lines.collect()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// Waits for the end, and ends the whole group if it does not end in time.
pub(crate) fn end_of(mut child: Child, what: &str) -> ExitStatus {
    let group = rustix::process::Pid::from_child(&child);
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || send.send(child.wait()));
    match receive.recv_timeout(DEADLINE) {
        Ok(status) => status.unwrap(),
        Err(_) => {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            panic!("does not end: {what}");
        }
    }
}
