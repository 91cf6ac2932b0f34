//! Mutants of the lock file that is removed, renamed or replaced.

use crate::mutants::{Area, Mutant};

pub(super) const AREA: Area = Area {
    name: "removal",
    sources: "crates/holdlock/src",
    mutants: &[
        Mutant {
            name: "identity is checked after locking",
            file: "acquire/mod.rs",
            with: "Locked::Yes(file) if file.is_current() => return Ok(file),",
            without: "Locked::Yes(file) if true => return Ok(file),",
            test: ("removal", "a_waiter_starts_over"),
        },
        Mutant {
            name: "only a file that was made to be a lock file is deleted",
            file: "acquire/open_or_create.rs",
            with: "release::may_be_deleted(&file).map_err(|error| self.cannot_open(error))?;",
            without: "",
            test: ("removal", "deletion_on_release_refuses"),
        },
        Mutant {
            name: "the file that a link names is deleted, not the link",
            file: "acquire/release.rs",
            with: "create::final_path(self.name()).and_then(std::fs::remove_file)",
            without: "std::fs::remove_file(&self.name().path)",
            test: ("removal", "deletion_on_release_removes"),
        },
        Mutant {
            name: "a request that finds a changed path checks its limit",
            file: "acquire/mod.rs",
            with: "            gate.set_file(None);\n            wait.before_retry()\n                .map_err(|stop| self.stopped(stop, mode, wait, None))?;",
            without: "            gate.set_file(None);",
            test: ("faults", "a_path_that_is_never"),
        },
        Mutant {
            name: "the file is deleted before the unlock",
            file: "acquire/release.rs",
            with: "        let deleted = self.delete(file, mode);",
            without: "        let _ = file_lock::unlock(file.as_fd(), self.options().family);\n        let deleted = self.delete(file, mode);",
            test: ("command/torture", "deletion_on_release_by_everybody"),
        },
        Mutant {
            name: "only the last shared holder deletes",
            file: "acquire/release.rs",
            with: "        if mode == Mode::Shared {\n            // Others may share",
            without: "        if false {\n            // Others may share",
            test: ("removal", "deletion_on_release_leaves"),
        },
        Mutant {
            name: "a file of others is not deleted",
            file: "acquire/release.rs",
            with: "        if !file.is_current() {\n            return Ok(()); // what",
            without: "        if false {\n            return Ok(()); // what",
            test: ("removal", "deletion_on_release_leaves"),
        },
        Mutant {
            name: "the holder of a removed file is searched for",
            file: "acquire/open_or_create.rs",
            with: "if let Some(orphan) = orphan::find(&self.name().path, self.options().family) {",
            without: "if let Some(orphan) = orphan::find(&self.name().path, self.options().family).filter(|_| false) {",
            test: ("removal", "both_sides_notice"),
        },
        Mutant {
            name: "a request waits a moment for the holder of a removed file",
            file: "acquire/open_or_create.rs",
            with: "const ORPHAN_LOOKS: u32 = 5;",
            without: "const ORPHAN_LOOKS: u32 = 0;",
            test: ("removal", "waits_a_moment"),
        },
        Mutant {
            name: "the path is made absolute",
            file: "acquire/lock_name.rs",
            with: "std::path::absolute(path)?",
            without: "path.to_owned()",
            test: ("removal", "a_change_of_directory"),
        },
    ],
};
