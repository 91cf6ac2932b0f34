//! A process that an engine's record names although it does not hold the lock.

use std::fs;
use std::process::{Child, Command};

use holdlock_test_support::servers::redis;

/// A process that is no client of any server.
pub(crate) struct Bystander(pub(crate) Child);

impl Bystander {
    pub(crate) fn start() -> Bystander {
        Bystander(Command::new("sleep").arg("100").spawn().expect("starts"))
    }

    /// What it would write itself if it held the lock.
    pub(crate) fn record(&self) -> String {
        let pid = self.0.id();
        let read = |path: &str| fs::read_to_string(path).expect("a file of /proc");
        let boot = read("/proc/sys/kernel/random/boot_id");
        let boot = boot.split('-').next().expect("a number");
        let namespace = fs::read_link(format!("/proc/{pid}/ns/pid")).expect("a link");
        let namespace = namespace.to_string_lossy().into_owned();
        let namespace: String = namespace.chars().filter(char::is_ascii_digit).collect();
        let stat = read(&format!("/proc/{pid}/stat"));
        let start = stat.split_whitespace().nth(21).expect("22 fields");
        format!("{{\"v\":1,\"pid\":{pid},\"id\":\"{boot}-{namespace}-{start}\"}}")
    }

    /// Writes into Redis that it holds the lock. A true holder would correct its record.
    pub(crate) fn is_said_to_hold(&self, server: &redis::Server, name: &str) {
        for (command, part, words) in [
            ("HSET", "records", ["xforged", &self.record()]),
            ("ZADD", "until", ["9999999999999", "xforged"]),
            ("ZADD", "holders", ["1", "xforged"]),
        ] {
            server.cli(&[&[command, &server.key(name, part)], &words[..]].concat());
        }
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
