//! Servers of PostgreSQL, etcd and Redis for tests and measurements.
//!
//! A server listens at a [`Port`] of its own, and has its files in a directory of its own. It is
//! ready when it has answered. When it is dropped, or the program ends however it ends, a shell
//! stops it and removes its files.

mod at_end;
mod certificate;
pub mod etcd;
mod port;
pub mod postgres;
mod process;
pub mod redis;

pub use certificate::certificate;
pub use port::Port;

use std::path::Path;

/// What the tests of all engines need of a server.
///
/// The engine frees the lock of a holder of which it hears nothing for a time. [`url`](Server::url)
/// is for tests in which that must not happen on a slow machine, [`brief`](Server::brief) for tests
/// that wait for it.
pub trait Server: Sync {
    /// The engine, as the command shows it.
    fn engine(&self) -> &'static str;

    /// The ports at which it listens.
    fn ports(&self) -> Vec<u16>;

    /// The URL of a lock through these ports, with these options: `ttl=3&slots=2`.
    fn url_by(&self, ports: &[u16], options: &str, name: &str) -> String;

    /// Waits until nothing of this lock is left in the engine.
    fn nothing_left(&self, name: &str);

    /// The options of [`url`](Server::url).
    fn patient(&self) -> &'static str {
        "ttl=60"
    }

    /// The first port.
    fn port(&self) -> u16 {
        self.ports()[0]
    }

    /// The URL of a lock with these options.
    fn with(&self, options: &str, name: &str) -> String {
        self.url_by(&self.ports(), options, name)
    }

    /// The URL of a lock that is kept for a minute if the engine hears nothing of its holder; ten
    /// seconds in PostgreSQL, which hears of the end of a process.
    fn url(&self, name: &str) -> String {
        self.with(self.patient(), name)
    }

    /// The URL of a lock that is kept for six seconds if the engine hears nothing of its holder. A
    /// slow machine has pauses for which the shortest time, three seconds, would be too short.
    fn brief(&self, name: &str) -> String {
        self.with("ttl=6", name)
    }

    /// As [`url`](Server::url), through another port.
    fn url_at(&self, port: u16, name: &str) -> String {
        self.url_by(&[port], self.patient(), name)
    }

    /// As [`brief`](Server::brief), through another port.
    fn brief_at(&self, port: u16, name: &str) -> String {
        self.url_by(&[port], "ttl=6", name)
    }
}

/// The part of a URL between the scheme and the path.
fn hosts(ports: &[u16]) -> String {
    let hosts: Vec<String> = ports
        .iter()
        .map(|port| format!("127.0.0.1:{port}"))
        .collect();
    hosts.join(",")
}

/// A name of a lock as a URL has it.
fn escaped(name: &str) -> String {
    name.replace('%', "%25").replace('#', "%23")
}

/// Says what a server has written last, if a test fails.
fn tell_log(log: &Path) {
    if std::thread::panicking() {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = lines[lines.len().saturating_sub(15)..].join("\n");
        eprintln!("the end of {}:\n{last}", log.display());
    }
}
