//! Mutants of descriptors that other code of the process closes or reuses.

use crate::mutants::{Area, Mutant};

pub(super) const AREA: Area = Area {
    name: "descriptors",
    sources: "crates/holdlock/src",
    mutants: &[
        Mutant {
            name: "the descriptor is checked on a kept lock",
            file: "acquire/mod.rs",
            with: "mode == Mode::Exclusive && file.is_intact()",
            without: "mode == Mode::Exclusive && file.is_current()",
            test: ("descriptors", "passed_on_by"),
        },
        Mutant {
            name: "the descriptor is checked before it is locked",
            file: "acquire/open.rs",
            with: "        if self.is_ours() {\n            Ok(())",
            without: "        if true {\n            Ok(())",
            test: ("descriptors", "for_its_turn"),
        },
        Mutant {
            name: "the descriptor is checked after a wait",
            file: "acquire/mod.rs",
            with: "Ok(locked) if !locked.is_ours()",
            without: "Ok(locked) if false",
            test: ("descriptors", "during_the_wait"),
        },
        Mutant {
            name: "the descriptor is checked before a helper unlocks it",
            file: "acquire/open.rs",
            with: "            return Ok(());\n        }\n        file_lock::unlock(self",
            without: "        }\n        file_lock::unlock(self",
            test: ("descriptors", "unlocks_no_strangers"),
        },
        Mutant {
            name: "the descriptor is checked before it is unlocked",
            file: "acquire/release.rs",
            with: "        if !file.is_ours() {\n            // Nothing",
            without: "        if false {\n            // Nothing",
            test: ("descriptors", "not_believed"),
        },
        Mutant {
            name: "the descriptor is checked before it is closed",
            file: "sys/linux/lock_fd.rs",
            with: "        if is_ours {\n            drop(fd);",
            without: "        if true {\n            drop(fd);",
            test: ("descriptors", "is_not_closed"),
        },
        Mutant {
            name: "the table of locks is checked before it is used",
            file: "sys/linux/checked_file.rs",
            with: "filter(|_| is_ours)",
            without: "filter(|_| is_ours || true)",
            test: ("unit", "neither_used_nor_closed"),
        },
        Mutant {
            name: "the table of locks is checked before it is closed",
            file: "sys/linux/checked_file.rs",
            with: "            && !is_ours",
            without: "            && false",
            test: ("descriptors", "what_a_helper_thread_reads"),
        },
        Mutant {
            name: "a reused descriptor number belongs to another lock",
            file: "sys/linux/lock_fd.rs",
            with: "self.slot.number.load(Ordering::SeqCst) == entry_of(fd.as_fd())",
            without: "true",
            test: ("descriptors", "went_to_the_same_file"),
        },
        Mutant {
            name: "a number that another thread has got just now is not ours",
            file: "sys/linux/lock_fd.rs",
            with: "if OPENING.load(Ordering::SeqCst) == 0 ||",
            without: "if OPENING.load(Ordering::SeqCst) < u32::MAX ||",
            test: ("descriptors", "a_number_that_another_thread_has"),
        },
        Mutant {
            name: "the table of locks is not taken for a lock file",
            file: "sys/linux/checked_file.rs",
            with: "        disown(file.as_fd());\n",
            without: "",
            test: ("unit", "a_lock_file_whose_number_it_gets"),
        },
        Mutant {
            name: "only a descriptor with the mark is ours",
            file: "sys/linux/file.rs",
            with: "flags => flags & LASTING,",
            without: "flags => flags & LASTING & !MARK,",
            test: ("descriptors", "went_to_the_same_file"),
        },
        Mutant {
            name: "a helper thread that starts opens nothing",
            file: "sys/linux/published.rs",
            with: "    note();\n    let run",
            without: "    let run",
            test: ("descriptors", "about_to_open_nothing"),
        },
    ],
};
