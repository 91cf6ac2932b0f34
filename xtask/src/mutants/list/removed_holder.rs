//! Mutants of the search for the holder of a removed file.

use crate::mutants::{Area, Mutant};

pub(super) const AREA: Area = Area {
    name: "removed_holder",
    sources: "crates/holdlock/src",
    mutants: &[
        Mutant {
            name: "a try finds the lock taken by a holder that may be deleting the file",
            file: "acquire/open_or_create.rs",
            with: "Err(Stop::Busy) if orphan.may_be_late() => {",
            without: "Err(Stop::Busy) if false => {",
            test: ("removal", "requests_beside_a_running"),
        },
        Mutant {
            name: "a token ends a request beside the holder of a removed file",
            file: "acquire/open_or_create.rs",
            with: "Err(Stop::Cancelled) => Err(self.stopped(Stop::Cancelled, mode, wait, None)),",
            without: "",
            test: ("removal", "a_token_ends_a_request"),
        },
        Mutant {
            name: "a request with a limit times out beside a holder that may be deleting the file",
            file: "acquire/open_or_create.rs",
            with: "(ORPHAN_LOOKS_AT_WORK, DELETION_MOMENT_AT_WORK)",
            without: "(ORPHAN_LOOKS_AT_WORK, DELETION_MOMENT)",
            test: ("removal", "requests_beside_a_running"),
        },
        Mutant {
            name: "a removed file's holder: many files with a name are left out",
            file: "inspect/proc/candidates.rs",
            with: "if *seen == 2 && self.are_many() {",
            without: "if false && self.are_many() {",
            test: ("crowded", "existing_files"),
        },
        Mutant {
            name: "a removed file's holder: only files with a name are left out",
            file: "inspect/proc/candidates.rs",
            with: "            self.file_ids.remove(&FileId {\n                major,\n                minor,\n                inode: name.inode,\n            });",
            without: "            self.file_ids.retain(|file_id| file_id.inode == name.inode && (major, minor) == file_id.device());",
            test: ("crowded", "the_holder_is_found"),
        },
        Mutant {
            name: "a removed file's holder: the table is read to a limit",
            file: "inspect/proc/removed.rs",
            with: "const LINES: usize = 2400;",
            without: "const LINES: usize = 24_000;",
            test: ("crowded", "locks_of_others"),
        },
        Mutant {
            name: "a removed file's holder: descriptors are examined to a limit",
            file: "inspect/proc/removed.rs",
            with: "const BUDGET: usize = 1000;",
            without: "const BUDGET: usize = 1_000_000;",
            test: ("crowded", "locks_of_others"),
        },
        Mutant {
            name: "a removed file's holder: it need not be the taker",
            file: "inspect/proc/removed.rs",
            with: "        if unlocated.is_empty() {",
            without: "        if true {",
            test: ("crowded", "a_holder_that_was_passed"),
        },
        Mutant {
            name: "a removed file's holder: the likely processes come first",
            file: "inspect/proc/removed.rs",
            with: "pids.sort_by_key(|pid| distance(hints, *pid));",
            without: "pids.sort_by_key(|pid| std::cmp::Reverse(distance(hints, *pid)));",
            test: ("unit", "the_nearest_processes_come_first"),
        },
        Mutant {
            name: "a removed file's holder: in a container, locks that the kernel does not list count",
            file: "inspect/proc/removed.rs",
            with: "if listed.is_none() && survey::in_other_namespace() {",
            without: "if false {",
            test: ("inspect", "namespaces::from_inside_the_holder"),
        },
    ],
};
