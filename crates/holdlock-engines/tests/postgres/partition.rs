//! A host that is cut off from the server: PostgreSQL keeps a session until TCP says that the
//! client is gone.

use crate::server::{self, Server};
use crate::support::partition::{Place, Site};

pub(crate) fn site(name: &str) -> Option<Site<'static>> {
    static PLACE: Place<Server> = Place::new();
    // Its files have to be made on our own host.
    server::shared()?;
    PLACE.site(name, || server::own("listen_addresses = '*'\n"))
}
