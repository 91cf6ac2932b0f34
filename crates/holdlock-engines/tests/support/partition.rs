//! Servers in a network of their own, which can be cut.

use std::sync::OnceLock;

use holdlock_test_support::network::Network;
use holdlock_test_support::servers::Server;
use holdlock_test_support::skipped;

use super::actor::Actor;

/// A network with a server on host 0, and one more host for each test.
pub(crate) struct Site<'a> {
    pub(crate) network: &'a Network,
    /// A lock there, as its own host reaches it. A slow machine keeps it.
    pub(crate) near: String,
    /// The same, as the other hosts reach it. They lose it soon when they are cut off.
    pub(crate) far: String,
}

/// The number of hosts.
pub(crate) const HOSTS: usize = 6;

/// A network whose server all tests share.
pub(crate) struct Place<S>(OnceLock<Option<(Network, S)>>);

impl<S: Server + Send> Place<S> {
    pub(crate) const fn new() -> Place<S> {
        Place(OnceLock::new())
    }

    /// A lock of this name. The first call starts the server, which has to listen at all addresses.
    pub(crate) fn site(
        &'static self,
        name: &str,
        start: impl FnOnce() -> Option<S> + Send,
    ) -> Option<Site<'static>> {
        let made = self.0.get_or_init(|| {
            let network = Network::new(HOSTS)?;
            let server = network.on(0, start)?;
            Some((network, server))
        });
        if made.is_none() {
            skipped("network namespaces cannot be made");
        }
        let (network, server) = made.as_ref()?;
        let name = super::name(name);
        Some(Site {
            near: server.url(&name),
            far: server
                .brief(&name)
                .replace("127.0.0.1", &network.address(0)),
            network,
        })
    }
}

impl Site<'_> {
    pub(crate) fn actor(&self, host: usize) -> Actor {
        let url = if host == 0 { &self.near } else { &self.far };
        self.network.on(host, || Actor::start(url))
    }
}
