//! Clusters of etcd.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use rustix::process::Signal;

use super::at_end::AtEnd;
use super::process::{Process, kill_all};
use super::{Port, Server, escaped, hosts, tell_log};
use crate::{has, skipped, wait_for};

/// A cluster of one or more members.
#[derive(Debug)]
pub struct Cluster {
    members: Vec<Member>,
    arguments: Vec<String>,
    directory: PathBuf,
    /// Dropped before the ports are given back.
    at_end: Option<AtEnd>,
}

#[derive(Debug)]
struct Member {
    client: Port,
    peer: Port,
    process: Process,
}

/// The cluster of all tests that do not disturb it: one member. None, with a line SKIPPED, if there
/// is no etcd.
pub fn shared() -> Option<&'static Cluster> {
    static SHARED: OnceLock<Option<Cluster>> = OnceLock::new();
    is_there().then(|| SHARED.get_or_init(|| Some(Cluster::start(1, &[]))).as_ref())?
}

/// A cluster of one test, with more arguments for each member.
pub fn own(members: usize, arguments: &[&str]) -> Option<Cluster> {
    is_there().then(|| Cluster::start(members, arguments))
}

fn is_there() -> bool {
    static THERE: OnceLock<bool> = OnceLock::new();
    let is_there = *THERE.get_or_init(|| has("etcd") && has("etcdctl"));
    if !is_there {
        skipped("etcd and etcdctl are not installed");
    }
    is_there
}

impl Cluster {
    fn start(members: usize, arguments: &[&str]) -> Cluster {
        let directory = tempfile::Builder::new().prefix("holdlock-etcd-").tempdir();
        let directory = directory.expect("a directory").keep();
        let end = kill_all(&directory, "*.pid");
        let end = format!("{end}; rm -rf '{}'", directory.display());
        let member = |index| Member {
            client: Port::new(),
            peer: Port::new(),
            process: Process::new(&directory, &format!("m{index}.pid")),
        };
        let cluster = Cluster {
            members: (0..members).map(member).collect(),
            arguments: arguments.iter().map(|&word| word.to_owned()).collect(),
            at_end: Some(AtEnd::run(&end, None)),
            directory,
        };
        (0..members).for_each(|index| cluster.start_member(index));
        cluster.ready();
        cluster
    }

    /// Starts a member, with what it has on its disk.
    pub fn start_member(&self, index: usize) {
        let peer = |index: usize| format!("http://127.0.0.1:{}", self.members[index].peer.number());
        let all: Vec<String> = (0..self.members.len())
            .map(|index| format!("m{index}={}", peer(index)))
            .collect();
        let client = self.members[index].client.number();
        let client = format!("{}://127.0.0.1:{client}", self.scheme());
        let script = "\"$@\" >> \"$LOG\" 2>&1 & echo $! > \"$PID\"";
        let mut etcd = Command::new("sh");
        etcd.args(["-c", script, "sh", "etcd"])
            .args(["--name", &format!("m{index}"), "--data-dir"])
            .arg(self.file(index, "data"))
            .args(["--listen-client-urls", &client])
            .args(["--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer(index)])
            .args(["--initial-advertise-peer-urls", &peer(index)])
            .args(["--initial-cluster", &all.join(",")])
            .args(["--heartbeat-interval", "50", "--election-timeout", "500"])
            .args(&self.arguments)
            .env("LOG", self.file(index, "log"))
            .env("PID", self.file(index, "pid"))
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // Signals of the terminal are for the tests.
        std::os::unix::process::CommandExt::process_group(&mut etcd, 0);
        assert!(etcd.status().expect("a shell").success());
    }

    fn file(&self, index: usize, ending: &str) -> PathBuf {
        self.directory.join(format!("m{index}.{ending}"))
    }

    /// The argument behind this one.
    fn argument(&self, name: &str) -> Option<&String> {
        let position = self
            .arguments
            .iter()
            .position(|argument| argument == name)?;
        self.arguments.get(position + 1)
    }

    fn scheme(&self) -> &'static str {
        match self.argument("--cert-file") {
            Some(_) => "https",
            None => "http",
        }
    }

    /// Sends a signal to a member.
    pub fn signal(&self, index: usize, signal: Signal) {
        self.members[index].process.signal(signal);
    }

    /// Kills a member, and waits until it has ended.
    pub fn kill(&self, index: usize) {
        self.members[index].process.kill();
    }

    /// Waits until each member answers.
    ///
    /// # Panics
    ///
    /// If a member has ended.
    pub fn ready(&self) {
        wait_for("each member answers", || {
            for (index, member) in self.members.iter().enumerate() {
                assert!(member.process.is_running(), "the member {index} has ended");
            }
            let mut etcdctl = self.etcdctl();
            let output = etcdctl.args(["endpoint", "health"]).output();
            output.expect("starts").status.success().then_some(())
        });
    }

    /// Which member leads.
    pub fn leader(&self) -> usize {
        wait_for("a leader", || {
            (0..self.members.len()).find(|&index| self.leads(index))
        })
    }

    fn leads(&self, index: usize) -> bool {
        let endpoint = hosts(&[self.members[index].client.number()]);
        let mut etcdctl = Command::new("etcdctl");
        etcdctl
            .env("ETCDCTL_API", "3")
            .args(["--endpoints", &endpoint]);
        let status = etcdctl.args(["endpoint", "status", "-w", "json"]).output();
        let status = status.expect("starts").stdout;
        let status = String::from_utf8_lossy(&status).into_owned();
        let number = |field: &str| {
            let (_, rest) = status.split_once(&format!("\"{field}\":"))?;
            let digits = rest.split(|c: char| !c.is_ascii_digit()).next();
            digits.map(str::to_owned)
        };
        let leader = number("leader");
        leader.is_some_and(|leader| leader != "0" && Some(leader) == number("member_id"))
    }

    fn etcdctl(&self) -> Command {
        let endpoints = hosts(&self.ports()).replace("127.0.0.1", "localhost");
        let mut etcdctl = Command::new("etcdctl");
        etcdctl.env("ETCDCTL_API", "3").args([
            "--command-timeout",
            "10s",
            "--endpoints",
            &endpoints,
        ]);
        if let Some(certificate) = self.argument("--cert-file") {
            etcdctl.args(["--cacert", certificate]);
        }
        etcdctl
    }

    /// Asks the cluster by etcdctl.
    ///
    /// # Panics
    ///
    /// If it refuses.
    pub fn ctl(&self, arguments: &[&str]) -> String {
        let output = self.etcdctl().args(arguments).output().expect("starts");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// The keys of a lock.
    pub fn keys(&self, name: &str) -> Vec<String> {
        let keys = self.ctl(&["get", "--prefix", "--keys-only", &format!("tests/{name}#")]);
        let keys = keys.lines().filter(|line| !line.is_empty());
        keys.map(str::to_owned).collect()
    }
}

impl Server for Cluster {
    fn engine(&self) -> &'static str {
        "etcd"
    }

    fn ports(&self) -> Vec<u16> {
        let members = self.members.iter();
        members.map(|member| member.client.number()).collect()
    }

    fn url_by(&self, ports: &[u16], options: &str, name: &str) -> String {
        format!("etcd://{}/tests?{options}#{}", hosts(ports), escaped(name))
    }

    fn nothing_left(&self, name: &str) {
        wait_for(&format!("no key of {name} is left"), || {
            self.keys(name).is_empty().then_some(())
        });
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        (0..self.members.len()).for_each(|index| tell_log(&self.file(index, "log")));
        drop(self.at_end.take());
    }
}
