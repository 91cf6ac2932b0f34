//! A server that answers what a test says, for what a real one does only in a rare moment.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What the server does with a command.
pub(crate) enum Reply {
    /// Answers as a primary that stands alone.
    Usual,
    /// Answers this.
    Is(String),
    /// Answers this, and ends the connection.
    Last(String),
    /// Says nothing.
    Nothing,
}

/// A command that a client has sent.
pub(crate) struct Call {
    /// The number of its connection, from 0.
    pub(crate) connection: usize,
    pub(crate) words: Vec<String>,
}

impl Call {
    /// What the script is to do, or the command, or `end: ` and why the connection has ended.
    pub(crate) fn what(&self) -> &str {
        match self.words[0].as_str() {
            "EVALSHA" | "EVAL" => &self.words[10],
            other => other,
        }
    }
}

/// The address of a server that runs as long as the program.
pub(crate) fn start(reply: impl Fn(&Call) -> Reply + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let reply = Arc::new(reply);
    std::thread::spawn(move || {
        let count = AtomicUsize::new(0);
        for stream in listener.incoming().flatten() {
            let (connection, reply) = (count.fetch_add(1, Ordering::SeqCst), reply.clone());
            std::thread::spawn(move || serve(stream, connection, &*reply));
        }
    });
    address
}

fn serve(mut stream: TcpStream, connection: usize, reply: &dyn Fn(&Call) -> Reply) {
    let Ok(reader) = stream.try_clone() else {
        return;
    };
    let mut reader = BufReader::new(reader);
    loop {
        let words = command(&mut reader);
        let has_ended = words.is_err();
        let words = words.unwrap_or_else(|error| vec![format!("end: {:?}", error.kind())]);
        let call = Call { connection, words };
        let (answer, is_last) = match reply(&call) {
            Reply::Usual => (usual(&call), false),
            Reply::Is(answer) => (answer, false),
            Reply::Last(answer) => (answer, true),
            Reply::Nothing => (String::new(), false),
        };
        let sent = stream.write_all(answer.as_bytes());
        if has_ended || is_last || sent.is_err() {
            let _ = stream.shutdown(Shutdown::Both);
            return;
        }
    }
}

/// An array of strings.
fn command(reader: &mut BufReader<TcpStream>) -> io::Result<Vec<String>> {
    let count = number(reader)?;
    (0..count)
        .map(|_| {
            let mut bytes = vec![0; number(reader)? + 2];
            reader.read_exact(&mut bytes)?;
            bytes.truncate(bytes.len() - 2);
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        })
        .collect()
}

fn number(reader: &mut BufReader<TcpStream>) -> io::Result<usize> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let number = line.trim().get(1..).and_then(|digits| digits.parse().ok());
    number.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

fn usual(call: &Call) -> String {
    match call.what() {
        "HELLO" => hello("standalone", "master"),
        "SUBSCRIBE" => format!(
            ">3\r\n$9\r\nsubscribe\r\n${}\r\n{}\r\n:1\r\n",
            call.words[1].len(),
            call.words[1]
        ),
        "step" => held(7),
        "renew" | "leave" | "WAIT" => ":1\r\n".to_owned(),
        _ => "+OK\r\n".to_owned(),
    }
}

/// The answer to HELLO.
pub(crate) fn hello(mode: &str, role: &str) -> String {
    format!("%2\r\n+mode\r\n+{mode}\r\n+role\r\n+{role}\r\n")
}

/// The answer to a step that has acquired the lock.
pub(crate) fn held(token: u64) -> String {
    format!("*2\r\n+held\r\n:{token}\r\n")
}
