//! Mutants of the order between the threads of a process.

use crate::mutants::{Area, Mutant};

pub(super) const AREA: Area = Area {
    name: "threads",
    sources: "crates/holdlock/src",
    mutants: &[
        Mutant {
            name: "identity is checked on a kept lock",
            file: "acquire/mod.rs",
            with: "mode == Mode::Exclusive && file.is_intact()",
            without: "mode == Mode::Exclusive && file.is_ours()",
            test: ("exclusion", "a_kept_lock"),
        },
        Mutant {
            name: "one thread passes the gate",
            file: "gate/mod.rs",
            with: "(word & OCCUPIED == 0 && self.occupy(word, occupant))",
            without: "(self.occupy(word, occupant))",
            test: ("exclusion", "two_threads"),
        },
        Mutant {
            name: "sleeping threads are served in order",
            file: "gate/exit.rs",
            with: "if !passing && let Some(first) = lists.queue.pop_front() {",
            without: "if !passing && let Some(first) = lists.queue.pop_back() {",
            test: ("exclusion", "sleeping_threads"),
        },
        Mutant {
            name: "the kernel's lock is kept a bounded number of times",
            file: "gate/handover.rs",
            with: "< MAX_KEPT_IN_ROW\n",
            without: "< u32::MAX\n",
            test: ("exclusion", "threads_of_a_busy_process"),
        },
        Mutant {
            name: "shared holders are counted",
            file: "gate/exit.rs",
            with: "        if !lists.sharers.is_empty() {\n            return Ok(());",
            without: "        if false {\n            return Ok(());",
            test: ("exclusion", "shared_guards"),
        },
        Mutant {
            name: "a thread that leaves wakes the first sleeper",
            file: "gate/exit.rs",
            with: "            drop(lists);\n            wake.send();",
            without: "            drop(lists);\n            let _ = wake;",
            test: ("model", "two_writers_exclude_each_other_again"),
        },
        Mutant {
            name: "a stopped wait passes its wake-up on",
            file: "gate/queue.rs",
            with: "            drop(lists);\n            wake.send();",
            without: "            drop(lists);\n            let _ = wake;",
            test: ("model", "a_stopped_waiter_passes_its_wake_up_on"),
        },
        Mutant {
            name: "a section sees what the one before has written",
            file: "gate/mod.rs",
            with: "compare_exchange(word, inside, Ordering::Acquire, Ordering::Relaxed)",
            without: "compare_exchange(word, inside, Ordering::Relaxed, Ordering::Relaxed)",
            test: ("model", "two_writers_exclude_each_other"),
        },
        Mutant {
            name: "a lock that is kept for a stopped wait is given back",
            file: "gate/queue.rs",
            with: "if self.word.load(Ordering::Acquire) != KEPT ||",
            without: "if true || self.word.load(Ordering::Acquire) != KEPT ||",
            test: ("model", "a_lock_that_was_kept_for_a_stopped_wait"),
        },
        Mutant {
            name: "a thread that waits for itself gets an error",
            file: "gate/queue.rs",
            with: "        self.held_by_this_thread(mode)\n",
            without: "        false && self.held_by_this_thread(mode)\n",
            test: ("exclusion", "a_second_request"),
        },
        Mutant {
            name: "a thread that waits for its other lock object gets an error",
            file: "gate/registry.rs",
            with: "            && gate.held_by_this_thread(mode)",
            without: "            && false",
            test: ("exclusion", "a_second_request"),
        },
    ],
};
