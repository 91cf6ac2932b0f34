//! Connections by Unix sockets. /proc does not tell which sockets are connected to each other; the
//! kernel does by netlink (unix_diag), for the network namespace of this process.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::net::{
    self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink::SOCK_DIAG,
};

use super::Sockets;

/// Numbers of <linux/netlink.h>, <linux/sock_diag.h> and <linux/unix_diag.h>.
mod number {
    pub(super) const REQUEST: u16 = 1;
    pub(super) const BY_FAMILY: u16 = 20;
    pub(super) const UNIX: u8 = 1;
    /// Attributes; their bits say what is asked for.
    pub(super) const NAME: u16 = 0;
    pub(super) const VFS: u16 = 1;
    pub(super) const PEER: u16 = 2;
}

/// The lengths of a message's header, of an answer without attributes, and of the header of an
/// attribute.
const HEADER: usize = 16;
const ANSWER: usize = 16;
const ATTRIBUTE: usize = 4;

/// Whether one of these sockets is connected to the server that listens at this path.
pub(super) fn is_peer(sockets: &Sockets, path: &Path) -> io::Result<bool> {
    let Ok((server, path)) = fs::metadata(path).and_then(|file| Ok((file, path.canonicalize()?)))
    else {
        return Ok(false);
    };
    let kernel = net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(SOCK_DIAG),
    )?;
    for socket in sockets {
        let Ok(socket) = u32::try_from(*socket) else {
            continue;
        };
        let answer = ask(&kernel, socket, &[number::PEER])?;
        let Some(peer) = find(&answer, number::PEER).and_then(first_number) else {
            continue;
        };
        // The kernel has the name that the server gave, which may be relative or of another mount
        // namespace, and the number of the file; which device it is, some file systems hide.
        let answer = ask(&kernel, peer, &[number::NAME, number::VFS])?;
        let file = find(&answer, number::VFS).and_then(first_number);
        let name = find(&answer, number::NAME).unwrap_or_default();
        let name = name.strip_suffix(b"\0").unwrap_or(name);
        let is_number = file.map(u64::from) == Some(server.ino() & u64::from(u32::MAX));
        if is_number && Path::new(OsStr::from_bytes(name)).file_name() == path.file_name() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What the kernel says of a socket: an error if it is no Unix socket of this namespace.
fn ask(kernel: &OwnedFd, socket: u32, attributes: &[u16]) -> io::Result<Vec<u8>> {
    net::send(kernel, &request(socket, attributes), SendFlags::empty())?;
    let mut answer = vec![0; 8192];
    let (length, _) = net::recv(kernel, &mut answer[..], RecvFlags::empty())?;
    answer.truncate(length);
    Ok(answer)
}

fn request(socket: u32, attributes: &[u16]) -> Vec<u8> {
    const LENGTH: u32 = HEADER as u32 + 24;
    let any = u32::MAX;
    let wanted = attributes.iter().fold(0, |all, one| all | 1 << one);
    let mut message = LENGTH.to_ne_bytes().to_vec();
    message.extend(number::BY_FAMILY.to_ne_bytes());
    message.extend(number::REQUEST.to_ne_bytes());
    message.extend([0; 8]);
    message.extend([number::UNIX, 0, 0, 0]);
    for field in [any, socket, wanted, any, any] {
        message.extend(field.to_ne_bytes());
    }
    message
}

/// An attribute of an answer. None if the answer does not have it.
fn find(answer: &[u8], attribute: u16) -> Option<&[u8]> {
    let half = |bytes: &[u8]| Some(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
    if half(answer.get(4..)?)? != number::BY_FAMILY {
        return None;
    }
    let mut rest = answer.get(HEADER + ANSWER..)?;
    loop {
        let length = usize::from(half(rest)?);
        let value = rest.get(ATTRIBUTE..length)?;
        if half(rest.get(2..)?)? == attribute {
            return Some(value);
        }
        rest = rest.get(length.next_multiple_of(ATTRIBUTE)..)?;
    }
}

fn first_number(value: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(value.get(..4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    #[test]
    fn a_connection_is_found_by_the_file_of_its_peer() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("socket");
        let other = directory.path().join("other");
        let listener = UnixListener::bind(&path).expect("bound");
        let _other = UnixListener::bind(&other).expect("bound");
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&path, &link).expect("linked");
        let sockets = || super::super::sockets(std::process::id()).expect("ours");
        assert!(!is_peer(&sockets(), &path).expect("asked"));
        let _client = UnixStream::connect(&path).expect("listens");
        let _server = listener.accept().expect("a client");
        assert!(is_peer(&sockets(), &path).expect("asked"));
        assert!(is_peer(&sockets(), &link).expect("asked"));
        assert!(!is_peer(&sockets(), &other).expect("asked"));
        assert!(!is_peer(&sockets(), &directory.path().join("none")).expect("asked"));
    }
}
