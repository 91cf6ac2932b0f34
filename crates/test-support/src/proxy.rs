//! A network that misbehaves: a proxy in front of the server.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

/// How much later [`Fault::Late`] passes bytes on.
pub const LATE: Duration = Duration::from_millis(300);

/// What the proxy does with the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Fault {
    /// Passes them on.
    None,
    /// Swallows those of both directions.
    Silence,
    /// Passes them on one by one.
    Trickle,
    /// Passes those of the server on a while later.
    Late,
    /// Puts others in the place of the server's.
    Garbage,
    /// Ends the connection in the middle of a message of the server.
    Cut,
    /// Tells the client another process number, as a pooler does.
    Pooler,
}

/// A proxy at a port of its own. It runs as long as the program.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    fault: Arc<AtomicU8>,
}

impl Proxy {
    /// A proxy that passes on what it gets, in front of this port of 127.0.0.1.
    pub fn start(server: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let fault = Arc::new(AtomicU8::new(Fault::None as u8));
        let shared = fault.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else {
                    continue;
                };
                let back = (server.try_clone(), client.try_clone());
                let (fault, other) = (shared.clone(), shared.clone());
                std::thread::spawn(move || pump(client, server, &fault, false));
                if let (Ok(server), Ok(client)) = back {
                    std::thread::spawn(move || pump(server, client, &other, true));
                }
            }
        });
        Proxy { port, fault }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What becomes of bytes from now on, also of connections that there are already.
    pub fn fault(&self, fault: Fault) {
        self.fault.store(fault as u8, Ordering::SeqCst);
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, fault: &AtomicU8, of_server: bool) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let bytes = &mut buffer[..length];
        let fault = fault.load(Ordering::SeqCst);
        let is = |wanted: Fault| fault == wanted as u8;
        let passed = if is(Fault::Silence) {
            Ok(())
        } else if is(Fault::Trickle) {
            bytes.iter().try_for_each(|byte| {
                std::thread::sleep(Duration::from_micros(200));
                to.write_all(std::slice::from_ref(byte))
            })
        } else if is(Fault::Late) && of_server {
            std::thread::sleep(LATE);
            to.write_all(bytes)
        } else if is(Fault::Garbage) && of_server {
            bytes
                .iter_mut()
                .enumerate()
                .for_each(|(at, byte)| *byte = byte.wrapping_mul(31) ^ at as u8);
            to.write_all(bytes)
        } else if is(Fault::Cut) && of_server {
            let _ = to.write_all(&bytes[..length / 2]);
            break;
        } else if is(Fault::Pooler) && of_server {
            // BackendKeyData: K, a length of 12, the number, the secret.
            let head = [b'K', 0, 0, 0, 12];
            if let Some(at) = bytes.windows(5).position(|window| window == head) {
                bytes[at + 7] ^= 0x55;
            }
            to.write_all(bytes)
        } else {
            to.write_all(bytes)
        };
        if passed.is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
