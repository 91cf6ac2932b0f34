//! A network that counts what clients send, does not let them watch keys, or not hear what a watch
//! says, and repeats messages.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use holdlock_test_support::between;

/// A relay in front of a server. It serves clients until the test program ends.
pub(crate) struct Relay {
    port: u16,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    bytes: AtomicUsize,
    refuses_watches: AtomicBool,
    refuses_renewals: AtomicBool,
    refuses_grants: AtomicBool,
    grants: Mutex<BTreeSet<String>>,
    mutes_watches: AtomicBool,
    watches: AtomicUsize,
    repeats_grant: AtomicBool,
}

/// The answer of etcd to a second message that grants the same lease.
const LEASE_EXISTS: &str = r#"{"error":"etcdserver: lease already exists","message":"etcdserver: lease already exists","code":9}"#;

impl Relay {
    pub(crate) fn start(server: u16) -> Relay {
        let seen = Arc::new(Seen::default());
        let shared = seen.clone();
        let port = between(server, move || {
            let (there, back) = (shared.clone(), shared.clone());
            let is_watch = Arc::new(AtomicBool::new(false));
            let watches = is_watch.clone();
            (
                move |client, server| there.pass_on(client, server, &watches),
                move |server, client| back.pass_back(server, client, &is_watch),
            )
        });
        Relay { port, seen }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// How many bytes the clients have sent so far.
    pub(crate) fn bytes(&self) -> usize {
        self.seen.bytes.load(Ordering::SeqCst)
    }

    /// From now on, ends each connection that asks for a watch.
    pub(crate) fn refuse_watches(&self) {
        self.seen.refuses_watches.store(true, Ordering::SeqCst);
    }

    /// How many watches there were.
    pub(crate) fn watches(&self) -> usize {
        self.seen.watches.load(Ordering::SeqCst)
    }

    /// From now on, nothing is heard of watches, although their connections last.
    pub(crate) fn mute_watches(&self) {
        self.seen.mutes_watches.store(true, Ordering::SeqCst);
    }

    /// Whether each connection ends that asks to renew a lease.
    pub(crate) fn refuse_renewals(&self, refuse: bool) {
        self.seen.refuses_renewals.store(refuse, Ordering::SeqCst);
    }

    /// Whether each connection ends that asks for a lease.
    pub(crate) fn refuse_grants(&self, refuse: bool) {
        self.seen.refuses_grants.store(refuse, Ordering::SeqCst);
    }

    /// For how many leases somebody has asked, each perhaps more than once.
    pub(crate) fn grants(&self) -> usize {
        self.seen.grants.lock().expect("no panic").len()
    }

    /// Answers the next message that grants a lease as if it were a second one, and the lease of
    /// the first one had run out meanwhile: the server does not know it.
    pub(crate) fn repeat_grant(&self) {
        self.seen.repeats_grant.store(true, Ordering::SeqCst);
    }
}

impl Seen {
    fn pass_back(&self, mut server: TcpStream, mut client: TcpStream, is_watch: &AtomicBool) {
        let mut buffer = [0; 16 * 1024];
        while let Ok(length @ 1..) = server.read(&mut buffer) {
            let said = &buffer[..length];
            if is_watch.load(Ordering::SeqCst) {
                if self.mutes_watches.load(Ordering::SeqCst) {
                    continue;
                }
                let created = b"\"created\":true";
                if said.windows(created.len()).any(|part| part == created) {
                    self.watches.fetch_add(1, Ordering::SeqCst);
                }
            }
            if client.write_all(said).is_err() {
                break;
            }
        }
        let _ = client.shutdown(Shutdown::Both);
    }

    fn pass_on(&self, mut client: TcpStream, mut server: TcpStream, watches: &AtomicBool) {
        let mut buffer = [0; 16 * 1024];
        while let Ok(length @ 1..) = client.read(&mut buffer) {
            let sent = &buffer[..length];
            self.bytes.fetch_add(length, Ordering::SeqCst);
            let is_watch = sent.starts_with(b"POST /v3/watch ");
            if is_watch {
                watches.store(true, Ordering::SeqCst);
            }
            if is_watch && self.refuses_watches.load(Ordering::SeqCst) {
                break;
            }
            let is_renewal = sent.starts_with(b"POST /v3/lease/keepalive ");
            if is_renewal && self.refuses_renewals.load(Ordering::SeqCst) {
                break;
            }
            let is_grant = sent.starts_with(b"POST /v3/lease/grant ");
            if is_grant {
                let id = id_in(sent).expect("a lease has an ID");
                self.grants.lock().expect("no panic").insert(id);
            }
            if is_grant && self.refuses_grants.load(Ordering::SeqCst) {
                break;
            }
            if is_grant && self.repeats_grant.swap(false, Ordering::SeqCst) {
                let head = "HTTP/1.1 412 Precondition Failed\r\nContent-Type: application/json";
                let length = LEASE_EXISTS.len();
                let _ = write!(
                    client,
                    "{head}\r\nContent-Length: {length}\r\n\r\n{LEASE_EXISTS}"
                );
                continue;
            }
            if server.write_all(sent).is_err() {
                break;
            }
        }
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
    }
}

/// The number behind `"ID":`.
fn id_in(sent: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(sent);
    let (_, id) = text.split_once("\"ID\":")?;
    Some(id.split(&[',', '}']).next()?.to_owned())
}
