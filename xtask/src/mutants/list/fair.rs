//! Mutants of requests in the order of their arrival.

use crate::mutants::{Area, Mutant};

pub(super) const AREA: Area = Area {
    name: "fair",
    sources: "crates/holdlock/src",
    mutants: &[
        Mutant {
            name: "fair: requests queue for the head first",
            file: "acquire/mod.rs",
            with: "if !self.options().fair || wait.had_its_turn() {",
            without: "if true {",
            test: ("fair", "has_just_released"),
        },
        Mutant {
            name: "fair: the place at the head is kept until the lock is acquired",
            file: "acquire/mod.rs",
            with: "        if let Some(turn) = turn {\n            turn.watch_head();",
            without: "        let _ = turn;\n        if places.as_mut().and_then(|places| places.turn.take()).is_some() {",
            test: ("fair", "has_just_released"),
        },
        Mutant {
            name: "fair: a request in the way of a lock of the whole file steps aside",
            file: "acquire/head_watcher.rs",
            with: "        if is_in_the_way {",
            without: "        if false && is_in_the_way {",
            test: ("fair", "a_program_that_locks_the_whole_file"),
        },
        Mutant {
            name: "fair: a request that is in nobody's way stays",
            file: "acquire/head_watcher.rs",
            with: "        if is_in_the_way {",
            without: "        if true || is_in_the_way {",
            test: ("fair", "has_waited_long"),
        },
        Mutant {
            name: "fair: the kernel's lock is not kept for the next thread",
            file: "gate/exit.rs",
            with: "if self.fair || !self.handover.may_keep(now) {",
            without: "if !self.handover.may_keep(now) {",
            test: ("fair", "no_thread_passes"),
        },
        Mutant {
            name: "fair: a thread that shares the lock need not wait for a turn",
            file: "acquire/turn.rs",
            with: "mode == Mode::Shared && held(Mode::Exclusive)",
            without: "false && held(Mode::Exclusive)",
            test: ("fair", "a_thread_that_shares"),
        },
        Mutant {
            name: "fair: threads that share do not pass a waiter",
            file: "acquire/mod.rs",
            with: "!self.options().fair || turn::after_looks(file, mode).is_some()",
            without: "true || turn::after_looks(file, mode).is_some()",
            test: ("fair", "threads_that_share_one_lock"),
        },
        Mutant {
            name: "fair: a try does not fail because of a request that only passes through",
            file: "acquire/turn.rs",
            with: "const LOOKS: u32 = 40;",
            without: "const LOOKS: u32 = 0;",
            test: ("fair", "shared_tries"),
        },
        Mutant {
            name: "fair: the request at the head is not a holder",
            file: "inspect/proc/whole_table.rs",
            with: "!(entry.is_held() && entry.is_for_a_turn())",
            without: "true || !entry.is_for_a_turn()",
            test: ("fair", "in_the_order_of_arrival"),
        },
    ],
};
