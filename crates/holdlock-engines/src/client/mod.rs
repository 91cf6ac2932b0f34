//! Whether a process of this host is a client of a server. The process that a record in the engine
//! names is the one that the writer of the record wanted to name; its connections are its own.

mod tcp;
mod unix;

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::PathBuf;

use crate::Error;
use crate::engine::Engine;
use crate::keeper::serve;
use crate::stream::Address;

/// The numbers of sockets, which are those of their inodes.
type Sockets = HashSet<u64>;

/// Whether the process has a connection to a server of this URL. Waits for the name service.
pub(crate) fn is_among_those_of(engine: &Engine, pid: u32) -> Result<bool, Error> {
    let addresses = serve::ask(engine, |engine| async move { Ok(engine.addresses().await) })?;
    is_client(pid, &addresses).map_err(|error| Error::Failed {
        lock: engine.shown().to_owned(),
        operation: "looking at the connections of the process",
        why: format!("pid {pid}: {error}; only the user of the process and root may look at them"),
    })
}

/// Whether the process has a connection to one of these addresses.
fn is_client(pid: u32, servers: &[Address]) -> io::Result<bool> {
    let sockets = sockets(pid)?;
    for server in servers {
        let is_connected = match server {
            Address::Tcp(address) => tcp::is_peer(pid, &sockets, *address)?,
            Address::Unix(path) => unix::is_peer(&sockets, path)?,
        };
        if is_connected {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The sockets that the process has open: none if it has ended.
fn sockets(pid: u32) -> io::Result<Sockets> {
    let descriptors = match fs::read_dir(format!("/proc/{pid}/fd")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Sockets::new()),
        descriptors => descriptors?,
    };
    let links = descriptors
        .flatten()
        .filter_map(|descriptor| fs::read_link(descriptor.path()).ok());
    let number = |link: PathBuf| {
        let number = link.to_str()?.strip_prefix("socket:[")?;
        number.strip_suffix(']')?.parse().ok()
    };
    Ok(links.filter_map(number).collect())
}
