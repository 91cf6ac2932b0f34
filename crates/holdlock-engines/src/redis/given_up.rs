//! A connection that may be given up: then the kernel delivers nothing later of what it was given.
//!
//! A step whose packet was lost would acquire the lock for nobody when the kernel sends it again,
//! after the request has left over another connection.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::socket::Socket;

/// Whether the connection is given up.
#[derive(Clone, Default)]
pub(super) struct GivenUp(Arc<AtomicBool>);

impl GivenUp {
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The stream of the connection.
pub(super) struct Forgetful {
    stream: Socket,
    given_up: GivenUp,
}

impl Forgetful {
    pub(super) fn new(stream: Socket, given_up: GivenUp) -> Forgetful {
        Forgetful { stream, given_up }
    }
}

impl Drop for Forgetful {
    fn drop(&mut self) {
        if self.given_up.0.load(Ordering::Relaxed) {
            self.stream.forget_at_close();
        }
    }
}

impl AsyncRead for Forgetful {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Forgetful {
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
