//! Connections by TCP, as /proc/PID/net shows them: in the network namespace of the process.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Sockets;

const ESTABLISHED: &str = "01";

/// Whether one of these sockets of the process is connected to the address.
pub(super) fn is_peer(pid: u32, sockets: &Sockets, address: SocketAddr) -> io::Result<bool> {
    let address = (address.ip().to_canonical(), address.port());
    for table in ["tcp", "tcp6"] {
        let table = match fs::read_to_string(format!("/proc/{pid}/net/{table}")) {
            Ok(table) => table,
            // A kernel without IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let mut connections = table.lines().filter_map(connection);
        if connections.any(|(socket, peer)| peer == address && sockets.contains(&socket)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The socket and its peer, if the line is about a connection.
fn connection(line: &str) -> Option<(u64, (IpAddr, u16))> {
    let fields: Vec<&str> = line.split_ascii_whitespace().take(10).collect();
    let [_, _, peer, ESTABLISHED, _, _, _, _, _, socket] = fields[..] else {
        return None;
    };
    let (ip, port) = peer.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    Some((socket.parse().ok()?, (address(ip)?.to_canonical(), port)))
}

/// The kernel writes each four bytes of an address as a number of this machine.
fn address(text: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let digits = text.get(at..at + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    match text.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_connection_is_found_by_its_peer() {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            // A host without IPv6.
            let Ok(listener) = TcpListener::bind(host) else {
                continue;
            };
            let address = listener.local_addr().expect("an address");
            let us = std::process::id();
            let sockets = || super::super::sockets(us).expect("ours");
            assert!(!is_peer(us, &sockets(), address).expect("read"));
            let client = TcpStream::connect(address).expect("listens");
            assert!(is_peer(us, &sockets(), address).expect("read"));
            let others = sockets().into_iter().filter(|socket| {
                let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&client));
                Some(*socket) != fs::metadata(link).ok().map(|data| data.ino())
            });
            assert!(!is_peer(us, &others.collect(), address).expect("read"));
        }
    }

    #[test]
    fn other_lines_are_no_connections() {
        let line = "0: 0100007F:A 0100007F:1538 01 0:0 00:0 0 0 0 77 1 0 20 4 0 10 -1";
        let peer = (IpAddr::from([127, 0, 0, 1]), 0x1538);
        if cfg!(target_endian = "little") {
            assert_eq!(connection(line), Some((77, peer)));
        }
        for other in [
            "sl local_address rem_address st tx_queue rx_queue tr tm->when retrnsmt uid",
            &line.replace(" 01 ", " 06 "),
            &line.replace("1538", "x"),
            &line.replace(":1538", ""),
            &line.replace("0100007F:1538", "0100\u{fc}07F:1538"),
            "",
        ] {
            assert_eq!(connection(other), None, "{other}");
        }
    }
}
