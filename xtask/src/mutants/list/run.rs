//! Mutants of the command `run`.

use crate::mutants::{Area, Mutant};

pub(super) const AREA: Area = Area {
    name: "run",
    sources: "crates/holdlock-cli/src",
    mutants: &[
        Mutant {
            name: "run: the command inherits the lock",
            file: "run/mod.rs",
            with: "let inherits: Vec<BorrowedFd<'_>> = if settings.close {",
            without: "let inherits: Vec<BorrowedFd<'_>> = if settings.close || true {",
            test: ("command/run_end", "nobody_joins_what_a_killed_holdlock"),
        },
        Mutant {
            name: "run: nothing is unlocked after an end by a signal",
            file: "run/supervisor.rs",
            with: "        matches!(self, End::Exited(_))",
            without: "        let _ = self;\n        true",
            test: ("command/run_end", "nobody_joins_what_a_terminated_script"),
        },
        Mutant {
            name: "run: a signal to holdlock counts as an end by a signal",
            file: "run/supervisor.rs",
            with: "if self.asked || means_a_signal ||",
            without: "if means_a_signal ||",
            test: ("command/run_inherit", "an_end_after_a_signal"),
        },
        Mutant {
            name: "run: 128+n means a signal",
            file: "run/supervisor.rs",
            with: "if self.asked || means_a_signal ||",
            without: "if self.asked ||",
            test: ("command/run_inherit", "an_end_after_a_signal"),
        },
        Mutant {
            name: "run: holdlock stays for processes without the lock",
            file: "run/survivors.rs",
            with: "let is_over = left.others.is_empty();",
            without: "let is_over = true;",
            test: ("command/run_end", "nobody_joins_what_a_killed_script"),
        },
        Mutant {
            name: "run: a process that waits for the lock is not at work",
            file: "run/survivors.rs",
            with: ".retain(|process| !waiters.contains(&process.pid));",
            without: ".retain(|process| !waiters.contains(&process.pid) || true);",
            test: ("command/run_inherit", "what_waits_for_its_turn"),
        },
        Mutant {
            name: "run: a blocked standard error does not hold it up",
            file: "say.rs",
            with: "if DOES_NOT_WAIT.load(Ordering::Relaxed) {",
            without: "if false && DOES_NOT_WAIT.load(Ordering::Relaxed) {",
            test: (
                "command/run_stderr",
                "a_blocked_standard_error_does_not_hold_up_the_time_limit",
            ),
        },
        Mutant {
            name: "run: a waiter closes what it has inherited",
            file: "run/inherited.rs",
            with: "if inherited && taker",
            without: "if false && inherited && taker",
            test: ("command/run_inherit", "what_is_to_run_later"),
        },
        Mutant {
            name: "run: a standard stream that is the lock stays open",
            file: "sys/descriptors.rs",
            with: "if !(0..=2).contains(&fd) {",
            without: "if true {",
            test: ("command/run_inherit", "standard_streams_that_are"),
        },
        Mutant {
            name: "run: a message in the background stops no holder",
            file: "say/writer.rs",
            with: "signals::without_any(|| thread.spawn(write_all))",
            without: "thread.spawn(write_all)",
            test: ("command/terminal", "a_warning_at_the_start"),
        },
        Mutant {
            name: "run: KILL is sent until nothing is left",
            file: "run/ending.rs",
            with: "            Stage::Killing { .. } => self.kill(job),",
            without: "            Stage::Killing { .. } => {}",
            test: ("command/run_keeping", "a_chain_of_forks"),
        },
        Mutant {
            name: "run: TERM reaches stopped processes",
            file: "run/ending.rs",
            with: "for signal in [Signal::TERM, Signal::CONT] {",
            without: "for signal in [Signal::TERM] {",
            test: ("command/run_keeping", "everything_that_is_stopped"),
        },
        Mutant {
            name: "run: a timer continues a stopped holdlock",
            file: "run/ending.rs",
            with: "limit.and_then(|limit| Wake::after(left(limit)).ok())",
            without: "None",
            test: ("command/run_keeping", "a_stopped_holdlock"),
        },
        Mutant {
            name: "run: processes from before are not part of the job",
            file: "run/job.rs",
            with: "descendants::of(self.us, &self.strangers)",
            without: "descendants::of(self.us, &[])",
            test: ("command/run_keeping", "what_was_there_before"),
        },
        Mutant {
            name: "run: holdlock dies of Ctrl-C with the command",
            file: "run/mod.rs",
            with: "if let Some(signal) = course.dies_of {",
            without: "if let Some(signal) = course.dies_of.filter(|_| false) {",
            test: ("command/signals", "holdlock_dies_of"),
        },
    ],
};
