//! Servers of PostgreSQL on ports of their own, which end with the test program.

use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use holdlock_test_support::skipped;
use holdlock_test_support::wait_for;

/// A server. When it is dropped, or the test program ends however it ends, a shell stops the server
/// and removes its files.
pub(crate) struct Server {
    directory: PathBuf,
    port: u16,
    /// The shell reads from a pipe until its end.
    cleaner: Option<ChildStdin>,
    /// It ends when the shell has ended.
    cleaned: ChildStdout,
}

/// The server of all tests that do not disturb it. None, with a line SKIPPED, if there is no
/// PostgreSQL.
pub(crate) fn shared() -> Option<&'static Server> {
    static SHARED: OnceLock<Option<Server>> = OnceLock::new();
    let server = SHARED.get_or_init(|| tools().map(|_| Server::start("").awake()));
    if server.is_none() {
        skipped("PostgreSQL (initdb, pg_ctl) is not installed");
    }
    server.as_ref()
}

/// A server of one test.
pub(crate) fn own(settings: &str) -> Option<Server> {
    shared().map(|_| Server::start(settings))
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
        certificate(&data);
        // The cleaners of servers do not know it.
        let pid = std::process::id();
        let place = place.display();
        let script =
            format!("(while kill -0 {pid}; do sleep 1; done; rm -rf '{place}') 2> /dev/null &");
        let mut cleaner = Command::new("sh");
        cleaner.args(["-c", &script]).process_group(0);
        let quiet = cleaner
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        quiet.status().expect("a shell");
        data
    })
}

/// For `localhost`, by the authority `ca.pem`.
fn certificate(data: &Path) {
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
        ])
        .args(["-nodes", "-days", "30", "-subj", "/CN=localhost"])
        .args([
            "-addext",
            "subjectAltName=DNS:localhost",
            "-addext",
            "basicConstraints=CA:FALSE",
        ])
        .arg("-keyout")
        .arg(data.join("server.key"))
        .arg("-out")
        .arg(data.join("server.crt"))
        .stderr(Stdio::null())
        .status();
    if made.is_ok_and(|status| status.success())
        && let Some((user, group)) = other_user()
    {
        for file in ["server.key", "server.crt"] {
            chown(data.join(file), Some(user), Some(group)).expect("given away");
        }
    }
}

fn fresh_directory() -> PathBuf {
    let directory = tempfile::Builder::new()
        .prefix("holdlock-postgres-")
        .tempdir();
    let directory = directory.expect("a directory").keep();
    if let Some((user, group)) = other_user() {
        chown(&directory, Some(user), Some(group)).expect("given away");
    }
    directory
}

/// A port at which nothing listens.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

impl Server {
    fn start(settings: &str) -> Server {
        let directory = fresh_directory();
        let data = directory.join("data");
        let mut copy = Command::new("cp");
        copy.arg("-a").arg(template()).arg(&data);
        run(&mut copy);
        let port = free_port();
        let tls = if data.join("server.key").is_file() {
            "on"
        } else {
            "off"
        };
        let settings = format!(
            "port = {port}\nlisten_addresses = '127.0.0.1'\nssl = {tls}\nfsync = off\n\
             unix_socket_directories = '{}'\nautovacuum = off\n{settings}",
            directory.display()
        );
        let config = data.join("postgresql.conf");
        let before = std::fs::read_to_string(&config).expect("readable");
        std::fs::write(&config, before + &settings).expect("written");
        if settings.contains("hot_standby") {
            let signal = data.join("standby.signal");
            std::fs::write(&signal, "").expect("written");
            if let Some((user, group)) = other_user() {
                chown(&signal, Some(user), Some(group)).expect("given away");
            }
        }
        // Not a child of ours: a watchdog kills those.
        let stop = format!(
            "exec 3<&0; (cat <&3; kill -CONT $(head -n 1 '{0}/data/postmaster.pid'); \
             '{1}/pg_ctl' -D '{0}/data' -m immediate stop; rm -rf '{0}') 2> /dev/null &",
            directory.display(),
            tools().expect("looked for before").display()
        );
        let mut cleaner = Command::new("sh");
        if let Some((user, group)) = other_user() {
            cleaner.uid(user).gid(group);
        }
        let mut cleaner = cleaner
            .args(["-c", &stop])
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        // Before the shell is waited for, which would close them.
        let server = Server {
            directory,
            port,
            cleaner: cleaner.stdin.take(),
            cleaned: cleaner.stdout.take().expect("a pipe"),
        };
        cleaner.wait().expect("ended");
        server.ctl(&["start"]);
        server
    }

    /// Waits until the server gives locks, which takes a moment after its start.
    fn awake(self) -> Server {
        let lock = holdlock_engines::open(&self.url("first")).expect("a lock");
        drop(lock.lock().expect("free"));
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

    pub(crate) fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a lock, with a short time limit and without TLS.
    pub(crate) fn url(&self, name: &str) -> String {
        self.url_at(self.port, name)
    }

    /// The same through another port.
    pub(crate) fn url_at(&self, port: u16, name: &str) -> String {
        let name = name.replace('%', "%25").replace('#', "%23");
        format!("postgres://boss@127.0.0.1:{port}/postgres?ttl=3&sslmode=disable#{name}")
    }

    /// Ends the server without a checkpoint, as a crash does, and starts it.
    pub(crate) fn crash(&self) {
        self.ctl(&["-m", "immediate", "stop"]);
        self.ctl(&["start"]);
    }

    /// Sends a signal to these processes of the server.
    pub(crate) fn signal_all(&self, pids: &[String], signal: rustix::process::Signal) {
        for pid in pids {
            let pid = pid.parse().ok().and_then(rustix::process::Pid::from_raw);
            let _ = rustix::process::kill_process(pid.expect("a pid"), signal);
        }
    }

    /// Asks the server, by psql and its socket.
    pub(crate) fn sql(&self, statement: &str) -> String {
        run(&mut self.psql(statement)).trim().to_owned()
    }

    /// The same, and does not mind if the session is ended meanwhile.
    #[allow(dead_code, reason = "for the tests of the command")]
    pub(crate) fn try_sql(&self, statement: &str) {
        self.psql(statement).output().expect("starts");
    }

    fn psql(&self, statement: &str) -> Command {
        let mut psql = tool("psql");
        psql.arg("-h")
            .arg(&self.directory)
            .args(["-p", &self.port.to_string(), "-U", "boss"]);
        psql.args(["-d", "postgres", "-X", "-At", "-c", statement]);
        psql
    }

    /// Waits until no session of this lock is left, and with that no advisory lock.
    pub(crate) fn nothing_left(&self, name: &str) {
        let count = format!(
            "SELECT count(*), string_agg(query, ';') FROM pg_stat_activity \
             WHERE application_name = 'holdlock:{name}'"
        );
        let mut last = String::new();
        wait_for(&format!("no session of {name} is left"), || {
            last = self.sql(&count);
            last.starts_with("0|").then_some(())
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.cleaner.take());
        let _ = self.cleaned.read_to_end(&mut Vec::new());
    }
}
