//! A host that is cut off from the server: PostgreSQL keeps a session until TCP says that the
//! client is gone.

use std::sync::OnceLock;

use holdlock_test_support::network::{Cut, Network};
use holdlock_test_support::servers::Server as _;
use holdlock_test_support::{skipped, watchdog};

use crate::server::{self, Server};
use crate::support::partition::{self, Site};

/// A server on host 0, and a host for each test.
fn site(name: &str) -> Option<Site<'static>> {
    static PLACE: OnceLock<Option<(Network, Server)>> = OnceLock::new();
    // It has to be on our own host.
    server::shared()?;
    let made = PLACE.get_or_init(|| {
        let network = Network::new(6)?;
        let server = network.on(0, || server::own("listen_addresses = '*'\n"))?;
        Some((network, server))
    });
    if made.is_none() {
        skipped("network namespaces cannot be made");
    }
    let (network, server) = made.as_ref()?;
    let near = server.brief(&crate::support::name(name));
    Some(Site {
        far: near.replace("127.0.0.1", &network.address(0)),
        near,
        network,
    })
}

#[test]
fn a_holder_that_is_cut_off_stops_before_the_next_one_begins() {
    let _dog = watchdog::watch(90);
    let Some(site) = site("cut-off") else { return };
    partition::a_holder_that_is_cut_off_stops_before_the_next_one_begins(&site, 1, Cut::Both);
}

#[test]
fn a_holder_whose_messages_are_lost_stops_before_the_next_one_begins() {
    let _dog = watchdog::watch(90);
    let Some(site) = site("mute") else { return };
    partition::a_holder_that_is_cut_off_stops_before_the_next_one_begins(&site, 2, Cut::Sent);
}

#[test]
fn a_holder_that_hears_no_answers_stops_before_the_next_one_begins() {
    let _dog = watchdog::watch(90);
    let Some(site) = site("deaf") else { return };
    partition::a_holder_that_is_cut_off_stops_before_the_next_one_begins(&site, 3, Cut::Received);
}

#[test]
fn a_cut_that_is_shorter_than_the_time_limit_takes_nothing() {
    let _dog = watchdog::watch(90);
    let Some(site) = site("short") else { return };
    partition::a_cut_that_is_shorter_than_the_time_limit_takes_nothing(&site, 4);
}

#[test]
fn a_waiter_that_is_cut_off_is_passed_over() {
    let _dog = watchdog::watch(90);
    let Some(site) = site("waiter") else { return };
    partition::a_waiter_that_is_cut_off_is_passed_over(&site, 5);
}
