//! Mutants of the keeping of locks between hosts.

use crate::mutants::{Area, Mutant};

pub(super) const AREA: Area = Area {
    name: "keeper",
    sources: "crates/holdlock-engines/src",
    mutants: &[
        Mutant {
            name: "the deadline counts from the sending of a renewal",
            file: "keeper/hold.rs",
            with: "Ok(()) => self.confirm(sent),",
            without: "Ok(()) => self.confirm(BootTime::now()),",
            test: ("engines/redis", "the_deadline_counts_from_the_sending"),
        },
        Mutant {
            name: "the deadline is before the end of the lease",
            file: "keeper/hold.rs",
            with: "    ttl.saturating_sub((ttl / 10).max(Duration::from_secs(1)))",
            without: "    ttl",
            test: ("engines/redis", "the_deadline_is_before_the_moment"),
        },
        Mutant {
            name: "a loss is told at the deadline",
            file: "keeper/hold.rs",
            with: "let deadline = (!self.fired).then(",
            without: "let deadline = (!self.fired && false).then(",
            // There a renewal has no limit of its own, whose end would be noticed as well.
            test: ("engines/postgres", "a_server_that_stands_still"),
        },
        Mutant {
            name: "a question whether the lock is held ends in time",
            file: "keeper/hold.rs",
            with: "|(until, _)| until.has_passed()",
            without: "|(until, _)| false && until.has_passed()",
            test: ("engines/postgres", "a_task_that_asks_a_server"),
        },
        Mutant {
            name: "a question outlasts a silence in which the lock is held",
            file: "keeper/hold.rs",
            with: "            Some(_) if !self.deadline.has_passed() => return,\n",
            without: "",
            test: ("engines/redis", "a_question_outlasts"),
        },
        Mutant {
            name: "a limit of this system is not taken for a server that is away",
            file: "error.rs",
            with: "libc::EMFILE => ",
            without: "libc::EMFILE if false => ",
            test: ("command/engine", "the_limit_of_open_files"),
        },
        Mutant {
            name: "a lock is renewed before its deadline",
            file: "keeper/hold.rs",
            with: "self.next.has_passed() || !self.asked.is_empty()",
            without: "!self.asked.is_empty()",
            test: ("engines/redis", "a_lock_is_kept_for_longer"),
        },
        Mutant {
            name: "a holder that was stopped asks before it gives up",
            file: "keeper/hold.rs",
            with: "if self.grace.is_none() && then.elapsed() > ON_TIME {",
            without: "if false {",
            test: ("engines/postgres", "a_holder_that_was_stopped_asks"),
        },
        Mutant {
            name: "a dropped request is withdrawn",
            file: "keeper/serve.rs",
            with: "() = tell.closed() => return,",
            without: "() = std::future::pending() => return,",
            test: ("engines/etcd", "a_place_is_given_back"),
        },
        Mutant {
            name: "a request ends when its place was given back",
            file: "keeper/serve.rs",
            with: "if result.is_err() {",
            without: "if false {",
            test: ("engines/redis", "a_program_that_ends_right_after"),
        },
        Mutant {
            name: "a token ends a wait",
            file: "keeper/serve.rs",
            with: "() = cancelled(terms.cancel.as_ref()) =>",
            without: "() = std::future::pending() =>",
            test: ("engines/etcd", "a_place_is_given_back"),
        },
        Mutant {
            name: "a child of fork holds no lock",
            file: "sys/fork.rs",
            with: "self.value.as_ref().filter(|_| self.generation.is_current())",
            without: "self.value.as_ref()",
            test: ("engines/redis", "a_child_holds_nothing"),
        },
        Mutant {
            name: "a child of fork closes its copies of connections",
            file: "sys/fork.rs",
            with: "unsafe { libc::close(entry - 1) };",
            without: "unsafe { libc::close(-entry) };",
            test: ("engines/postgres", "a_child_does_not_keep"),
        },
        Mutant {
            name: "deadlines count while the machine is suspended",
            file: "sys/clock.rs",
            with: "clock_gettime(ClockId::Boottime)",
            without: "clock_gettime(ClockId::Monotonic)",
            test: ("unit", "that_a_machine_spends"),
        },
        Mutant {
            name: "timers go on while the machine is suspended",
            file: "sys/clock.rs",
            with: "timerfd_create(TimerfdClockId::Boottime, flags)",
            without: "timerfd_create(TimerfdClockId::Monotonic, flags)",
            test: ("unit", "that_a_machine_spends"),
        },
    ],
};
