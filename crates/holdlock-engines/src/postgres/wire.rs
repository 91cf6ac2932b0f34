//! What tokio-postgres wants of a stream, and what it does not tell: the session's process number.

use std::future::{Future, Ready, ready};
use std::io;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio_postgres::CancelToken;
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

use crate::stream::{Stream, Wire};
use crate::tls::{Encrypted, Tls};

/// None for a connection that is not encrypted, which never asks for it.
#[derive(Clone)]
pub(super) struct PerhapsTls(pub(super) Option<Tls>);

impl<S: Stream + 'static> TlsConnect<S> for PerhapsTls {
    type Stream = Encrypted<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Stream>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async {
            match self.0 {
                Some(tls) => tls.encrypt(stream).await,
                None => Err(io::Error::other("TLS is switched off")),
            }
        })
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
        ready(Ok(Wire(stream)))
    }
}
