//! Mutants of files that are kept open for the next request.

use crate::mutants::{Area, Mutant};

pub(super) const AREA: Area = Area {
    name: "idle",
    sources: "crates/holdlock/src",
    mutants: &[
        Mutant {
            name: "a released lock closes its file",
            file: "gate/idle.rs",
            with: "            self.set_file(None);",
            without: "",
            test: ("idle", "no_request_leaves"),
        },
        Mutant {
            name: "a lock in constant use keeps its file open",
            file: "gate/idle.rs",
            with: "quick_releases < QUICK_RELEASES || !keep(self)",
            without: "true",
            test: ("idle", "constant_use"),
        },
        Mutant {
            name: "few locks keep their files open",
            file: "gate/idle.rs",
            with: "const MAX_KEPT: usize = 64;",
            without: "const MAX_KEPT: usize = 6400;",
            test: ("idle", "thousands"),
        },
        Mutant {
            name: "the file of an idle lock is closed in the end",
            file: "gate/idle.rs",
            with: "if self.idle.used.swap(false, Ordering::Relaxed)",
            without: "if true",
            test: ("idle", "mounted"),
        },
        Mutant {
            name: "the file of a held lock is not closed",
            file: "gate/idle.rs",
            with: "& (OCCUPIED | KEPT) != 0",
            without: "& KEPT != 0",
            test: ("idle", "held_lock_stays"),
        },
        Mutant {
            name: "a lock that was opened and never used has no file open",
            file: "acquire/open_or_create.rs",
            with: "            if self.name().is_pinned() {",
            without: "            if true {",
            test: ("idle", "no_request_leaves"),
        },
    ],
};
