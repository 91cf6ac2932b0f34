//! Mutants of locks in etcd.

use crate::mutants::{Area, Mutant};

pub(super) const AREA: Area = Area {
    name: "etcd",
    sources: "crates/holdlock-engines/src",
    mutants: &[
        Mutant {
            name: "a renewal looks at the key",
            file: "etcd/session.rs",
            with: "match place.verify(shown.as_deref()).await {",
            without: "match place.verify(shown.as_deref()).await.or(Ok::<bool, Failure>(true)).map(|_| true) {",
            test: ("engines/etcd", "a_check_asks_for_the_key"),
        },
        Mutant {
            name: "the loss of the key is heard of at once",
            file: "etcd/session.rs",
            with: "if deleted.await.is_ok() {",
            without: "if deleted.await.is_ok_and(|_| false) {",
            test: ("engines/etcd", "a_revoked_lease"),
        },
        Mutant {
            name: "a member without a leader says so",
            file: "etcd/http.rs",
            with: "\"Grpc-Metadata-hasleader\"",
            without: "\"Grpc-Metadata-other\"",
            test: ("engines/etcd", "without_a_majority"),
        },
        Mutant {
            name: "a request that ends revokes its lease",
            file: "etcd/place.rs",
            with: "        if self.left.get() {",
            without: "        if true {",
            test: ("engines/etcd", "a_place_is_given_back"),
        },
        Mutant {
            name: "a waiter watches the one that leaves last",
            file: "etcd/place.rs",
            with: "            keys.truncate(1);",
            without: "            keys.truncate(9);",
            test: ("engines/etcd", "a_waiter_goes_on_as_soon_as"),
        },
        Mutant {
            name: "a waiter sleeps until the one before it leaves",
            file: "etcd/wait.rs",
            with: "Ok(opened) => Some((before.watched.clone(), opened)),",
            without: "Ok(_) => None,",
            test: ("engines/etcd", "a_waiter_asks_nothing"),
        },
        Mutant {
            name: "a waiter looks at its own key before it has the lock",
            file: "etcd/place.rs",
            with: "            true => Ok(self.read_look(answer)),\n            false",
            without: "            _ => Ok(self.read_look(answer)),\n            false",
            test: ("engines/etcd", "a_waiter_whose_lease_was_revoked"),
        },
        Mutant {
            name: "a waiter renews its lease",
            file: "etcd/wait.rs",
            with: "() = tokio::time::sleep(self.due().remaining()) => {",
            without: "() = std::future::pending() => {",
            test: ("engines/etcd", "a_wait_may_take"),
        },
        Mutant {
            name: "a release says that the lock was lost",
            file: "etcd/place.rs",
            with: "let released = answer.succeeded || by_us;",
            without: "let released = true;",
            test: ("engines/etcd", "a_release_says"),
        },
        Mutant {
            name: "the deadline counts from the sending of a call",
            file: "etcd/client.rs",
            with: "return Ok((sent, answer));",
            without: "return Ok((BootTime::now(), answer));",
            test: ("engines/etcd", "the_deadline_counts"),
        },
        Mutant {
            name: "a reader waits for writers only",
            file: "etcd/place.rs",
            with: "Mode::Shared => self.keys.exclusive(),",
            without: "Mode::Shared => self.keys.all(),",
            test: ("engines/etcd", "shared_holders_are_there"),
        },
        Mutant {
            name: "there are no more slots than that",
            file: "etcd/place.rs",
            with: "slots as usize - 1",
            without: "slots as usize",
            test: ("engines/etcd", "slots_are_given_in_order"),
        },
        Mutant {
            name: "dead endpoints are passed over",
            file: "etcd/race.rs",
            with: "let more = ways.peek().is_some();",
            without: "let more = false;",
            test: ("engines/etcd", "dead_endpoints"),
        },
        Mutant {
            name: "a waiter that was not answered in time queues again",
            file: "etcd/mod.rs",
            with: "        // now.\n        Err(Failure::Silent(_)) => Ok(None),\n",
            without: "        // now.\n",
            test: ("engines/etcd", "a_waiter_whose_lease_ran_out_while"),
        },
    ],
};
