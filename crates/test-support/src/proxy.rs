//! A network that misbehaves: a proxy in front of the server.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use crate::between;

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
    /// Passes them on one by one, the first and the last ones of a message slowly.
    Trickle,
    /// Passes those of the server on a while later.
    Late,
    /// Puts others in the place of the server's.
    Garbage,
    /// Breaks every fourth message of the server: leaves pieces out, repeats them, replaces
    /// numbers.
    Broken,
    /// Ends the connection in the middle of a message of the server.
    Cut,
    /// As `Cut`, once: the next connection is a good one.
    CutOnce,
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
        let fault = Arc::new(AtomicU8::new(Fault::None as u8));
        let shared = fault.clone();
        let port = between(server, move || {
            let (there, back) = (shared.clone(), shared.clone());
            (
                move |from, to| pump(from, to, &there, false),
                move |from, to| pump(from, to, &back, true),
            )
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

fn pump(mut from: TcpStream, mut to: TcpStream, shared: &AtomicU8, of_server: bool) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let bytes = &mut buffer[..length];
        let fault = shared.load(Ordering::SeqCst);
        let is = |wanted: Fault| fault == wanted as u8;
        let passed = if is(Fault::Silence) {
            Ok(())
        } else if is(Fault::Trickle) {
            // A pause for each byte of a long message would be too long on a slow machine.
            let is_slow = |at: usize| at < 64 || at + 16 >= length;
            bytes.iter().enumerate().try_for_each(|(at, byte)| {
                if is_slow(at) {
                    std::thread::sleep(Duration::from_micros(200));
                }
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
        } else if is(Fault::Broken) && of_server {
            to.write_all(&broken(bytes))
        } else if is(Fault::Cut) && of_server {
            let _ = to.write_all(&bytes[..length / 2]);
            break;
        } else if is(Fault::CutOnce) && of_server {
            shared.store(Fault::None as u8, Ordering::SeqCst);
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

/// Never the same twice in a process. The variable HOLDLOCK_BROKEN_SEED has other ones.
fn broken(bytes: &[u8]) -> Vec<u8> {
    static STATE: LazyLock<AtomicU64> = LazyLock::new(|| {
        let seed = std::env::var("HOLDLOCK_BROKEN_SEED").ok();
        AtomicU64::new(seed.map_or(7, |seed| seed.parse().expect("a number")))
    });
    let mut state = STATE.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::SeqCst);
    // The body of an answer of HTTP, so that what is broken is read at all.
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let head = end.map_or(0, |end| end + 4);
    let (head, body) = bytes.split_at(if bytes.starts_with(b"HTTP/") { head } else { 0 });
    let mut body = body.to_vec();
    for _ in 0..3_u64.saturating_sub(random(&mut state) % 12) {
        break_once(&mut body, &mut state);
    }
    let head = String::from_utf8_lossy(head);
    let head = head.split_inclusive("\r\n").map(|line| {
        match line.to_ascii_lowercase().starts_with("content-length:") {
            true => format!("Content-Length: {}\r\n", body.len()),
            false => line.to_owned(),
        }
    });
    let mut bytes = head.collect::<String>().into_bytes();
    bytes.append(&mut body);
    bytes
}

fn break_once(bytes: &mut Vec<u8>, state: &mut u64) {
    const NUMBERS: [&[u8]; 5] = [
        b"0",
        b"-1",
        b"18446744073709551615",
        b"9223372036854775808",
        b"99999999999999999999999999",
    ];
    let mut below = |end: usize| random(state) as usize % end.max(1);
    let begin = below(bytes.len());
    let end = begin + below((bytes.len() - begin).min(40));
    match below(4) {
        0 => bytes.truncate(begin),
        1 => drop(bytes.drain(begin..end)),
        2 => {
            let piece = bytes[begin..end].to_vec();
            drop(bytes.splice(begin..begin, piece));
        }
        _ => {
            let number = NUMBERS[below(NUMBERS.len())];
            let is_digit = |at: &usize| bytes[*at].is_ascii_digit();
            if let Some(first) = (begin..bytes.len()).find(is_digit) {
                let last = (first..bytes.len()).find(|at| !is_digit(at));
                let last = last.unwrap_or(bytes.len());
                drop(bytes.splice(first..last, number.iter().copied()));
            }
        }
    }
}

/// xorshift
fn random(state: &mut u64) -> u64 {
    *state |= 1;
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state >> 11
}
