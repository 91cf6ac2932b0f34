//! Holders of mode register: each writes to a resource behind a [`TokenGate`], and writes once more
//! after it has lost the lock. The gate has to refuse a token that is older than that of the last
//! write, and to accept that of the holder.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use holdlock::{Error, TokenGate};

use super::Taker;
use crate::torture::board::Outcome;
use crate::torture::event::What;
use crate::torture::fault::Fault;
use crate::torture::finding::Kind;
use crate::torture::mode::Mode;
use crate::torture::tenure::Tenure;

/// How long one that has lost the lock waits for the first write of the next holder, beside the
/// time limit of the lock.
const NEXT: Duration = Duration::from_secs(1);

pub(super) fn work(taker: &mut Taker, tenure: &mut Tenure, time: Duration) {
    for _ in 0..taker.random.u32(1..3) {
        write(taker, tenure);
        tenure.stay(time);
    }
    tenure.look();
    if tenure.was_lost() {
        let words = taker.me.board.mode(Mode::Register);
        let begin = Instant::now();
        while words.written.load(Ordering::SeqCst) <= tenure.token()
            && begin.elapsed() < NEXT + tenure.ttl()
            && !taker.me.board.is_ending()
        {
            std::thread::sleep(Duration::from_millis(1));
        }
        write(taker, tenure);
    }
}

fn write(taker: &Taker, tenure: &Tenure) {
    let (mode, token) = (Mode::Register, tenure.token());
    let gate = match TokenGate::open(taker.directory.join("register.gate")) {
        Ok(gate) => gate,
        Err(error) => return taker.failed(mode, error.to_string(), error.raw_os_error()),
    };
    let inside = match taker.fault {
        Some(Fault::Gate) => None,
        _ => match gate.pass(token) {
            Ok(inside) => Some(inside),
            Err(Error::StaleToken { newest, .. }) => {
                taker.me.note(What::Fenced, mode, token);
                taker.me.count(mode, Outcome::Fenced);
                if tenure.is_undisturbed() {
                    let text = format!("the holder's token {token} is refused after {newest}");
                    taker.me.find(Kind::Fence, mode, None, text);
                }
                return;
            }
            Err(error) => return taker.failed(mode, error.to_string(), error.raw_os_error()),
        },
    };
    let before = taker
        .me
        .board
        .mode(mode)
        .written
        .swap(token, Ordering::SeqCst);
    if before > token {
        let text = format!("a write with token {token} is accepted after one with {before}");
        taker.me.find(Kind::Fence, mode, None, text);
    }
    drop(inside);
}
