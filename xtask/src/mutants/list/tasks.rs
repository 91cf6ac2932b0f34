//! Mutants of the waits of asynchronous code.

use crate::mutants::{Area, Mutant};

pub(super) const AREA: Area = Area {
    name: "tasks",
    sources: "crates/holdlock/src",
    mutants: &[
        Mutant {
            name: "requests that end before the process has opened the file name the holder",
            file: "acquire/mod.rs",
            with: "        open.or_else(|| self.name().identity().ok())",
            without: "        open",
            test: ("limits", "requests_behind_one_that_opens_the_file"),
        },
        Mutant {
            name: "the caller's token ends the wait of a task",
            file: "tasks/mod.rs",
            with: "let _forward = theirs.as_ref().map(|theirs| theirs.forward_to(&self.token));",
            without: "",
            test: ("future", "futures_wait_are_cancelled_and_time_out"),
        },
        Mutant {
            name: "a task gets an error if the thread panics",
            file: "tasks/mod.rs",
            with: "            queued.task.deliver(Err(panicked));",
            without: "            drop(panicked);",
            test: ("unit", "each_future_of_a_thread_that_panics"),
        },
        Mutant {
            name: "a future that is dropped cancels its wait",
            file: "tasks/mod.rs",
            with: "            self.token.cancel();\n            self.withdraw();",
            without: "",
            test: ("future", "futures_wait_are_cancelled_and_time_out"),
        },
        Mutant {
            name: "a queued task that is dropped leaves nothing in the queue",
            file: "tasks/mod.rs",
            with: "            self.token.cancel();\n            self.withdraw();",
            without: "            self.token.cancel();",
            test: ("future", "futures_wait_are_cancelled_and_time_out"),
        },
        Mutant {
            name: "the tasks of a lock share a thread",
            file: "tasks/mod.rs",
            with: "        list.served = true;",
            without: "",
            test: ("future", "futures_wait_are_cancelled_and_time_out"),
        },
        Mutant {
            name: "the limits of queued tasks are watched",
            file: "tasks/mod.rs",
            with: "            limits::add(&task)?;",
            without: "",
            test: ("future", "futures_wait_are_cancelled_and_time_out"),
        },
        Mutant {
            name: "a token ends the wait of a queued task",
            file: "tasks/limits.rs",
            with: "let is_due = token.is_some_and(CancelToken::is_cancelled);",
            without: "let is_due = token.is_none();",
            test: ("future", "futures_wait_are_cancelled_and_time_out"),
        },
        Mutant {
            name: "a task that cannot stay with shared holders queues anew",
            file: "tasks/mod.rs",
            with: "        queue_again(task);",
            without: "",
            test: ("future", "futures_wait_are_cancelled_and_time_out"),
        },
        Mutant {
            name: "a task whose turn came while it was withdrawn passes the lock on",
            file: "gate/queue.rs",
            with: "if ![ASLEEP, TRY].contains",
            without: "if false && ![ASLEEP, TRY].contains",
            test: ("future", "random_programs"),
        },
        Mutant {
            name: "a queued task joins shared holders",
            file: "gate/queue.rs",
            with: "} else if self.word.load(Ordering::Acquire) & SHARED != 0 {\n            self.admit(lists);\n        }\n        sleeper",
            without: "}\n        sleeper",
            test: ("model", "a_task_joins_shared_holders"),
        },
    ],
};
