//! Mutants of semaphores.

use crate::mutants::{Area, Mutant};

pub(super) const AREA: Area = Area {
    name: "slots",
    sources: "crates/holdlock/src",
    mutants: &[
        Mutant {
            name: "slots: the file is checked after the wait",
            file: "semaphore/acquire.rs",
            with: "Ok(acquired) if file.is_intact() => {",
            without: "Ok(acquired) if file.is_ours() => {",
            test: ("slots", "a_file_that_was_removed"),
        },
        Mutant {
            name: "slots: a holder shares the lock of flock(2)",
            file: "semaphore/acquire.rs",
            with: "        self.share_with_flock(file, &mut turn, wait)?;",
            without: "        if false {\n            self.share_with_flock(file, &mut turn, wait)?;\n        }",
            test: ("slots", "an_exclusive_user_of_flock"),
        },
        Mutant {
            name: "slots: another number of slots is noticed",
            file: "semaphore/acquire.rs",
            with: "Ok(Some(in_use)) => Err(Failed::Error(Error::DifferentSlots {",
            without: "Ok(Some(_)) if true => Ok(()),\n            Ok(Some(in_use)) => Err(Failed::Error(Error::DifferentSlots {",
            test: ("slots", "another_number_of_slots"),
        },
        Mutant {
            name: "slots: a holder makes its number of slots known",
            file: "semaphore/acquire.rs",
            with: "        let count = Range::slot_count(self.slots);\n",
            without: "        let count = Range::slot_count(1);\n",
            test: ("slots", "another_number_of_slots"),
        },
        Mutant {
            name: "slots: a thread that holds all of them is told",
            file: "semaphore/acquire.rs",
            with: "held_slots::by_this_thread(file.identity()) >= self.slots as usize",
            without: "held_slots::by_this_thread(file.identity()) > self.slots as usize",
            test: ("slots", "a_thread_that_holds_all_slots"),
        },
        Mutant {
            name: "slots: a try does not fail because of a request that passes",
            file: "semaphore/acquire.rs",
            with: "&& self.is_only_being_passed(file) => {}",
            without: "&& false => {}",
            test: ("slots", "a_request_that_passes"),
        },
        Mutant {
            name: "slots: a try does not wait for an exclusive request",
            file: "semaphore/acquire.rs",
            with: "!wants_all && self.has_free_slot(file)",
            without: "wants_all | self.has_free_slot(file)",
            test: ("slots", "a_try_behind"),
        },
        Mutant {
            name: "slots: a slot that a thread gets too late is given back",
            file: "semaphore/any_slot.rs",
            with: "Some(Ok(())) => drop(file.unlock_bytes(range)),",
            without: "Some(Ok(())) => {}",
            test: ("slots", "no_slot_is_lost"),
        },
        Mutant {
            name: "slots: the threads of a wait that has ended are interrupted",
            file: "semaphore/any_slot.rs",
            with: "                address.interrupt();",
            without: "                let _ = address;",
            test: ("slots", "a_token_ends_a_wait"),
        },
        Mutant {
            name: "slots: a request waits for every slot",
            file: "semaphore/any_slot.rs",
            with: "let range = Range::slot(slot);\n        let sleep",
            without: "let range = Range::slot(0);\n        let sleep",
            test: ("slots", "a_released_slot_goes"),
        },
        Mutant {
            name: "slots: a release unlocks, and does not only close",
            file: "semaphore/guard.rs",
            with: "unlock_all(&self.file).map_err(|error| lock.system(\"giving a slot back\", error))",
            without: "Ok(())",
            test: ("slots", "a_release_frees_the_slot"),
        },
        Mutant {
            name: "slots: the request at the head is not a holder",
            file: "inspect/proc/slot_users.rs",
            with: "!(is_flock(lock) && lock.slot.is_none() && users.iter().any(waits))",
            without: "true || users.iter().any(waits)",
            test: ("slots", "waits_end_at_their_deadline"),
        },
        Mutant {
            name: "slots: a job that waits for a slot of its own is told",
            file: "inspect/heirs.rs",
            with: "    if kept.len() < slots as usize {",
            without: "    if kept.len() <= slots as usize {",
            test: ("command/run_slots", "a_job_that_needs_a_slot"),
        },
    ],
};
