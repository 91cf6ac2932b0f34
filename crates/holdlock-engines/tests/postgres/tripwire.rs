//! A network that stops at a chosen statement: a moment that a test would hit by luck only.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use holdlock_test_support::between;

/// What is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// The statement: the server has not seen it.
    Statement,
    /// The answer: the server has executed the statement, and the client does not know.
    Answer,
}

/// What becomes of the bytes that are held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    PassOn,
    Drop,
}

/// A proxy in front of a server. It serves clients until the test program ends.
pub(crate) struct Tripwire {
    port: u16,
    wire: Arc<Wire>,
}

#[derive(Default)]
struct Wire {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Text of the statement, as long as no client has sent it.
    wanted: Option<(At, &'static str)>,
    /// The statement was sent: the next bytes of the server are its answer.
    is_sent: bool,
    is_held: bool,
    then: Option<Then>,
}

impl Tripwire {
    /// Stops once, at the statement that contains this text.
    pub(crate) fn start(server: u16, at: At, statement: &'static str) -> Tripwire {
        let wire = Arc::new(Wire::default());
        wire.state().wanted = Some((at, statement));
        let shared = wire.clone();
        let port = between(server, move || {
            let (there, back) = (shared.clone(), shared.clone());
            (
                move |from, to| there.pump(from, to, Wire::at_statement),
                move |from, to| back.pump(from, to, Wire::at_answer),
            )
        });
        Tripwire { port, wire }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Waits until something is held back.
    pub(crate) fn wait(&self) {
        let held = |state: &mut State| !state.is_held;
        let state = self.wire.changed.wait_while(self.wire.state(), held);
        drop(state.expect("no panic"));
    }

    /// Lets the network go on.
    pub(crate) fn go_on(&self, then: Then) {
        self.wire.state().then = Some(then);
        self.wire.changed.notify_all();
    }
}

impl Wire {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic")
    }

    /// Passes on what comes, until `look` says that the rest is dropped.
    fn pump(&self, mut from: TcpStream, mut to: TcpStream, look: fn(&Wire, &[u8]) -> Then) {
        let mut buffer = [0; 16 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            let bytes = &buffer[..length];
            if look(self, bytes) == Then::Drop || to.write_all(bytes).is_err() {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }

    fn at_statement(&self, sent: &[u8]) -> Then {
        let mut state = self.state();
        let Some((at, text)) = state.wanted else {
            return Then::PassOn;
        };
        if !sent.windows(text.len()).any(|part| part == text.as_bytes()) {
            return Then::PassOn;
        }
        state.wanted = None;
        match at {
            At::Answer => {
                state.is_sent = true;
                Then::PassOn
            }
            At::Statement => self.hold(state),
        }
    }

    fn at_answer(&self, _: &[u8]) -> Then {
        let mut state = self.state();
        if !state.is_sent {
            return Then::PassOn;
        }
        state.is_sent = false;
        self.hold(state)
    }

    fn hold(&self, mut state: MutexGuard<'_, State>) -> Then {
        state.is_held = true;
        self.changed.notify_all();
        let state = self.changed.wait_while(state, |state| state.then.is_none());
        state.expect("no panic").then.expect("told")
    }
}
