//! The source distribution: builds it, and installs it as a user without a wheel would.

use std::fs;
use std::process::Command;

use super::check::{TRIAL, expect};
use super::{Tools, count};
use crate::dist::target_directory;
use crate::outcome::Outcome;
use crate::python::{module, new_environment, only_file};
use crate::run::{Done, run};

impl Tools {
    /// Builds the source distribution, and installs from it the module and the command in a new
    /// environment, in which pip has to find everything but Rust by itself.
    pub(super) fn source(&self, outcome: &mut Outcome) -> Done {
        let built = target_directory().join("sdist");
        let _ = fs::remove_dir_all(&built);
        let mut build = self.tool(&["build", "--sdist", "--no-isolation", "--outdir"]);
        build.arg(&built).arg(".");
        run(build)?;
        let source = only_file(&built)?;
        let kept = self.place.join(source.file_name().unwrap_or_default());
        fs::copy(&source, &kept).map_err(|error| format!("{}: {error}", kept.display()))?;
        let python = new_environment(&target_directory().join("wheels").join("from-source"))?;
        let mut install = module(&python, &["pip", "install", "--quiet"]);
        install.arg(&kept);
        run(install)?;
        let name = "the source distribution";
        let mut uses = Command::new(&python);
        uses.args(["-c", TRIAL]);
        expect(outcome, "works\n", uses, &format!("module of {name}"))?;
        let version = format!("holdlock {}\n", env!("CARGO_PKG_VERSION"));
        let command = module(&python, &["holdlock", "--version"]);
        expect(outcome, &version, command, &format!("command of {name}"))
    }

    /// Checks the descriptions that PyPI shows.
    pub(super) fn pages(&self, outcome: &mut Outcome) {
        let mut check = self.tool(&["twine", "check", "--strict"]);
        let files = fs::read_dir(&self.place).into_iter().flatten().flatten();
        check.args(files.map(|file| file.path()));
        count(outcome, run(check).is_ok(), "twine check");
    }
}
