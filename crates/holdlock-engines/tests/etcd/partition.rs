//! Hosts that are cut off from a cluster, and members that are cut off from each other.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::OnceLock;

use holdlock_test_support::network::{Cut, Network};
use holdlock_test_support::{eventually, has, skipped, wait_for, watchdog};

use crate::support::actor::Actor;
use crate::support::partition::{HOSTS, Site};

/// The members of a cluster, on the first hosts of a network.
struct Members {
    network: Network,
    /// Each is killed, and its files are removed, when its pipe ends.
    _pipes: Vec<ChildStdin>,
    number: usize,
}

impl Members {
    /// None, with a line SKIPPED, if this machine cannot do that.
    fn start(number: usize, more_hosts: usize) -> Option<Members> {
        if !has("etcd") || !has("etcdctl") {
            return None;
        }
        let network = Network::new(number + more_hosts)?;
        let peer = |host: usize| format!("http://{}:2380", network.address(host));
        let all: Vec<String> = (0..number)
            .map(|host| format!("m{host}={}", peer(host)))
            .collect();
        let start = |host: usize| {
            let directory = tempfile::Builder::new().prefix("holdlock-etcd-").tempdir();
            let directory: PathBuf = directory.expect("a directory").keep();
            // Not a child of ours: a watchdog kills those.
            let script = "exec 3<&0; (\"$@\" > \"$DIR/log\" 2>&1 & read line <&3; kill -9 $!; \
                          rm -rf \"$DIR\") 2> /dev/null &";
            let mut etcd = Command::new("sh");
            etcd.args(["-c", script, "sh", "etcd", "--name", &format!("m{host}")])
                .arg("--data-dir")
                .arg(directory.join("data"))
                .args(["--listen-client-urls", "http://0.0.0.0:2379"])
                .args([
                    "--advertise-client-urls",
                    &format!("http://{}:2379", network.address(host)),
                ])
                .args(["--listen-peer-urls", "http://0.0.0.0:2380"])
                .args(["--initial-advertise-peer-urls", &peer(host)])
                .args(["--initial-cluster", &all.join(",")])
                .args(["--heartbeat-interval", "50", "--election-timeout", "500"])
                .env("DIR", &directory)
                .process_group(0)
                .stdin(Stdio::piped())
                .stdout(Stdio::null());
            let mut shell = network.on(host, || etcd.spawn().expect("a shell"));
            let pipe = shell.stdin.take().expect("a pipe");
            shell.wait().expect("ended");
            pipe
        };
        let pipes = (0..number).map(start).collect();
        let members = Members {
            network,
            _pipes: pipes,
            number,
        };
        (0..number).for_each(|host| {
            eventually("the member answers", || {
                members.ctl(host, &["get", "x"]).is_some()
            });
        });
        Some(members)
    }

    fn ctl(&self, host: usize, arguments: &[&str]) -> Option<String> {
        let mut etcdctl = Command::new("etcdctl");
        etcdctl
            .env("ETCDCTL_API", "3")
            .args(["--command-timeout", "2s"]);
        etcdctl.args(arguments).stderr(Stdio::null());
        let output = self.network.on(host, || etcdctl.output().expect("starts"));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        output.status.success().then_some(text)
    }

    /// The leader, as this member knows it.
    fn leader(&self, asked: usize) -> Option<usize> {
        let number = |host: usize, field: &str| {
            let status = self.ctl(host, &["endpoint", "status", "-w", "fields"])?;
            let line = status
                .lines()
                .find(|line| line.starts_with(&format!("\"{field}\"")))?;
            line.rsplit(' ').next().map(str::to_owned)
        };
        let leader = number(asked, "Leader").filter(|leader| leader != "0")?;
        (0..self.number).find(|host| number(*host, "MemberID").as_ref() == Some(&leader))
    }

    /// A lock: with the member on this host only, or with all.
    fn site(&self, name: &str) -> Site<'_> {
        let name = crate::support::name(name);
        let hosts: Vec<String> = (0..self.number)
            .map(|host| self.network.address(host))
            .collect();
        Site {
            near: format!("etcd://127.0.0.1/tests?ttl=60#{name}"),
            far: format!("etcd://{}/tests?ttl=6#{name}", hosts.join(",")),
            network: &self.network,
        }
    }
}

/// A member on host 0, and a host for each test.
pub(crate) fn site(name: &str) -> Option<Site<'static>> {
    static PLACE: OnceLock<Option<Members>> = OnceLock::new();
    let made = PLACE.get_or_init(|| Members::start(1, HOSTS - 1));
    if made.is_none() {
        skipped("etcd and etcdctl are not installed, or there are no network namespaces");
    }
    Some(made.as_ref()?.site(name))
}

#[test]
fn a_leader_that_is_cut_off_from_all_takes_no_lock_with_it() {
    let _dog = watchdog::watch(120);
    let Some(members) = Members::start(3, 1) else {
        return;
    };
    let network = &members.network;
    let site = members.site("leader");
    let far = site.far.replace("ttl=6", "ttl=15");
    let leader = wait_for("a leader", || members.leader(0));
    let other = (leader + 1) % 3;
    let mut holder = network.on(3, || Actor::start(&far));
    let mut next = network.on(other, || Actor::start(&site.near));
    assert!(holder.ask("lock").starts_with("held"));
    let end = |actor: &mut Actor| actor.ask("deadline").parse::<u64>().expect("a number");
    assert_eq!(holder.ask("check"), "Ok(())");
    let before = end(&mut holder);
    network.cut(leader, Cut::Both);
    eventually("another one leads", || {
        members.leader(other).is_some_and(|now| now != leader)
    });
    // By now the lease would have ended.
    eventually("it is renewed again and again", || {
        end(&mut holder) > before + 15_000_000_000
    });
    assert_eq!(holder.ask("lost"), "None");
    assert!(next.ask("try").starts_with("WouldBlock"));
    assert_eq!(holder.ask("release"), "released");
    assert!(next.ask("lock").starts_with("held"));
}

#[test]
fn a_holder_that_is_left_with_the_old_leader_stops_before_the_next_one_begins() {
    let _dog = watchdog::watch(120);
    let in_time = || Members::start(3, 0).is_none_or(|members| stops_in_time(&members));
    assert!((0..3).any(|_| in_time()));
}

/// Whether the holder's thread woke at the deadline. On a slow machine it may wake later.
fn stops_in_time(members: &Members) -> bool {
    let network = &members.network;
    let site = members.site("minority");
    let leader = wait_for("a leader", || members.leader(0));
    let other = (leader + 1) % 3;
    let mut holder = network.on(leader, || Actor::start(&site.far));
    let mut next = network.on(other, || Actor::start(&site.far));
    assert!(holder.ask("lock").starts_with("held"));
    assert_eq!(holder.ask("check"), "Ok(())");
    // The old leader goes on answering for a moment, but decides nothing.
    network.cut(leader, Cut::Both);
    next.tell("lock");
    let lost = holder.ask("await-loss");
    let at = |actor: &mut Actor, order: &str| actor.ask(order).parse::<u64>().expect("a number");
    let (lost_at, deadline) = (at(&mut holder, "lost-at"), at(&mut holder, "deadline"));
    let said = next.answer();
    assert!(said.starts_with("held"), "{said}");
    let began = at(&mut next, "held-at");
    assert!(deadline + 300_000_000 < began);
    let in_time = lost_at < deadline + 500_000_000;
    if in_time {
        assert!(lost.starts_with("unsure"), "{lost}");
        assert!(lost_at < began);
    }
    network.cut(leader, Cut::Nothing);
    eventually("it learns it", || holder.ask("check").contains("was lost"));
    assert_eq!(next.ask("check"), "Ok(())");
    in_time
}
