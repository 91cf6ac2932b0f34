//! The stream beneath a connection to an engine: TCP with limits for silence, or a Unix socket.
//! TLS comes above it (`tls.rs`).

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

use crate::socket::Socket;
use crate::sys::event::Event;
use crate::sys::thread;
use crate::url::Host;

/// A stream of whatever kind.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A stream above a socket, such as TLS: a type of ours, for the traits of others.
pub(crate) struct Wire<S>(pub(crate) S);

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// Where a server listens.
#[derive(Clone, Debug)]
pub(crate) enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// The addresses of a host. The error says why there is none. A thread of its own asks the name
/// service, which may block.
pub(crate) async fn addresses(
    host: &str,
    port: u16,
    limit: Duration,
) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let (tell, told) = oneshot::channel();
    let host = host.to_owned();
    thread::start(c"holdlock-names", move || {
        let found = (host.as_str(), port).to_socket_addrs();
        let _ = tell.send(found.map(Vec::from_iter));
    })?;
    match tokio::time::timeout(limit, told).await {
        Ok(Ok(Ok(found))) => Ok(found),
        // The name service does not tell that it could open no file.
        Ok(Ok(Err(error))) => Err(Event::new().err().unwrap_or(error)),
        Ok(Err(_)) | Err(_) => Err(io::Error::other("no answer from the name service")),
    }
}

/// The addresses of all hosts that have some. A host that is a directory has the socket there.
pub(crate) async fn all_addresses(
    hosts: &[Host],
    limit: Duration,
    socket: impl Fn(&Host) -> PathBuf,
) -> Vec<Address> {
    let mut all = Vec::new();
    for host in hosts {
        match host.is_directory() {
            true => all.push(Address::Unix(socket(host))),
            false => {
                let found = addresses(&host.name, host.port.unwrap_or_default(), limit).await;
                all.extend(found.into_iter().flatten().map(Address::Tcp));
            }
        }
    }
    all
}

/// Connects by TCP. The connection ends when the other side is silent for `silence`.
pub(crate) async fn tcp(address: SocketAddr, silence: Duration) -> io::Result<Socket> {
    let socket = Socket::tcp(address).await?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    let limits = Limits::of(silence);
    sockopt::set_socket_keepalive(&socket, true)?;
    sockopt::set_tcp_keepidle(&socket, limits.idle)?;
    sockopt::set_tcp_keepintvl(&socket, limits.interval)?;
    sockopt::set_tcp_keepcnt(&socket, Limits::COUNT)?;
    let millis = silence.as_millis().try_into().unwrap_or(u32::MAX);
    sockopt::set_tcp_user_timeout(&socket, millis)?;
    Ok(socket)
}

/// Connects to a Unix socket.
pub(crate) async fn unix(path: &Path) -> io::Result<Socket> {
    Socket::unix(path).await
}

/// When TCP asks whether the other side is there. tcp_user_timeout has to be set as well: without
/// it, a server that has sent an answer to a dead client was seen to wait for more than 40 s.
pub(crate) struct Limits {
    pub(crate) idle: Duration,
    pub(crate) interval: Duration,
}

impl Limits {
    pub(crate) const COUNT: u32 = 3;

    /// Whole seconds: 5 and 2 for 10.
    pub(crate) fn of(silence: Duration) -> Limits {
        let part = |part: u64| Duration::from_secs((silence.as_secs() / part).max(1));
        Limits {
            idle: part(2),
            interval: part(5),
        }
    }
}
