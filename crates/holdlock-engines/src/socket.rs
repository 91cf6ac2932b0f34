//! A connected socket, of which children of fork keep no copy.
//!
//! It is in the table of `sys::closed_in_child` before it connects: a child that is made meanwhile
//! would keep the session, and its lock, of a parent that is killed.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::addr::SocketAddrArg;
use rustix::net::{
    AddressFamily, SendFlags, Shutdown, SocketAddrUnix, SocketFlags, SocketType, connect, send,
    shutdown, socket_with, sockopt,
};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::sys::closed_in_child::ClosedInChild;

/// For how long another socket is opened while other threads fork. A program in which a fork is
/// under way at every moment would never connect.
const FORKS: Duration = Duration::from_secs(1);
/// So that a fork can end.
const MOMENT: Duration = Duration::from_millis(1);

pub(crate) struct Socket {
    socket: AsyncFd<ClosedInChild>,
}

impl Socket {
    pub(crate) async fn tcp(address: SocketAddr) -> io::Result<Socket> {
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        Socket::connected(family, &address).await
    }

    pub(crate) async fn unix(path: &Path) -> io::Result<Socket> {
        Socket::connected(AddressFamily::UNIX, &SocketAddrUnix::new(path)?).await
    }

    async fn connected(family: AddressFamily, to: &impl SocketAddrArg) -> io::Result<Socket> {
        let socket = opened(family).await?;
        match connect(&socket, to) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let socket = Socket {
            socket: socket.watch()?,
        };
        // The first event says that the connection was made, or was not.
        let _ = socket.socket.writable().await?;
        sockopt::socket_error(&socket)??;
        Ok(socket)
    }

    /// Our own port, if it is TCP.
    pub(crate) fn local_port(&self) -> Option<u16> {
        let address = rustix::net::getsockname(self).ok()?;
        Some(SocketAddr::try_from(address).ok()?.port())
    }

    /// When the socket is closed, the kernel forgets what it has not delivered, and tells the other
    /// side so.
    pub(crate) fn forget_at_close(&self) {
        let _ = sockopt::set_socket_linger(self, Some(Duration::ZERO));
    }
}

/// A socket that each child knows.
async fn opened(family: AddressFamily) -> io::Result<ClosedInChild> {
    let began = Instant::now();
    loop {
        let (socket, is_known) = ClosedInChild::open(|| {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            Ok(socket_with(family, SocketType::STREAM, flags, None)?)
        })?;
        if is_known || began.elapsed() > FORKS {
            return Ok(socket);
        }
        drop(socket);
        tokio::time::sleep(MOMENT).await;
    }
}

/// The program may have closed the socket, and another one may have its number.
fn still_ours(socket: &AsyncFd<ClosedInChild>) -> io::Result<()> {
    match socket.get_ref().is_ours() {
        true => Ok(()),
        false => Err(io::Error::other("the program has closed the connection")),
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.get_ref().as_fd()
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.socket.poll_read_ready(context))?;
            let free = buffer.initialize_unfilled();
            let read = |socket: &AsyncFd<ClosedInChild>| {
                still_ours(socket)?;
                Ok(rustix::io::read(socket, free)?)
            };
            if let Ok(result) = ready.try_io(read) {
                return Poll::Ready(result.map(|length| buffer.advance(length)));
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.socket.poll_write_ready(context))?;
            let flags = SendFlags::NOSIGNAL;
            let write = |socket: &AsyncFd<ClosedInChild>| {
                still_ours(socket)?;
                Ok(send(socket, bytes, flags)?)
            };
            if let Ok(result) = ready.try_io(write) {
                return Poll::Ready(result);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match shutdown(&self.socket, Shutdown::Write) {
            // The other side has closed it already.
            Ok(()) | Err(Errno::NOTCONN) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }
}
