//! Clusters of etcd on ports of their own, which end with the test program.

use std::io::Read;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use holdlock_test_support::{has, skipped, wait_for};
use rustix::process::{Pid, Signal, kill_process};

/// A cluster. When it is dropped, or the test program ends however it ends, a shell kills its
/// members and removes its files.
pub(crate) struct Cluster {
    directory: PathBuf,
    members: Vec<Member>,
    arguments: Vec<String>,
    /// The shell reads from a pipe until its end.
    cleaner: Option<ChildStdin>,
    /// It ends when the shell has ended.
    cleaned: ChildStdout,
}

#[derive(Clone, Copy)]
struct Member {
    client: u16,
    peer: u16,
}

/// The cluster of all tests that do not disturb it: one member. None, with a line SKIPPED, if there
/// is no etcd.
pub(crate) fn shared() -> Option<&'static Cluster> {
    static SHARED: OnceLock<Option<Cluster>> = OnceLock::new();
    let cluster = SHARED.get_or_init(|| is_there().then(|| Cluster::start(1, &[])));
    if cluster.is_none() {
        skipped("etcd and etcdctl are not installed");
    }
    cluster.as_ref()
}

/// A cluster of one test.
pub(crate) fn own(members: usize, arguments: &[&str]) -> Option<Cluster> {
    match is_there() {
        true => Some(Cluster::start(members, arguments)),
        false => {
            skipped("etcd and etcdctl are not installed");
            None
        }
    }
}

fn is_there() -> bool {
    has("etcd") && has("etcdctl")
}

/// A port at which nothing listens.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// A certificate for `localhost`, which is its own authority, and its key.
pub(crate) fn certificate(directory: &Path) -> Option<(PathBuf, PathBuf)> {
    let (certificate, key) = (directory.join("cert.pem"), directory.join("key.pem"));
    let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];
    let names = ["subjectAltName=DNS:localhost", "basicConstraints=CA:FALSE"];
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-nodes",
            "-days",
            "30",
            "-subj",
            "/CN=localhost",
        ])
        .args(curve)
        .args(names.iter().flat_map(|name| ["-addext", name]))
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .stderr(Stdio::null())
        .status();
    made.is_ok_and(|status| status.success())
        .then_some((certificate, key))
}

impl Cluster {
    fn start(members: usize, arguments: &[&str]) -> Cluster {
        let directory = tempfile::Builder::new().prefix("holdlock-etcd-").tempdir();
        let directory = directory.expect("a directory").keep();
        // Not children of ours: a watchdog kills those.
        let script = format!(
            "exec 3<&0; (cat <&3; kill -9 $(cat '{0}'/*.pid); rm -rf '{0}') 2> /dev/null &",
            directory.display()
        );
        let mut cleaner = Command::new("sh")
            .args(["-c", &script])
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let (to, from) = (cleaner.stdin.take(), cleaner.stdout.take());
        cleaner.wait().expect("ended");
        let member = |_| Member {
            client: free_port(),
            peer: free_port(),
        };
        let cluster = Cluster {
            directory,
            members: (0..members).map(member).collect(),
            arguments: arguments
                .iter()
                .map(|&argument| argument.to_owned())
                .collect(),
            cleaner: to,
            cleaned: from.expect("a pipe"),
        };
        (0..members).for_each(|index| cluster.start_member(index));
        cluster.ready();
        cluster
    }

    /// Starts a member, with what it has on its disk.
    pub(crate) fn start_member(&self, index: usize) {
        let peer = |index: usize| format!("http://127.0.0.1:{}", self.members[index].peer);
        let all: Vec<String> = (0..self.members.len())
            .map(|index| format!("m{index}={}", peer(index)))
            .collect();
        let scheme = self.scheme();
        let client = format!("{scheme}://127.0.0.1:{}", self.members[index].client);
        let place = |what: &str| self.directory.join(format!("m{index}.{what}"));
        let mut etcd = Command::new("sh");
        let script = "\"$@\" > \"$LOG\" 2>&1 & echo $! > \"$PID\"";
        etcd.args(["-c", script, "sh", "etcd"])
            .args(["--name", &format!("m{index}"), "--data-dir"])
            .arg(place("data"))
            .args(["--listen-client-urls", &client])
            .args(["--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer(index)])
            .args(["--initial-advertise-peer-urls", &peer(index)])
            .args(["--initial-cluster", &all.join(",")])
            .args(["--heartbeat-interval", "50", "--election-timeout", "500"])
            .args(&self.arguments)
            .env("LOG", place("log"))
            .env("PID", place("pid"))
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        assert!(etcd.status().expect("a shell").success());
    }

    fn scheme(&self) -> &'static str {
        match self
            .arguments
            .iter()
            .any(|argument| argument == "--cert-file")
        {
            true => "https",
            false => "http",
        }
    }

    fn pid(&self, index: usize) -> Pid {
        let file = self.directory.join(format!("m{index}.pid"));
        let pid = std::fs::read_to_string(file).expect("a number");
        let pid = pid.trim().parse().ok().and_then(Pid::from_raw);
        pid.expect("a number")
    }

    pub(crate) fn signal(&self, index: usize, signal: Signal) {
        let _ = kill_process(self.pid(index), signal);
    }

    /// Kills a member, and waits until its ports are free.
    pub(crate) fn kill(&self, index: usize) {
        self.signal(index, Signal::KILL);
        wait_for("the member has ended", || {
            let port = self.members[index].client;
            TcpListener::bind(("127.0.0.1", port)).is_ok().then_some(())
        });
    }

    /// Waits until a member answers.
    pub(crate) fn ready(&self) {
        wait_for("the cluster answers", || {
            let status = self.etcdctl().args(["get", "nothing"]).output();
            status
                .is_ok_and(|output| output.status.success())
                .then_some(())
        });
    }

    /// Which member leads.
    pub(crate) fn leader(&self) -> usize {
        wait_for("a leader", || {
            (0..self.members.len()).find(|&index| {
                let endpoint = format!("127.0.0.1:{}", self.members[index].client);
                let mut etcdctl = Command::new("etcdctl");
                etcdctl
                    .env("ETCDCTL_API", "3")
                    .args(["--endpoints", &endpoint]);
                let status = etcdctl.args(["endpoint", "status", "-w", "json"]).output();
                let status = status.expect("starts").stdout;
                let status = String::from_utf8_lossy(&status).into_owned();
                let number = |field: &str| {
                    let (_, rest) = status.split_once(&format!("\"{field}\":"))?;
                    rest.split(|c: char| !c.is_ascii_digit())
                        .next()
                        .map(str::to_owned)
                };
                number("leader")
                    .is_some_and(|leader| leader != "0" && Some(leader) == number("member_id"))
            })
        })
    }

    /// Of the first member.
    pub(crate) fn port(&self) -> u16 {
        self.members[0].client
    }

    /// The URL of a lock, with all members and a short time limit.
    pub(crate) fn url(&self, name: &str) -> String {
        let ports: Vec<u16> = self.members.iter().map(|member| member.client).collect();
        self.url_by(&ports, name)
    }

    /// The same through another port.
    pub(crate) fn url_at(&self, port: u16, name: &str) -> String {
        self.url_by(&[port], name)
    }

    pub(crate) fn url_by(&self, ports: &[u16], name: &str) -> String {
        let hosts: Vec<String> = ports
            .iter()
            .map(|port| format!("127.0.0.1:{port}"))
            .collect();
        let name = name.replace('%', "%25").replace('#', "%23");
        format!("etcd://{}/tests?ttl=3#{name}", hosts.join(","))
    }

    fn etcdctl(&self) -> Command {
        let hosts = self.members.iter();
        let hosts: Vec<String> = hosts
            .map(|member| format!("localhost:{}", member.client))
            .collect();
        let mut etcdctl = Command::new("etcdctl");
        etcdctl
            .env("ETCDCTL_API", "3")
            .args(["--endpoints", &hosts.join(",")]);
        etcdctl.args(["--command-timeout", "2s"]);
        let position = self
            .arguments
            .iter()
            .position(|argument| argument == "--cert-file");
        if let Some(position) = position {
            etcdctl.args(["--cacert", &self.arguments[position + 1]]);
        }
        etcdctl
    }

    /// Asks the cluster by etcdctl, as root once there are users.
    pub(crate) fn ctl(&self, arguments: &[&str]) -> String {
        let output = self.etcdctl().args(arguments).output().expect("starts");
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// The keys of a lock.
    pub(crate) fn keys(&self, name: &str) -> Vec<String> {
        let keys = self.ctl(&["get", "--prefix", "--keys-only", &format!("tests/{name}#")]);
        let keys = keys.lines().filter(|line| !line.is_empty());
        keys.map(str::to_owned).collect()
    }

    /// Waits until no key of this lock is left.
    pub(crate) fn nothing_left(&self, name: &str) {
        wait_for(&format!("no key of {name} is left"), || {
            self.keys(name).is_empty().then_some(())
        });
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.cleaner.take());
        let _ = self.cleaned.read_to_end(&mut Vec::new());
    }
}
