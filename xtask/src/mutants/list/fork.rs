//! Mutants of children of a process that has locks.

use crate::mutants::{Area, Mutant};

pub(super) const AREA: Area = Area {
    name: "fork",
    sources: "crates/holdlock/src",
    mutants: &[
        Mutant {
            name: "other threads cannot unlock a lock that was handed over",
            file: "guard/hand_over.rs",
            with: "let own = self.file.open_again().map_err(failed)?;",
            without: "let own = self.file.clone();",
            test: ("fork", "a_lock_that_was_handed_over"),
        },
        Mutant {
            name: "a guard knows its process",
            file: "guard/held.rs",
            with: "        self.generation == fork::generation()\n",
            without: "        true\n",
            test: ("fork", "a_guard_dropped"),
        },
        Mutant {
            name: "a child has a gate of its own",
            file: "sys/linux/fork.rs",
            with: "            if stamped.generation == generation {",
            without: "            if stamped.generation != 0 {",
            test: ("fork", "a_fork_between_busy_threads"),
        },
        Mutant {
            name: "a child closes its copies",
            file: "sys/linux/close_in_child.rs",
            with: "placeholder.cover(number);",
            without: "",
            test: ("fork", "a_child_does_not_keep"),
        },
        Mutant {
            name: "a child has a placeholder for each of its copies",
            file: "sys/linux/close_in_child.rs",
            with: "unsafe { libc::dup3(nothing, number, libc::O_CLOEXEC) };",
            without: "unsafe { libc::close(number) };",
            test: ("fork", "in_a_child"),
        },
        Mutant {
            name: "a child closes a copy whose number is above the limit",
            file: "sys/linux/close_in_child.rs",
            with: "if covered < 0 {",
            without: "if covered < -1 {",
            test: ("fork", "above_the_limit"),
        },
        Mutant {
            name: "a child closes a file that was being opened",
            file: "sys/linux/close_in_child.rs",
            with: "let is_opening = OPENING.swap(0, Ordering::SeqCst) > 0;",
            without: "let is_opening = OPENING.swap(0, Ordering::SeqCst) > u32::MAX - 1;",
            test: ("fork", "while_another_thread"),
        },
        Mutant {
            name: "a child closes a file that was being closed",
            file: "sys/linux/close_in_child.rs",
            with: "if has_changed() || is_opening {",
            without: "if is_opening {",
            test: ("fork", "that_another_thread_closes_meanwhile"),
        },
        Mutant {
            name: "a file that was being opened is not taken for a closed one",
            file: "sys/linux/close_in_child.rs",
            with: "            && identity::of_number(number) == Some(slot.identity())\n",
            without: "",
            test: ("unit", "a_child_keeps_no_file"),
        },
        Mutant {
            name: "a child closes the note of its parent",
            file: "sys/linux/published.rs",
            with: "        close(page.number);",
            without: "",
            test: ("fork", "a_chain_of_forks"),
        },
        Mutant {
            name: "a child keeps no placeholder beside those for its copies",
            file: "sys/linux/close_in_child.rs",
            with: "    if let Placeholder::Apart(number) = placeholder {\n        close(number);\n    }\n",
            without: "",
            test: ("fork", "a_chain_of_forks"),
        },
        Mutant {
            name: "a bare clone is noticed",
            file: "sys/linux/fork.rs",
            with: "unsafe { libc::madvise(fresh, SIZE, libc::MADV_WIPEONFORK) };",
            without: "let _ = fresh;",
            test: ("fork", "a_guard_dropped"),
        },
    ],
};
