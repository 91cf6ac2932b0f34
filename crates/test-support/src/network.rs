//! Hosts of their own, in network namespaces, and a router between them that drops packets without
//! a word.

use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::{has, skipped};

/// A network of hosts. A route leads from each to each, by way of the router.
#[derive(Debug)]
pub struct Network {
    router: Namespace,
    hosts: Vec<Namespace>,
}

/// What the router drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Passes all on.
    Nothing,
    /// What the host sends.
    Sent,
    /// What is sent to the host.
    Received,
    /// Both.
    Both,
}

impl Network {
    /// None, with a line SKIPPED, if this machine does not let us make one.
    pub fn new(hosts: usize) -> Option<Network> {
        if !rustix::process::geteuid().is_root() {
            skipped("only root can make network namespaces");
            return None;
        }
        if !has("unshare") || !has("ip") {
            return None;
        }
        let Some(network) = Network::made(hosts) else {
            skipped("this machine has no network namespaces, or no veth");
            return None;
        };
        Some(network)
    }

    fn made(hosts: usize) -> Option<Network> {
        let router = Namespace::new()?;
        let hosts: Option<Vec<Namespace>> = (0..hosts).map(|_| Namespace::new()).collect();
        let network = Network {
            router,
            hosts: hosts?,
        };
        network.router.set("ip_forward", true);
        for (index, host) in network.hosts.iter().enumerate() {
            let (link, pid) = (link(index), host.keeper.id());
            let made = network.router.ip(&format!(
                "link add name {link} type veth peer name eth0 netns {pid}"
            ));
            if !made {
                return None;
            }
            let (near, far) = (address(index, 1), address(index, 2));
            let router = &network.router;
            assert!(router.ip(&format!("address add {near}/24 dev {link}")));
            assert!(router.ip(&format!("link set {link} up")));
            assert!(host.ip(&format!("address add {far}/24 dev eth0")));
            assert!(host.ip("link set eth0 up"));
            assert!(host.ip(&format!("route add default via {near}")));
        }
        Some(network)
    }

    /// Runs `body` on a host: what it starts, and the connections that it makes, are there.
    pub fn on<T: Send>(&self, host: usize, body: impl FnOnce() -> T + Send) -> T {
        self.hosts[host].inside(body)
    }

    /// The address of a host.
    pub fn address(&self, host: usize) -> String {
        address(host, 2)
    }

    /// From now on, the router drops these packets, and no others of this host. No side is told.
    pub fn cut(&self, host: usize, cut: Cut) {
        let forwards = matches!(cut, Cut::Nothing | Cut::Received);
        self.router
            .set(&format!("conf/{}/forwarding", link(host)), forwards);
        let route = format!("blackhole {}/32", address(host, 2));
        match matches!(cut, Cut::Received | Cut::Both) {
            true => assert!(self.router.ip(&format!("route replace {route}"))),
            false => drop(self.router.ip(&format!("route delete {route}"))),
        }
    }
}

fn address(host: usize, last: u8) -> String {
    format!("10.213.{host}.{last}")
}

fn link(host: usize) -> String {
    format!("host{host}")
}

/// A network namespace. It ends with the test program, however that ends.
#[derive(Debug)]
struct Namespace {
    /// Reads from a pipe until its end.
    keeper: Child,
}

impl Namespace {
    fn new() -> Option<Namespace> {
        let script = "ip link set lo up && echo made && exec cat";
        let keeper = Command::new("unshare")
            .args(["--net", "sh", "-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut namespace = Namespace {
            keeper: keeper.ok()?,
        };
        let mut line = String::new();
        let stdout = namespace.keeper.stdout.take()?;
        BufReader::new(stdout).read_line(&mut line).ok()?;
        (line == "made\n").then_some(namespace)
    }

    fn inside<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        let name = std::thread::current().name().unwrap_or("?").to_owned();
        let file = std::fs::File::open(format!("/proc/{}/ns/net", self.keeper.id()));
        let file = file.expect("the keeper lives");
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name(name);
            let thread = thread.spawn_scoped(scope, || {
                let network = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(file.as_fd(), network).expect("works for root");
                body()
            });
            thread.expect("a thread").join().expect("no panic")
        })
    }

    /// Calls ip(8): whether it succeeds.
    fn ip(&self, arguments: &str) -> bool {
        self.inside(|| {
            let mut ip = Command::new("ip");
            let quiet = ip.args(arguments.split(' ')).stderr(Stdio::null());
            quiet.status().expect("starts").success()
        })
    }

    /// Sets one of /proc/sys/net/ipv4.
    fn set(&self, name: &str, on: bool) {
        let value = if on { "1" } else { "0" };
        let path = format!("/proc/sys/net/ipv4/{name}");
        self.inside(|| std::fs::write(path, value).expect("works for root"));
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}
