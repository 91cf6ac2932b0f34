//! Servers of PostgreSQL.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use rustix::process::{Pid, Signal, kill_process};

use super::at_end::AtEnd;
use super::{Port, certificate, escaped, hosts, tell_log};
use crate::{skipped, wait_for};

/// A server.
#[derive(Debug)]
pub struct Server {
    port: Port,
    directory: PathBuf,
    /// Dropped before the port is given back.
    at_end: Option<AtEnd>,
}

/// The server of all tests that do not disturb it. None, with a line SKIPPED, if there is no
/// PostgreSQL.
pub fn shared() -> Option<&'static Server> {
    static SHARED: OnceLock<Option<Server>> = OnceLock::new();
    let start = || Some(Server::start("").awake());
    is_there().then(|| SHARED.get_or_init(start).as_ref())?
}

/// A server of one test, with more lines of postgresql.conf.
pub fn own(settings: &str) -> Option<Server> {
    is_there().then(|| Server::start(settings))
}

/// A standby that follows nobody.
pub fn standby() -> Option<Server> {
    own("hot_standby = on\n")
}

fn is_there() -> bool {
    let is_there = tools().is_some();
    if !is_there {
        skipped("PostgreSQL (initdb, pg_ctl) is not installed");
    }
    is_there
}

/// The directory with initdb.
fn tools() -> Option<&'static Path> {
    static TOOLS: OnceLock<Option<PathBuf>> = OnceLock::new();
    let find = || {
        let debian = std::fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten();
        let debian = debian.flatten().map(|version| version.path().join("bin"));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path: Vec<PathBuf> = std::env::split_paths(&path).collect();
        debian
            .chain(path)
            .find(|place| place.join("initdb").is_file())
    };
    TOOLS.get_or_init(find).as_deref()
}

fn tool(name: &str) -> Command {
    let mut command = Command::new(tools().expect("looked for before").join(name));
    if let Some((user, group)) = other_user() {
        command.uid(user).gid(group);
    }
    command
        .current_dir("/")
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("LC_ALL", "C");
    command.stdin(Stdio::null());
    command
}

/// PostgreSQL refuses to run as root.
fn other_user() -> Option<(u32, u32)> {
    (rustix::process::geteuid().is_root()).then_some((65534, 65534))
}

fn run(command: &mut Command) -> String {
    let output = command.output().expect("starts");
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A data directory that is copied for each server: initdb takes a second.
fn template() -> &'static Path {
    static TEMPLATE: OnceLock<PathBuf> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let place = fresh_directory();
        let data = place.join("data");
        let mut initdb = tool("initdb");
        initdb
            .arg("-D")
            .arg(&data)
            .args(["-U", "boss", "-A", "trust", "-N", "-E", "UTF8"]);
        run(&mut initdb);
        let access = "local all all trust\nhost all secretive all scram-sha-256\n\
                      host all all all trust\n";
        std::fs::write(data.join("pg_hba.conf"), access).expect("written");
        if let Some((certificate, key)) = certificate(&data, "server") {
            give_away(&certificate);
            give_away(&key);
        }
        // Not dropped, since it lives in a static: it ends with the program.
        AtEnd::run(&format!("rm -rf '{}'", place.display()), None).forget();
        data
    })
}

/// To the user who runs the server.
fn give_away(path: &Path) {
    if let Some((user, group)) = other_user() {
        chown(path, Some(user), Some(group)).expect("given away");
    }
}

fn fresh_directory() -> PathBuf {
    let directory = tempfile::Builder::new()
        .prefix("holdlock-postgres-")
        .tempdir();
    let directory = directory.expect("a directory").keep();
    give_away(&directory);
    directory
}

impl Server {
    fn start(settings: &str) -> Server {
        let directory = fresh_directory();
        let data = directory.join("data");
        let mut copy = Command::new("cp");
        copy.arg("-a").arg(template()).arg(&data);
        run(&mut copy);
        let port = Port::new();
        let tls = if data.join("server.key").is_file() {
            "on"
        } else {
            "off"
        };
        let settings = format!(
            "port = {}\nlisten_addresses = '127.0.0.1'\nssl = {tls}\nfsync = off\n\
             unix_socket_directories = '{}'\nautovacuum = off\n{settings}",
            port.number(),
            directory.display()
        );
        let config = data.join("postgresql.conf");
        let before = std::fs::read_to_string(&config).expect("readable");
        std::fs::write(&config, before + &settings).expect("written");
        if settings.contains("hot_standby") {
            let signal = data.join("standby.signal");
            std::fs::write(&signal, "").expect("written");
            give_away(&signal);
        }
        let end = format!(
            "kill -CONT $(head -n 1 '{0}/data/postmaster.pid'); \
             '{1}/pg_ctl' -D '{0}/data' -m immediate stop; rm -rf '{0}'",
            directory.display(),
            tools().expect("looked for before").display()
        );
        let server = Server {
            port,
            at_end: Some(AtEnd::run(&end, other_user())),
            directory,
        };
        server.ctl(&["start"]);
        server
    }

    /// Waits until the server gives locks, which it does not for ten seconds after its start.
    fn awake(self) -> Server {
        wait_for("the server is eleven seconds old", || {
            let is_old = "SELECT clock_timestamp() - pg_postmaster_start_time() > '11 s'";
            (self.sql(is_old) == "t").then_some(())
        });
        self
    }

    fn ctl(&self, arguments: &[&str]) {
        let mut pg_ctl = tool("pg_ctl");
        pg_ctl
            .arg("-D")
            .arg(self.data())
            .arg("-w")
            .arg("-l")
            .arg(self.log());
        let done = pg_ctl.args(arguments).output().expect("starts");
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        assert!(done.status.success(), "{pg_ctl:?}: {log}");
    }

    /// Its data directory.
    pub fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// The file of its log.
    pub fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// Ends the server without a checkpoint, as a crash does, and starts it.
    pub fn crash(&self) {
        self.ctl(&["-m", "immediate", "stop"]);
        self.ctl(&["start"]);
    }

    /// Sends a signal to these processes of the server.
    pub fn signal_all(&self, pids: &[String], signal: Signal) {
        for pid in pids {
            let pid = pid.parse().ok().and_then(Pid::from_raw);
            let _ = kill_process(pid.expect("a pid"), signal);
        }
    }

    /// Asks the server, by psql and its socket.
    pub fn sql(&self, statement: &str) -> String {
        run(&mut self.psql(statement)).trim().to_owned()
    }

    /// The same, and does not mind if the session is ended meanwhile.
    pub fn try_sql(&self, statement: &str) {
        self.psql(statement).output().expect("starts");
    }

    fn psql(&self, statement: &str) -> Command {
        let mut psql = tool("psql");
        psql.arg("-h").arg(&self.directory).args([
            "-p",
            &self.port.number().to_string(),
            "-U",
            "boss",
        ]);
        psql.args(["-d", "postgres", "-X", "-At", "-c", statement]);
        psql
    }
}

impl super::Server for Server {
    fn engine(&self) -> &'static str {
        "postgres"
    }

    fn ports(&self) -> Vec<u16> {
        vec![self.port.number()]
    }

    /// Without TLS.
    fn url_by(&self, ports: &[u16], options: &str, name: &str) -> String {
        let (hosts, name) = (hosts(ports), escaped(name));
        format!("postgres://boss@{hosts}/postgres?{options}&sslmode=disable#{name}")
    }

    /// After its start, a server gives no locks for as long.
    fn patient(&self) -> &'static str {
        "ttl=10"
    }

    /// No session, and with that no advisory lock.
    fn nothing_left(&self, name: &str) {
        let count = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'holdlock:{name}'"
        );
        wait_for(&format!("no session of {name} is left"), || {
            (self.sql(&count) == "0").then_some(())
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        tell_log(&self.log());
        drop(self.at_end.take());
    }
}
