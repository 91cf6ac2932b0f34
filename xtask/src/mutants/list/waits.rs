//! Mutants of waits, their limits and their ends.

use crate::mutants::{Area, Mutant};

pub(super) const AREA: Area = Area {
    name: "waits",
    sources: "crates/holdlock/src",
    mutants: &[
        Mutant {
            name: "a request with a limit of zero times out",
            file: "wait/mod.rs",
            with: "Limit::For(Duration::ZERO) => (Limit::Never, Stop::TimedOut),",
            without: "Limit::For(Duration::ZERO) => (Limit::Never, Stop::Busy),",
            test: ("waiting", "a_request_with_a_limit_times_out"),
        },
        Mutant {
            name: "no signal where the lock must not use one",
            file: "wait/mod.rs",
            with: "            && self.lock.may_use_signals()\n        {\n            begun.interrupt",
            without: "        {\n            begun.interrupt",
            test: ("without_signals", "waits_end_in_time"),
        },
        Mutant {
            name: "a deadline interrupts",
            file: "sys/linux/interrupt.rs",
            with: "        self.set(ahead.max(Duration::from_nanos(1)), REPEAT)",
            without: "        let _ = (ahead, REPEAT);\n        true",
            test: ("waiting", "a_deadline_is_kept"),
        },
        Mutant {
            name: "a cancellation interrupts",
            file: "sys/linux/notify.rs",
            with: "        if self.generation.load(Ordering::Relaxed) == generation {",
            without: "        if false {",
            test: ("cancel", "a_token_ends"),
        },
        Mutant {
            name: "a signal that comes before the call is not lost",
            file: "sys/linux/call.rs",
            with: "        call.skip_call.store(1, Ordering::Relaxed);",
            without: "",
            test: ("waiting", "very_short_deadlines"),
        },
        Mutant {
            name: "a callback that waits for its own thread's lock gets an error",
            file: "wait/mod.rs",
            with: "if callback::is_awaited(|| self.lock.key()) &&",
            without: "if false &&",
            test: ("callback", "a_callback_that_asks"),
        },
        Mutant {
            name: "an interruption is no error",
            file: "wait/mod.rs",
            with: "                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {",
            without: "                Err(error) if false && error.kind() == std::io::ErrorKind::Interrupted => {",
            test: ("signals", "signals_of_the_host"),
        },
        Mutant {
            name: "a thread waits where signals cannot be used",
            file: "wait/mod.rs",
            with: "            if self.lacks_signals() || cap",
            without: "            if cap",
            test: ("no_signals", "a_deadline_is_kept"),
        },
        Mutant {
            name: "a waiting thread is taken over by the next request",
            file: "wait/helper_thread.rs",
            with: "            if took.is_ok() {",
            without: "            if took.is_ok() && false {",
            test: ("no_timers", "waits_that_time_out"),
        },
        Mutant {
            name: "a waiting thread without a request is not a wait of its process",
            file: "wait/helper_thread.rs",
            with: "start_thread(\"waiter-holdlock\",",
            without: "start_thread(\"holdlock-waiter\",",
            test: ("no_timers", "a_thread_that_is_left_in_the_queue"),
        },
        Mutant {
            name: "waiting threads are bounded",
            file: "wait/helper_thread.rs",
            with: "const MAX_THREADS: usize = 16;",
            without: "const MAX_THREADS: usize = 1000;",
            test: ("no_timers", "threads_and_descriptors"),
        },
        Mutant {
            name: "a waiting thread that is too late releases the lock",
            file: "wait/helper_thread.rs",
            with: "            let _ = self.file.unlock(self.family);",
            without: "            std::mem::forget(self);",
            test: ("no_timers", "a_thread_that_comes_too_late"),
        },
        Mutant {
            name: "the limit of files is checked before the note is made",
            file: "sys/linux/published.rs",
            with: "if process::file_size_limit() < SIZE as u64 {",
            without: "if process::file_size_limit() == 1 {",
            test: ("unit", "a_process_that_may_write_no_files"),
        },
        Mutant {
            name: "a thread sleeps until it is notified completely",
            file: "sys/linux/notify.rs",
            with: "            futex::sleep(&self.slot.state, NOTIFYING, AT_MOST);",
            without: "            let _ = AT_MOST;\n            std::thread::yield_now();",
            test: ("cancel", "a_real_time_thread"),
        },
    ],
};
