//! Servers of Redis on ports of their own, which end with the test program.

use std::io::Read;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use holdlock_test_support::{has, skipped, wait_for};
use rustix::process::{Pid, Signal};

/// A server. When it is dropped, or the test program ends however it ends, a shell stops the server
/// and removes its files.
pub(crate) struct Server {
    directory: PathBuf,
    port: u16,
    settings: Vec<String>,
    /// The shell reads from a pipe until its end.
    cleaner: Option<ChildStdin>,
    /// It ends when the shell has ended.
    cleaned: ChildStdout,
}

/// The server of all tests that do not disturb it. None, with a line SKIPPED, if there is no Redis.
pub(crate) fn shared() -> Option<&'static Server> {
    static SHARED: OnceLock<Option<Server>> = OnceLock::new();
    let server = SHARED.get_or_init(|| program().map(|_| Server::start(&[]).awake()));
    if server.is_none() {
        skipped("neither redis-server nor valkey-server is installed");
    }
    server.as_ref()
}

/// A server of one test, with more settings: `--name value`.
pub(crate) fn own(settings: &[&str]) -> Option<Server> {
    if program().is_none() {
        skipped("neither redis-server nor valkey-server is installed");
        return None;
    }
    Some(Server::start(settings))
}

/// A Sentinel, which watches nothing.
pub(crate) fn sentinel() -> Option<Server> {
    own(&["--sentinel"])
}

/// The names of the server and of its client.
fn program() -> Option<(&'static str, &'static str)> {
    let known = [
        ("redis-server", "redis-cli"),
        ("valkey-server", "valkey-cli"),
    ];
    known
        .into_iter()
        .find(|(server, client)| has(server) && has(client))
}

/// A port at which nothing listens.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

impl Server {
    fn start(settings: &[&str]) -> Server {
        let directory = tempfile::Builder::new().prefix("holdlock-redis-").tempdir();
        let directory = directory.expect("a directory").keep();
        let shown = directory.display();
        // Not a child of ours: a watchdog kills those.
        let stop = format!(
            "exec 3<&0; (cat <&3; kill -KILL $(cat '{shown}/pid'); rm -rf '{shown}') 2> /dev/null &"
        );
        let mut cleaner = Command::new("sh")
            .args(["-c", &stop])
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        // Before the shell is waited for, which would close them.
        let server = Server {
            port: free_port(),
            settings: settings.iter().map(|&text| text.to_owned()).collect(),
            cleaner: cleaner.stdin.take(),
            cleaned: cleaner.stdout.take().expect("a pipe"),
            directory,
        };
        cleaner.wait().expect("ended");
        server.run();
        server
    }

    /// Starts the program and waits until it answers.
    pub(crate) fn run(&self) {
        let mut command = Command::new(program().expect("looked for before").0);
        command.current_dir(&self.directory).process_group(0);
        if self.settings.iter().any(|setting| setting == "--sentinel") {
            let file = self.directory.join("sentinel.conf");
            std::fs::write(&file, "").expect("written");
            command.arg(file);
        }
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"]);
        command.args([
            "--daemonize",
            "yes",
            "--save",
            "",
            "--enable-debug-command",
            "yes",
        ]);
        for (option, file) in [
            ("--dir", "."),
            ("--pidfile", "pid"),
            ("--logfile", "log"),
            ("--unixsocket", "socket"),
        ] {
            command.arg(option).arg(self.directory.join(file));
        }
        let quiet = command.args(&self.settings).stdout(Stdio::null());
        assert!(quiet.status().expect("starts").success(), "{command:?}");
        wait_for("the server answers", || {
            (self.try_cli(&["PING"])? == "PONG").then_some(())
        });
    }

    /// Waits until the server gives locks, which takes a moment after its start, and makes it older
    /// than each time limit.
    pub(crate) fn awake(self) -> Server {
        let lock = holdlock_engines::open(&self.url("first")).expect("a lock");
        drop(lock.lock().expect("free"));
        self.cli(&["HSET", "holdlock:server", "since", "0"]);
        self
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// The URL of a lock, with a short time limit.
    pub(crate) fn url(&self, name: &str) -> String {
        self.url_at(self.port, name)
    }

    /// The same through another port.
    pub(crate) fn url_at(&self, port: u16, name: &str) -> String {
        let name = name.replace('%', "%25").replace('#', "%23");
        format!("redis://127.0.0.1:{port}/0?ttl=3#{name}")
    }

    /// Sends a command, and returns the answer as redis-cli prints it.
    pub(crate) fn cli(&self, command: &[&str]) -> String {
        self.try_cli(command).expect("the server answers")
    }

    fn try_cli(&self, command: &[&str]) -> Option<String> {
        let mut cli = Command::new(program().expect("looked for before").1);
        cli.arg("-s")
            .arg(self.directory.join("socket"))
            .args(command);
        let output = cli.stdin(Stdio::null()).output().expect("starts");
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        output.status.success().then_some(text)
    }

    /// Kills the server as a crash does.
    pub(crate) fn kill(&self) {
        let pid = self.pid();
        self.signal(Signal::KILL);
        wait_for("the server has ended", || {
            rustix::process::test_kill_process(pid)
                .is_err()
                .then_some(())
        });
    }

    pub(crate) fn signal(&self, signal: Signal) {
        rustix::process::kill_process(self.pid(), signal).expect("sent");
    }

    fn pid(&self) -> Pid {
        let pid = std::fs::read_to_string(self.directory.join("pid")).expect("a file");
        let pid = pid.trim().parse().ok().and_then(Pid::from_raw);
        pid.expect("a pid")
    }

    /// A key of this lock.
    pub(crate) fn key(&self, name: &str, part: &str) -> String {
        format!("{{holdlock:{name}}}:{part}")
    }

    /// Waits until nobody holds this lock or waits for it, and looks whether its keys are gone.
    pub(crate) fn nothing_left(&self, name: &str) {
        let lock = holdlock_engines::open(&self.url(name)).expect("a lock");
        wait_for(&format!("nobody has {name}"), || {
            let members = lock.members().expect("answers");
            (members.holders.len() + members.waiters.len() == 0).then_some(())
        });
        // What the server holds to be dead goes with the next call.
        drop(lock.try_lock());
        for part in ["until", "holders", "queue", "records"] {
            let key = self.key(name, part);
            assert_eq!(self.cli(&["EXISTS", &key]), "0", "{part} of {name}");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.cleaner.take());
        let _ = self.cleaned.read_to_end(&mut Vec::new());
    }
}
