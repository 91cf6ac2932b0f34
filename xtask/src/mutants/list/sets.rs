//! Mutants of several locks at once.

use crate::mutants::{Area, Mutant};

pub(super) const AREA: Area = Area {
    name: "sets",
    sources: "crates/holdlock/src",
    mutants: &[
        Mutant {
            name: "a set holds nothing while it waits",
            file: "set/acquire.rs",
            with: "drop(round); // before the wait",
            without: "std::mem::forget(round);",
            test: ("sets", "a_set_that_waits"),
        },
        Mutant {
            name: "a set has one time limit for all waits",
            file: "set/acquire.rs",
            with: "let deadline = began.checked_add(limit);",
            without: "let deadline = Instant::now().checked_add(limit);",
            test: ("sets", "one_time_limit"),
        },
        Mutant {
            name: "a set knows its own lock by another name",
            file: "set/acquire.rs",
            with: "owner.identity() == Some(file) &&",
            without: "false &&",
            test: ("sets", "members_that_are_one_file"),
        },
        Mutant {
            name: "of two names of one file the exclusive member counts",
            file: "set/acquire.rs",
            with: "member.mode == Mode::Exclusive && holder.mode == Mode::Shared",
            without: "false",
            test: ("sets", "members_that_are_one_file"),
        },
        Mutant {
            name: "a set looks whether a name still leads to its file",
            file: "set/acquire.rs",
            with: "member.lock.name().identity().ok() != Some(file)",
            without: "false",
            test: ("sets", "no_longer_one_file"),
        },
        Mutant {
            name: "a set writes its records when it has all its locks",
            file: "acquire/mod.rs",
            with: "        if records_later {",
            without: "        if false {",
            test: ("sets", "a_holder_that_died"),
        },
        Mutant {
            name: "a set that has had its turn passes the queues of its other members",
            file: "set/acquire.rs",
            with: "had_its_turn: self.began.is_some(),",
            without: "had_its_turn: false,",
            test: ("sets", "eight_processes"),
        },
    ],
};
