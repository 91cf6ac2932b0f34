//! A network that loses one answer: the server has done what the client asked for.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use holdlock_test_support::between;

/// A relay in front of a server. It serves clients until the test program ends.
pub(crate) struct LostAnswer {
    port: u16,
    armed: Arc<AtomicBool>,
}

impl LostAnswer {
    /// In front of this port of 127.0.0.1. The messages with these bytes are meant.
    pub(crate) fn start(server: u16, meant: &'static str) -> LostAnswer {
        let armed = Arc::new(AtomicBool::new(false));
        let shared = armed.clone();
        let port = between(server, move || {
            let (armed, loses) = (shared.clone(), Arc::new(AtomicBool::new(false)));
            let lost = loses.clone();
            (
                move |client, server| {
                    pass(client, server, |bytes| {
                        let is_meant = |part: &[u8]| part == meant.as_bytes();
                        if bytes.windows(meant.len()).any(is_meant) && armed.swap(false, SeqCst) {
                            loses.store(true, SeqCst);
                        }
                        true
                    });
                },
                move |server, client| pass(server, client, |_| !lost.load(SeqCst)),
            )
        });
        LostAnswer { port, armed }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Ends the connection before the answer to the next message that is meant.
    pub(crate) fn lose_one(&self) {
        self.armed.store(true, SeqCst);
    }

    pub(crate) fn has_lost(&self) -> bool {
        !self.armed.load(SeqCst)
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, passes: impl Fn(&[u8]) -> bool) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if !passes(&buffer[..length]) || to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
