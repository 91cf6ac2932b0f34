//! Mutants of the signal that interrupts a wait.

use crate::mutants::{Area, Mutant};

pub(super) const AREA: Area = Area {
    name: "signals",
    sources: "crates/holdlock/src",
    mutants: &[
        Mutant {
            name: "no signal outlives its wait",
            file: "sys/linux/interrupt.rs",
            with: "the caller's own calls.\n        self.set(Duration::ZERO, Duration::ZERO);",
            without: "the caller's own calls.",
            test: ("signals", "no_signal_is_left_over"),
        },
        Mutant {
            name: "the signal is unblocked for the wait",
            file: "sys/linux/signal.rs",
            with: "            unblock(signal);\n",
            without: "",
            test: ("signals", "a_deadline_is_met_while"),
        },
        Mutant {
            name: "the caller's mask is restored",
            file: "sys/linux/signal.rs",
            with: "            block(self.signal);",
            without: "",
            test: ("signals", "a_deadline_is_met_while"),
        },
        Mutant {
            name: "the handler of the signal is checked",
            file: "sys/linux/signal.rs",
            with: "(signal != 0 && matches!(owner(signal), Ok(Owner::Us)))",
            without: "(signal != 0)",
            test: ("signals", "a_deadline_is_met_after"),
        },
        Mutant {
            name: "a signal that a thread blocks is not ours",
            file: "sys/linux/signal.rs",
            with: "!avoided.has(signal) && take(signal)",
            without: "(true || !avoided.has(signal)) && take(signal)",
            test: ("signals", "signals_that_the_program_reads"),
        },
        Mutant {
            name: "a signal that the waiting thread blocks by now is not ours",
            file: "sys/linux/signal.rs",
            with: "if mask.has(signal) && may_be_read(signal, mask) {",
            without: "if false && may_be_read(signal, mask) {",
            test: ("signals", "signals_that_the_program_reads"),
        },
        Mutant {
            name: "the mask is looked at before a signal is unblocked",
            file: "sys/linux/signal.rs",
            with: "        let mask = thread::mask();\n",
            without: "        let mask = thread::mask();\n        unblock(signal);\n",
            test: ("signals", "signals_that_the_program_reads"),
        },
        Mutant {
            name: "the thread continues behind the call",
            file: "sys/linux/call.rs",
            with: "            *at = call.after_call.load(Ordering::Relaxed) as libc::greg_t;",
            without: "",
            test: ("signals", "a_deadline_is_met_though"),
        },
        Mutant {
            name: "our signal waits for the end of another handler",
            file: "sys/linux/call.rs",
            with: "        *blocked |= 1 << (signal - 1);",
            without: "        let _ = blocked;",
            test: ("signals", "a_deadline_is_met_though"),
        },
        Mutant {
            name: "a callback gets the wait's timer and signal",
            file: "wait/mod.rs",
            with: "        let was_prepared = interrupt.is_some();\n        drop(interrupt);",
            without: "        let was_prepared = false;\n        if let Some(begun) = &mut self.begun { begun.interrupt = interrupt; }",
            test: ("signals", "a_limit_is_kept_after"),
        },
    ],
};
