//! Mutants of upgrades and downgrades.

use crate::mutants::{Area, Mutant};

pub(super) const AREA: Area = Area {
    name: "convert",
    sources: "crates/holdlock/src",
    mutants: &[
        Mutant {
            name: "a downgrade keeps the lock",
            file: "acquire/convert.rs",
            with: "let locked = locked.and_then(|()| file.lock(family, Mode::Shared, Blocking::No));",
            without: "let _ = file.unlock(family);\n            let locked = locked.and_then(|()| file.lock(family, Mode::Shared, Blocking::No));",
            test: ("convert", "no_writer_gets_in"),
        },
        Mutant {
            name: "an upgrade says that the lock was lost",
            file: "acquire/convert.rs",
            with: "        Ok((taken, Continuity::Lost))",
            without: "        Ok((taken, Continuity::Kept))",
            test: ("convert", "an_upgrade_that_had_to_wait"),
        },
        Mutant {
            name: "a thread that waits for an upgrade keeps no lock that is handed over",
            file: "acquire/convert.rs",
            with: "            drop(file);\n",
            without: "",
            test: ("convert", "is_handed_over"),
        },
        Mutant {
            name: "upgrade: readers lock their byte",
            file: "upgrade/claim.rs",
            with: "        if !self.has_bytes(mode) || self.is_upgrading() {",
            without: "        if true {",
            test: ("upgrade", "an_upgrade_waits"),
        },
        Mutant {
            name: "upgrade: the right is a lock",
            file: "upgrade/claim.rs",
            with: "        if !self.is_upgrading() {",
            without: "        if true {",
            test: ("upgrade", "readers_share_with"),
        },
        Mutant {
            name: "upgrade: a release gives the bytes back",
            file: "upgrade/claim.rs",
            with: "        if !self.has_bytes(mode) {",
            without: "        if true {",
            test: ("upgrade", "threads_upgrade"),
        },
        Mutant {
            name: "upgrade: a kept claim does not keep the file open",
            file: "upgrade/claim.rs",
            with: "            claim.kept = true;",
            without: "            std::mem::forget(claim.file.clone());\n            claim.kept = true;",
            test: ("idle", "no_request_leaves"),
        },
        Mutant {
            name: "upgrade: a reader that dies has a moment to do so",
            file: "upgrade/acquire.rs",
            with: "                std::thread::sleep(DEATH);",
            without: "                let _ = DEATH;",
            test: ("upgrade_death", "a_dying_reader"),
        },
        Mutant {
            name: "upgrade: a downgraded guard is a reader",
            file: "upgrade/claim.rs",
            with: "        if !self.options().upgradeable {",
            without: "        if true {",
            test: ("upgrade", "guards_of_other_kinds"),
        },
        Mutant {
            name: "upgrade: a helper thread's open file has the reader's byte",
            file: "upgrade/claim.rs",
            with: "let _ = file.lock_bytes(self.mode, self.range, Blocking::No);",
            without: "",
            test: ("upgrade", "without_signals_readers"),
        },
        Mutant {
            name: "upgrade: fair readers do not pass an upgrade",
            file: "upgrade/acquire.rs",
            with: "let _turn = fair.then(|| turn::before_all(file, mode));",
            without: "let _ = fair.then(|| turn::before_all(file, mode));",
            test: ("upgrade", "readers_that_come"),
        },
        Mutant {
            name: "upgrade: flock(2) is shared until it is converted",
            file: "upgrade/acquire.rs",
            with: "        let mut lost = false;",
            without: "        let mut lost = file.unlock(Family::Flock).is_err();",
            test: ("upgrade", "what_was_read"),
        },
        Mutant {
            name: "upgrade: a thread does not wait for its own share",
            file: "upgrade/acquire.rs",
            with: "let held = || self.is_held_by_this_thread(self.gate(), file, mode);",
            without: "let held = || false;",
            test: ("upgrade", "its_own_share"),
        },
        Mutant {
            name: "upgrade: a lost descriptor is noticed",
            file: "upgrade/acquire.rs",
            with: "if !lost && file.is_ours() {",
            without: "if !lost {",
            test: ("upgrade", "a_stranger_closed"),
        },
    ],
};
