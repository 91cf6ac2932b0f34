//! The servers, which the tests of the engines start in the same way.

use holdlock_test_support::servers::{Server as _, etcd, postgres, redis};

use crate::report::Report;

/// The servers that this machine has.
pub(super) struct Servers {
    pub(super) etcd: Option<etcd::Cluster>,
    pub(super) postgres: Option<postgres::Server>,
    pub(super) redis: Option<redis::Server>,
}

impl Servers {
    /// Notes what is missing.
    pub(super) fn start(report: &mut Report) -> Servers {
        let servers = Servers {
            etcd: etcd::own(1, &[]),
            postgres: postgres::own(""),
            redis: redis::own(&[]),
        };
        for (name, is_there) in [
            ("etcd", servers.etcd.is_some()),
            ("PostgreSQL", servers.postgres.is_some()),
            ("Redis", servers.redis.is_some()),
        ] {
            if !is_there {
                report.note(format!("skipped: {name} is not installed"));
            }
        }
        servers
    }

    /// The URL of a lock on each server, with the server's name.
    pub(super) fn urls(&self, lock: &str) -> Vec<(&'static str, String)> {
        let postgres = self.postgres.as_ref();
        let etcd = self.etcd.as_ref();
        let redis = self.redis.as_ref();
        let urls = [
            ("PostgreSQL", postgres.map(|server| server.url(lock))),
            ("etcd", etcd.map(|cluster| cluster.url(lock))),
            ("Redis", redis.map(|server| server.url(lock))),
        ];
        let there = urls
            .into_iter()
            .filter_map(|(name, url)| Some((name, url?)));
        there.collect()
    }
}
