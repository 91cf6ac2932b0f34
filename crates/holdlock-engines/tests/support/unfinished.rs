//! A network that leaves out the end of an answer, and keeps the connection: the client hears that
//! there is an answer, and waits for the rest of it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The end of an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    /// How many bytes of each answer are left out.
    pub(crate) length: usize,
    /// What comes in their place.
    pub(crate) instead: &'static [u8],
}

/// A proxy in front of a server. It serves clients until the test program ends.
pub(crate) struct Unfinished {
    port: u16,
    requests: Arc<AtomicUsize>,
}

struct Wire {
    request: &'static str,
    end: End,
    /// The client has sent the request last.
    is_chosen: AtomicBool,
    requests: Arc<AtomicUsize>,
}

impl Unfinished {
    /// Leaves out the end of each answer to a request that contains this text.
    pub(crate) fn start(server: u16, request: &'static str, end: End) -> Unfinished {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = requests.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(("127.0.0.1", server)).expect("listens");
                let back = (
                    server.try_clone().expect("a copy"),
                    client.try_clone().expect("a copy"),
                );
                let wire = Arc::new(Wire {
                    request,
                    end,
                    is_chosen: AtomicBool::new(false),
                    requests: counted.clone(),
                });
                let there = wire.clone();
                std::thread::spawn(move || there.pass_requests(client, server));
                std::thread::spawn(move || wire.pass_answers(back.0, back.1));
            }
        });
        Unfinished { port, requests }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// How many requests with the text there were.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Wire {
    fn pass_requests(&self, mut client: TcpStream, mut server: TcpStream) {
        let mut buffer = [0; 16 * 1024];
        while let Ok(length @ 1..) = client.read(&mut buffer) {
            let (sent, text) = (&buffer[..length], self.request.as_bytes());
            let is_chosen = sent.windows(text.len()).any(|part| part == text);
            self.is_chosen.store(is_chosen, Ordering::SeqCst);
            if is_chosen {
                self.requests.fetch_add(1, Ordering::SeqCst);
            }
            if server.write_all(sent).is_err() {
                break;
            }
        }
        let _ = server.shutdown(Shutdown::Both);
    }

    fn pass_answers(&self, mut server: TcpStream, mut client: TcpStream) {
        let mut buffer = [0; 16 * 1024];
        let mut kept = Vec::new();
        while let Ok(length @ 1..) = server.read(&mut buffer) {
            if !self.is_chosen.load(Ordering::SeqCst) {
                kept.clear();
                let _ = client.write_all(&buffer[..length]);
                continue;
            }
            // What was kept is not the end.
            kept.extend_from_slice(&buffer[..length]);
            let end = kept.len().saturating_sub(self.end.length);
            let _ = client.write_all(&kept[..end]);
            let _ = client.write_all(self.end.instead);
            kept.drain(..end);
        }
        let _ = client.shutdown(Shutdown::Both);
    }
}
