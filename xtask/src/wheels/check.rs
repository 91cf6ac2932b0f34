//! Checks of a wheel: its platform, its size, and whether it works.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Tools, count, said};
use crate::dist::{host, target_directory};
use crate::outcome::Outcome;
use crate::run::{Done, run};

/// What a user downloads stays below this size.
const MOST_BYTES: u64 = 3_000_000;

/// Uses the module.
pub(super) const TRIAL: &str = include_str!("trial.py");

/// Asks an engine that is not there.
const TRIAL_OF_ENGINES: &str = "import holdlock
try: holdlock.open('postgres://ann@127.0.0.1:1/app#try').acquire(timeout=60)
except holdlock.EngineUnreachable: print('works')";

/// Prints what an old glibc lacks.
const SYMBOLS: &str = include_str!("symbols.py");

impl Tools {
    /// Checks the platform and the size of a wheel, and tries it where it can run.
    pub(super) fn check(&self, wheel: &Path, target: &str, outcome: &mut Outcome) -> Done {
        let (name, tag) = self.audit(wheel, outcome)?;
        if host().as_deref() == Ok(target) {
            self.start_without_installing(wheel, &name, outcome)?;
        }
        match self.interpreter(target) {
            Some(python) => {
                let place = self.install(&[wheel], &tag)?;
                let mut module = start(&python, None, &place)?;
                module.args(["-c", TRIAL]);
                let mut program = start(&python, Some(&place.join("bin/holdlock")), &place)?;
                program.arg("run").arg(place.join("try.lock"));
                program.args(["--", "echo", "works"]);
                expect(outcome, "works\n", module, &format!("module of {name}"))?;
                expect(outcome, "works\n", program, &format!("command of {name}"))?;
            }
            None => outcome.skipped.push(untried(&name, target)),
        }
        Ok(())
    }

    /// Checks the wheel of the extra package, and tries it beside ours where it can run.
    pub(super) fn check_engines(
        &self,
        engines: &Path,
        ours: &Path,
        target: &str,
        outcome: &mut Outcome,
    ) -> Done {
        let (name, tag) = self.audit(engines, outcome)?;
        match self.interpreter(target) {
            Some(python) => {
                let place = self.install(&[ours, engines], &tag)?;
                let mut module = start(&python, None, &place)?;
                module.args(["-c", TRIAL_OF_ENGINES]);
                expect(outcome, "works\n", module, &format!("module of {name}"))?;
            }
            None => outcome.skipped.push(untried(&name, target)),
        }
        Ok(())
    }

    /// Checks the platform and the size of a wheel. Returns its name, and its first tag.
    fn audit(&self, wheel: &Path, outcome: &mut Outcome) -> Done<(String, String)> {
        let name = wheel.file_name().unwrap_or_default().to_string_lossy();
        let size = fs::metadata(wheel).map_or(u64::MAX, |about| about.len());
        println!("{name}: {size} bytes");
        let mut audit = self.tool(&["auditwheel", "show"]);
        if name.contains("musllinux") {
            // Otherwise auditwheel takes this machine's libc.so for musl's.
            audit.arg("--ldpaths").arg(&self.place);
        }
        audit.arg(wheel);
        let audited = said(audit)?;
        println!("{}", audited.trim());
        let tags = name.trim_end_matches(".whl").rsplit('-').next();
        let tags: Vec<&str> = tags.unwrap_or_default().split('.').collect();
        let keeps = tags
            .iter()
            .any(|tag| audited.contains(&format!("\"{tag}\"")));
        // zig calls musl's library by this name, which every musl takes for its own and auditwheel
        // does not know.
        let is_result = |line: &&str| !line.starts_with("WARNING:");
        let result: Vec<&str> = audited.trim_end().lines().filter(is_result).collect();
        let keeps = keeps || result.join("\n").ends_with("eliminated:\n\nlibc.so");
        count(outcome, keeps, &format!("auditwheel: {name}: {audited}"));
        if name.contains("manylinux") {
            let mut look = Command::new(&self.python);
            look.args(["-c", SYMBOLS]).arg(wheel);
            expect(outcome, "", look, &format!("old glibc with {name}"))?;
        }
        count(outcome, size < MOST_BYTES, &format!("size of {name}"));
        Ok((name.to_string(), tags[0].to_owned()))
    }

    /// Installs wheels in a directory, and returns its path.
    fn install(&self, wheels: &[&Path], tag: &str) -> Done<PathBuf> {
        let place = target_directory().join("wheels").join("installed");
        let _ = fs::remove_dir_all(&place);
        let mut install = self.tool(&["pip", "install", "--quiet", "--no-deps", "--target"]);
        install.arg(&place).args(["--only-binary", ":all:"]);
        install.args(["--platform", tag]).args(wheels);
        run(install)?;
        Ok(place)
    }

    /// Starts the command in the ways that need no installation.
    fn start_without_installing(&self, wheel: &Path, name: &str, outcome: &mut Outcome) -> Done {
        let version = format!("holdlock {}\n", env!("CARGO_PKG_VERSION"));
        let wheel = &wheel.to_string_lossy();
        let ways: [&[&str]; 3] = [
            &["pipx", "run", "--spec", wheel, "holdlock"],
            &["uv", "tool", "run", "--from", wheel, "holdlock"],
            &[
                "uv",
                "run",
                "--no-project",
                "--with",
                wheel,
                "python",
                "-m",
                "holdlock",
            ],
        ];
        let caches = target_directory().join("wheels").join("caches");
        // A wheel of the same version may be there from the last time.
        let _ = fs::remove_dir_all(&caches);
        for way in ways {
            let mut start = self.tool(way);
            for variable in ["PIPX_HOME", "UV_CACHE_DIR", "UV_TOOL_DIR"] {
                start.env(variable, caches.join(variable));
            }
            start.arg("--version").env("UV_NO_PROGRESS", "1");
            expect(
                outcome,
                &version,
                start,
                &format!("{} of {name}", way[..2].join(" ")),
            )?;
        }
        Ok(())
    }

    /// The words that start Python on this platform. The last one is Python itself, and with the
    /// words before it any program can be started.
    fn interpreter(&self, target: &str) -> Option<Vec<OsString>> {
        if let Some(words) = std::env::var_os(variable(target)) {
            let words = words.into_string().ok()?;
            return Some(words.split_whitespace().map(Into::into).collect());
        }
        (host().as_deref() == Ok(target)).then(|| vec![self.python.clone().into()])
    }
}

/// A program of an installed wheel; None: the interpreter.
fn start(python: &[OsString], program: Option<&Path>, place: &Path) -> Done<Command> {
    let (interpreter, starter) = python.split_last().ok_or("no words to start Python")?;
    let program = program.map_or(interpreter.as_os_str(), Path::as_os_str);
    let words: Vec<&OsStr> = starter.iter().map(OsString::as_os_str).collect();
    let words = [&words[..], &[program]].concat();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).env("PYTHONPATH", place);
    Ok(command)
}

fn untried(name: &str, target: &str) -> String {
    format!(
        "SKIPPED trying {name}: this machine does not run it; set {} to a command that starts its \
         Python",
        variable(target)
    )
}

/// Counts whether the command prints just `text`.
pub(super) fn expect(outcome: &mut Outcome, text: &str, mut command: Command, what: &str) -> Done {
    let output = command
        .output()
        .map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    let works = output.status.success() && output.stdout == text.as_bytes();
    println!("{what}: {}", if works { "works" } else { "FAILED" });
    let texts = [output.stdout, output.stderr].concat();
    count(
        outcome,
        works,
        &format!("{what}: {}", String::from_utf8_lossy(&texts)),
    );
    Ok(())
}

/// The name of the environment variable with the words that start Python for a target.
fn variable(target: &str) -> String {
    format!("PYTHON_{}", target.to_uppercase().replace('-', "_"))
}
