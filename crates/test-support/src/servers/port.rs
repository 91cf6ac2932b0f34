//! A port for a server of a test.
//!
//! A port that is free when a test looks need not be free when the server starts: another test may
//! have chosen the same port, and the kernel gives ports to clients. Therefore a port here is
//! reserved among all tests of the machine, and lies below the ports of clients.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr as Address, TcpListener};
use std::ops::Range;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicU16, Ordering};

/// A port at which nothing listens, reserved until it is dropped. A server that it was given to may
/// listen there.
#[derive(Debug)]
pub struct Port {
    number: u16,
    /// A socket without a file, whose name only one process can have.
    _reserved: UnixDatagram,
}

impl Port {
    /// A port of 127.0.0.1.
    ///
    /// # Panics
    ///
    /// If no port is left.
    #[expect(clippy::new_without_default, reason = "it reserves something")]
    pub fn new() -> Port {
        static TRIED: AtomicU16 = AtomicU16::new(0);
        let range = range();
        // Programs that run at the same time begin at different places.
        let begin = std::process::id() as usize * 101;
        for _ in range.clone() {
            let tried = usize::from(TRIED.fetch_add(1, Ordering::Relaxed));
            let number = range.start + ((begin + tried) % range.len()) as u16;
            if let Some(reserved) = reserve(number)
                && is_free(number)
            {
                return Port {
                    number,
                    _reserved: reserved,
                };
            }
        }
        panic!("each port of {range:?} is in use");
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }
}

/// None if another test has the port. Abstract names belong to the network namespace, as ports do.
fn reserve(number: u16) -> Option<UnixDatagram> {
    let name = SocketAddr::from_abstract_name(format!("holdlock-test-port-{number}"));
    UnixDatagram::bind_addr(&name.expect("a short name")).ok()
}

fn is_free(number: u16) -> bool {
    let addresses = [
        Address::from((Ipv4Addr::LOCALHOST, number)),
        // What `localhost` may mean as well, on machines that have it.
        Address::from((Ipv6Addr::LOCALHOST, number)),
    ];
    addresses.iter().all(|address| {
        let bound = TcpListener::bind(address);
        !bound.is_err_and(|error| error.kind() == ErrorKind::AddrInUse)
    })
}

/// The ports below those that the kernel gives to clients.
fn range() -> Range<u16> {
    const FIRST: u16 = 10_000;
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let text = text.unwrap_or_default();
    let of_clients = text
        .split_whitespace()
        .next()
        .and_then(|first| first.parse().ok());
    match of_clients {
        Some(end) if end >= FIRST + 1000 => FIRST..end,
        // There is hardly any; the default has to do.
        _ => FIRST..32_768,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_given_once_and_not_while_a_server_listens_there() {
        let ports: Vec<Port> = (0..50).map(|_| Port::new()).collect();
        let mut numbers: Vec<u16> = ports.iter().map(Port::number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), ports.len());
        assert!(numbers.iter().all(|number| range().contains(number)));
        let number = ports[0].number();
        assert!(reserve(number).is_none());
        let server = TcpListener::bind(("127.0.0.1", number)).expect("free");
        assert!(!is_free(number));
        drop(server);
        drop(ports);
        // Another test may have got some of them.
        assert!(numbers.iter().any(|&number| reserve(number).is_some()));
    }
}
