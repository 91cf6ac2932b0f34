//! Mutants of locks in PostgreSQL.

use crate::mutants::{Area, Mutant};

pub(super) const AREA: Area = Area {
    name: "postgres",
    sources: "crates/holdlock-engines/src",
    mutants: &[
        Mutant {
            name: "a waiter takes a ticket",
            file: "postgres/wait.rs",
            with: "        let mut least = 1;",
            without: "        return Ok(None);\n        let mut least = 1;",
            test: ("engines/postgres", "waiters_keep_their_places"),
        },
        Mutant {
            name: "a waiter waits for the ticket before it",
            file: "postgres/wait.rs",
            with: "Some(ticket) => self.before(ticket).await?,",
            without: "Some(_) => None,",
            test: ("engines/postgres", "waiters_keep_their_places"),
        },
        Mutant {
            name: "a try does not pass those who wait",
            file: "postgres/wait.rs",
            with: "match self.key.has_tickets() {",
            without: "match false {",
            test: ("engines/postgres", "a_try_does_not_pass_a_waiter"),
        },
        Mutant {
            name: "waits are cut into slices",
            file: "postgres/wait.rs",
            with: "const SLICE: Duration = Duration::from_secs(5);",
            without: "const SLICE: Duration = Duration::from_secs(5000);",
            test: ("engines/postgres", "waiters_keep_their_places"),
        },
        Mutant {
            name: "the end of a slice is no grant",
            file: "postgres/wait.rs",
            with: "        Ok(is_true(&rows))\n    }\n\n    pub(super) async fn ask(",
            without: "        let _ = rows;\n        Ok(true)\n    }\n\n    pub(super) async fn ask(",
            test: ("engines/postgres", "waiters_keep_their_places"),
        },
        Mutant {
            name: "a stopped waiter loses its ticket",
            file: "postgres/wait.rs",
            with: "format!(\"SET idle_session_timeout = '{}s'; \", STOPPED.as_secs())",
            without: "String::new()",
            test: ("engines/postgres", "a_stopped_waiter"),
        },
        Mutant {
            name: "the token is in the log of the server",
            file: "postgres/mod.rs",
            with: "SELECT txid_current(), pg_logical_emit_message(true, 'holdlock', '')",
            without: "SELECT txid_current()",
            test: ("engines/postgres", "after_a_crash"),
        },
        Mutant {
            name: "nobody acquires after a restart before old holders must have noticed",
            file: "postgres/connect.rs",
            with: "quarantine: left.map(|left| Instant::now() + left),",
            without: "quarantine: left.filter(|_| false).map(|left| Instant::now() + left),",
            test: ("engines/postgres", "after_a_crash"),
        },
        Mutant {
            name: "the crash of one process counts as a restart",
            file: "postgres/connect.rs",
            with: "greatest(pg_postmaster_start_time(), \\\n            (SELECT stats_reset FROM pg_stat_bgwriter))",
            without: "pg_postmaster_start_time()",
            test: ("engines/postgres", "after_a_crash"),
        },
        Mutant {
            name: "a pooler is refused",
            file: "postgres/connect.rs",
            with: "if !self.settings.pooler_is_for_sessions\n            &&",
            without: "if false\n            &&",
            test: ("engines/postgres", "a_pooler_is_refused"),
        },
        Mutant {
            name: "a standby is refused",
            file: "postgres/connect.rs",
            with: "if field(1).as_deref() != Some(\"f\") {",
            without: "if false {",
            test: ("engines/postgres", "a_standby_is_refused"),
        },
        Mutant {
            name: "the end of the connection is noticed at once",
            file: "postgres/session.rs",
            with: "ended(&self.link.ended().await)",
            without: "std::future::pending().await",
            test: ("engines/postgres", "a_terminated_session"),
        },
        Mutant {
            name: "there are no more slots than that",
            file: "postgres/slots.rs",
            with: "last = slots - 1",
            without: "last = slots",
            test: ("engines/postgres", "slots_are_given_in_order"),
        },
        Mutant {
            name: "a try does not pass those who wait for a slot",
            file: "postgres/slots.rs",
            with: "let free = if passes {",
            without: "let free = if true {",
            test: ("engines/postgres", "a_try_does_not_pass_those"),
        },
    ],
};
