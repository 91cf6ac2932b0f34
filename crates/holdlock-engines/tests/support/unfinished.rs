//! A network that leaves out the end of an answer, and keeps the connection: the client hears that
//! there is an answer, and waits for the rest of it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use holdlock_engines::{EngineGuard, EngineLock, Error, open};
use holdlock_test_support::between;
use holdlock_test_support::servers::Server;

/// Far longer than a lease or a session may stay, and far shorter than the test program runs.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// A request through a wire on which this step of it never ends gives up, and leaves at most what
/// ends by itself. If it has to wait for the lock, the holder releases it then.
pub(crate) fn is_given_up(
    server: &dyn Server,
    (options, name): (&str, &str),
    (step, end): (&'static str, End),
    holder: Option<EngineGuard>,
) {
    // Its limits are long, so that a slow machine reaches the server.
    let near = open(&server.url(name)).expect("a lock");
    let wire = Unfinished::start(server.port(), step, end);
    let far = wire.lock(server, options, name);
    let error = far.lock().expect_err(step);
    assert!(
        matches!(error, Error::Unreachable { .. }),
        "{step}: {error:?}"
    );
    assert!(wire.requests() > 0, "{step}");
    if let Some(holder) = holder {
        holder.release().expect("ours");
    }
    comes_free(server, &near, name);
}

/// The lock can be acquired, and nothing of it is left.
pub(crate) fn comes_free(server: &dyn Server, near: &EngineLock, name: &str) {
    let next = near.try_lock_for(LONG).expect(name);
    next.release().expect("ours");
    server.nothing_left(name);
}

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
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = requests.clone();
        let port = between(server, move || {
            let wire = Arc::new(Wire {
                request,
                end,
                is_chosen: AtomicBool::new(false),
                requests: counted.clone(),
            });
            let back = wire.clone();
            (
                move |client, server| wire.pass_requests(client, server),
                move |server, client| back.pass_answers(server, client),
            )
        });
        Unfinished { port, requests }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// A lock through the wire.
    pub(crate) fn lock(&self, server: &dyn Server, options: &str, name: &str) -> EngineLock {
        open(&server.url_by(&[self.port], options, name)).expect("a lock")
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
