//! Servers of Redis or Valkey.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use rustix::process::Signal;

use super::at_end::AtEnd;
use super::process::{Process, kill_all};
use super::{Port, escaped, hosts, tell_log};
use crate::{has, skipped, wait_for};

/// A server.
#[derive(Debug)]
pub struct Server {
    port: Port,
    /// The nodes of a cluster talk with each other there.
    bus: Port,
    process: Process,
    settings: Vec<String>,
    directory: PathBuf,
    /// Dropped before the ports are given back.
    at_end: Option<AtEnd>,
}

/// The server of all tests that do not disturb it. None, with a line SKIPPED, if there is no Redis.
pub fn shared() -> Option<&'static Server> {
    static SHARED: OnceLock<Option<Server>> = OnceLock::new();
    let start = || Some(Server::start(&[]).awake());
    is_there().then(|| SHARED.get_or_init(start).as_ref())?
}

/// A server of one test, with more settings: `--name value`.
pub fn own(settings: &[&str]) -> Option<Server> {
    is_there().then(|| Server::start(settings))
}

/// A Sentinel, which watches nothing.
pub fn sentinel() -> Option<Server> {
    own(&["--sentinel"])
}

fn is_there() -> bool {
    let is_there = program().is_some();
    if !is_there {
        skipped("neither redis-server nor valkey-server is installed");
    }
    is_there
}

/// Whether the server can do TLS. Prints a line SKIPPED if it was built without.
pub fn has_tls() -> bool {
    let help = is_there().then(|| command(|(_, client)| client).arg("--help").output());
    let help = help.map(|output| output.expect("starts"));
    help.is_some_and(|help| {
        let text = [help.stdout, help.stderr].concat();
        let has_tls = String::from_utf8_lossy(&text).contains("--tls");
        if !has_tls {
            skipped("this Redis or Valkey was built without TLS");
        }
        has_tls
    })
}

/// The server and its client: those that `HOLDLOCK_REDIS_SERVER` names, or the first that are
/// installed.
fn program() -> Option<&'static (PathBuf, PathBuf)> {
    static PROGRAM: OnceLock<Option<(PathBuf, PathBuf)>> = OnceLock::new();
    PROGRAM
        .get_or_init(|| match std::env::var_os("HOLDLOCK_REDIS_SERVER") {
            Some(named) => {
                let both = with_client(Path::new(&named));
                let both = both.filter(|(server, client)| has(server) && has(client));
                Some(both.expect("HOLDLOCK_REDIS_SERVER names no ...-server with a ...-cli beside"))
            }
            None => ["redis-server", "valkey-server"]
                .into_iter()
                .filter_map(|server| with_client(Path::new(server)))
                .find(|(server, client)| has(server) && has(client)),
        })
        .as_ref()
}

/// `valkey-cli` belongs to `valkey-server`.
fn with_client(server: &Path) -> Option<(PathBuf, PathBuf)> {
    let name = server.file_name()?.to_str()?.strip_suffix("-server")?;
    let client = server.with_file_name(format!("{name}-cli"));
    Some((server.to_owned(), client))
}

fn command(pick: impl Fn(&'static (PathBuf, PathBuf)) -> &'static Path) -> Command {
    Command::new(pick(program().expect("looked for before")))
}

impl Server {
    fn start(settings: &[&str]) -> Server {
        let directory = tempfile::Builder::new().prefix("holdlock-redis-").tempdir();
        let directory = directory.expect("a directory").keep();
        let end = kill_all(&directory, "pid");
        let end = format!("{end}; rm -rf '{}'", directory.display());
        let server = Server {
            port: Port::new(),
            bus: Port::new(),
            process: Process::new(&directory, "pid"),
            settings: settings.iter().map(|&text| text.to_owned()).collect(),
            at_end: Some(AtEnd::run(&end, None)),
            directory,
        };
        server.run();
        server
    }

    /// Starts the program and waits until it answers.
    pub fn run(&self) {
        let mut server = command(|(server, _)| server);
        server.current_dir(&self.directory).process_group(0);
        if self.has("--sentinel") {
            let file = self.directory.join("sentinel.conf");
            std::fs::write(&file, "").expect("written");
            server.arg(file);
        }
        let number = |port: &Port| port.number().to_string();
        server.args(["--port", &number(&self.port), "--bind", "127.0.0.1"]);
        if self.has("--cluster-enabled") {
            server.args(["--cluster-port", &number(&self.bus)]);
        }
        server.args(["--daemonize", "yes", "--save", ""]);
        server.args(["--enable-debug-command", "yes"]);
        // A first replica would wait five seconds for others.
        server.args(["--repl-diskless-sync-delay", "0"]);
        for (option, file) in [
            ("--dir", "."),
            ("--pidfile", "pid"),
            ("--logfile", "log"),
            ("--unixsocket", "socket"),
        ] {
            server.arg(option).arg(self.directory.join(file));
        }
        let quiet = server.args(&self.settings).stdout(Stdio::null());
        assert!(quiet.status().expect("starts").success(), "{server:?}");
        wait_for("the server answers", || {
            (self.try_cli(&["PING"])? == "PONG").then_some(())
        });
    }

    fn has(&self, setting: &str) -> bool {
        self.settings.iter().any(|text| text == setting)
    }

    /// Makes the server older than each time limit: after its start it gives no locks for a while.
    pub fn awake(self) -> Server {
        let info = self.cli(&["INFO"]);
        let field = |name: &str| {
            let (_, rest) = info.split_once(name).expect("a field");
            rest.lines().next().expect("a line").trim().to_owned()
        };
        let us = format!("{}:{}", field("run_id:"), field("master_replid:"));
        self.cli(&["HSET", "holdlock:server", "server", &us, "since", "0"]);
        self
    }

    /// Its files.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What it has written to its log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// Lets a node of a cluster meet another one.
    pub fn meet(&self, other: &Server) {
        let number = |port: &Port| port.number().to_string();
        let (port, bus) = (number(&other.port), number(&other.bus));
        self.cli(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
    }

    /// Sends a command, and returns the answer as redis-cli prints it.
    pub fn cli(&self, command: &[&str]) -> String {
        self.try_cli(command).expect("the server answers")
    }

    fn try_cli(&self, words: &[&str]) -> Option<String> {
        let mut cli = command(|(_, client)| client);
        cli.arg("-s").arg(self.directory.join("socket")).args(words);
        let output = cli.stdin(Stdio::null()).output().expect("starts");
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        output.status.success().then_some(text)
    }

    /// Kills the server, as a crash does.
    pub fn kill(&self) {
        self.process.kill();
    }

    /// Sends a signal to the server.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// A key of this lock.
    pub fn key(&self, name: &str, part: &str) -> String {
        format!("{{holdlock:{name}}}:{part}")
    }
}

impl super::Server for Server {
    fn engine(&self) -> &'static str {
        "redis"
    }

    fn ports(&self) -> Vec<u16> {
        vec![self.port.number()]
    }

    fn url_by(&self, ports: &[u16], options: &str, name: &str) -> String {
        format!("redis://{}/0?{options}#{}", hosts(ports), escaped(name))
    }

    /// A waiter or holder that has died is left until another one uses the lock.
    fn nothing_left(&self, name: &str) {
        let parts = ["until", "holders", "queue", "records"];
        let keys = parts.map(|part| self.key(name, part));
        wait_for(&format!("no key of {name} is left"), || {
            let exists = [&["EXISTS"][..], &keys.each_ref().map(String::as_str)].concat();
            (self.cli(&exists) == "0").then_some(())
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        tell_log(&self.directory.join("log"));
        drop(self.at_end.take());
    }
}
