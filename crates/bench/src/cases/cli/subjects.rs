//! The commands that this machine has.

use std::ffi::OsString;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{Bench, Outcome};

/// The subjects that the goals compare.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Kind {
    /// The command alone, without a lock.
    Floor,
    /// flock of util-linux.
    Flock,
    Run,
    /// holdlock, through a link with the name flock.
    OurFlock,
    Other,
}

/// A command that runs a command under a lock.
pub(super) struct Subject {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// The lock file; each subject has its own.
    pub(super) lock: PathBuf,
    /// The program and its arguments in front of the command.
    words: Vec<OsString>,
}

impl Subject {
    /// The subject, with a command to run.
    pub(super) fn around<const N: usize>(&self, command: [&str; N]) -> Command {
        let mut words = self.words.iter().map(OsString::as_os_str);
        let mut tail = command.iter().map(std::ffi::OsStr::new);
        let program = words.next().or_else(|| tail.next()).unwrap_or_default();
        let mut whole = fresh(program);
        whole.args(words).args(tail);
        whole
    }
}

/// The subjects on this machine, and the reasons why the others are missing.
pub(super) struct Subjects {
    pub(super) list: Vec<Subject>,
    pub(super) notes: Vec<String>,
}

pub(super) fn find(bench: &Bench) -> Outcome<Subjects> {
    let mut found = Subjects {
        list: Vec::new(),
        notes: Vec::new(),
    };
    let dir = &bench.dir;
    found.add(dir, "/bin/true alone", Kind::Floor, |_| vec![]);
    match program("flock") {
        Some(flock) if says(&flock, "util-linux") => {
            found.add(dir, "flock L /bin/true", Kind::Flock, |lock| {
                vec![flock.into(), lock.into()]
            });
        }
        Some(_) => found.skip("flock, the one in PATH is not of util-linux"),
        None => found.skip("flock, there is none in PATH"),
    }
    match bench.holdlock.clone().or_else(built_command) {
        Some(holdlock) => found.ours(dir, &holdlock)?,
        None => found.skip("holdlock, none was built; name one with --holdlock"),
    }
    // Each with the options that make it wait, as flock does.
    for (name, options, package) in [
        ("setlock", &[][..], "daemontools"),
        ("s6-setlock", &[][..], "s6"),
        ("lckdo", &["-w"][..], "moreutils"),
    ] {
        let Some(program) = program(name) else {
            found.skip(&format!(
                "{name}, there is none in PATH (package {package})"
            ));
            continue;
        };
        let shown = [&[name], options, &["L /bin/true"]].concat().join(" ");
        found.add(dir, &shown, Kind::Other, |lock| {
            let options = options.iter().map(OsString::from);
            std::iter::once(program.into())
                .chain(options)
                .chain([lock.into()])
                .collect()
        });
    }
    Ok(found)
}

impl Subjects {
    fn skip(&mut self, reason: &str) {
        self.notes.push(format!("skipped: {reason}"));
    }

    fn add(
        &mut self,
        dir: &Path,
        name: &str,
        kind: Kind,
        words: impl FnOnce(&Path) -> Vec<OsString>,
    ) {
        let lock = dir.join(format!("cli-{}.lock", self.list.len()));
        self.list.push(Subject {
            name: name.to_owned(),
            kind,
            words: words(&lock),
            lock,
        });
    }

    fn ours(&mut self, dir: &Path, holdlock: &Path) -> Outcome<()> {
        if let Some(profile) = profile(holdlock) {
            self.notes.push(format!("holdlock: the build in {profile}"));
        }
        let holdlock = holdlock.canonicalize()?;
        self.add(dir, "holdlock run L -- /bin/true", Kind::Run, |lock| {
            vec![
                holdlock.clone().into(),
                "run".into(),
                lock.into(),
                "--".into(),
            ]
        });
        let link = dir.join("flock");
        symlink(&holdlock, &link)?;
        let forms = [
            (
                "flock L /bin/true, holdlock by a link",
                Kind::OurFlock,
                vec![link.into()],
            ),
            (
                "holdlock flock L /bin/true",
                Kind::Other,
                vec![holdlock.into(), OsString::from("flock")],
            ),
        ];
        for (name, kind, mut words) in forms {
            self.add(dir, name, kind, |lock| {
                words.push(lock.into());
                words
            });
            // A build that does not know the option reports wrong usage.
            let known = self.list.last().is_some_and(|subject| {
                let mut trial = subject.around([super::NOTHING]);
                let quiet = trial.stdin(Stdio::null()).stdout(Stdio::null());
                let status = quiet.stderr(Stdio::null()).status();
                status.is_ok_and(|status| status.success())
            });
            if !known {
                self.list.pop();
                self.skip(&format!("{name}: this holdlock does not know it"));
            }
        }
        Ok(())
    }
}

/// A program, in an environment without what `cargo run` adds: it makes the loader of
/// every dynamic program, and of none that is static, search more than fifty times.
pub(in crate::cases) fn fresh(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_remove("LD_LIBRARY_PATH");
    command
}

/// `target/dist/holdlock`, or the one beside this program.
pub(in crate::cases) fn built_command() -> Option<PathBuf> {
    let here = std::env::current_exe().ok()?;
    let beside = here.parent()?;
    let dist = beside.parent()?.join("dist/holdlock");
    let other = beside.join("holdlock");
    [dist, other].into_iter().find(|path| path.is_file())
}

/// The profile of a build, which is the name of its directory.
fn profile(path: &Path) -> Option<String> {
    let dir = path.parent()?.file_name()?;
    Some(dir.to_string_lossy().into_owned())
}

/// Whether the version of the program has this word.
pub(in crate::cases) fn says(program: &Path, word: &str) -> bool {
    let output = Command::new(program).arg("--version").output();
    output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(word))
}

/// A program that is found in PATH.
pub(in crate::cases) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut candidates = std::env::split_paths(&path).map(|dir| dir.join(name));
    candidates.find(|candidate| candidate.is_file())
}
