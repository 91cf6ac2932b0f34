//! The stream beneath a connection, and what a client can learn from it.

use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio_postgres::CancelToken;
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

use crate::sys::fork::ClosedInChild;

/// A stream of whatever kind.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A stream of a connection: a socket, which children of fork do not keep, or TLS above it.
pub(super) struct Wire<S> {
    /// Dropped before the socket is closed.
    _in_child: Option<ClosedInChild>,
    stream: S,
}

impl<S> Wire<S> {
    pub(super) fn new(stream: S, in_child: Option<ClosedInChild>) -> Wire<S> {
        Wire {
            _in_child: in_child,
            stream,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Wire<S> {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

/// The process number that the server told this client at its login (BackendKeyData).
///
/// The client keeps it to itself, but writes it into a cancel request: this one goes to a stream in
/// memory. A pooler tells another number than `pg_backend_pid()` of the server behind it.
pub(super) async fn backend_pid(token: &CancelToken) -> Option<i32> {
    const REQUEST: usize = 16;
    let (ours, mut theirs) = tokio::io::duplex(64);
    // If the client asks for TLS first, it hears yes, and gets `Plain`.
    theirs.write_all(b"S").await.ok()?;
    token.cancel_query_raw(ours, Plain).await.ok()?;
    let mut sent = Vec::new();
    theirs.read_to_end(&mut sent).await.ok()?;
    let request = sent.len().checked_sub(REQUEST)?;
    let pid = sent.get(request + 8..request + 12)?;
    Some(i32::from_be_bytes(pid.try_into().ok()?))
}

/// "TLS" that leaves the stream as it is.
struct Plain;

impl TlsConnect<DuplexStream> for Plain {
    type Stream = Wire<DuplexStream>;
    type Error = io::Error;
    type Future = Ready<io::Result<Wire<DuplexStream>>>;

    fn connect(self, stream: DuplexStream) -> Self::Future {
        ready(Ok(Wire::new(stream, None)))
    }
}
