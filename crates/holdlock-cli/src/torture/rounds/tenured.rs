//! A request for a lock that may be lost: the same round over a file and over an engine.

use std::time::Duration;

use holdlock::{CancelToken, Request};

use super::limit::Limit;
use super::lock::{limited, sleep_for_ever};
use super::{Taker, job, register, rewrite};
use crate::torture::board::{Outcome, now};
use crate::torture::fault::Fault;
use crate::torture::finding::Kind;
use crate::torture::held::{Held, Lock, Refusal};
use crate::torture::mark::Inside;
use crate::torture::mode::Mode;
use crate::torture::tenure::Tenure;

/// The pause after an engine did not answer.
const PAUSE: Duration = Duration::from_millis(100);

/// What ends a request besides the lock.
struct Wish {
    once: bool,
    limit: Option<Duration>,
    /// Every request can be cancelled: at the end of the run nobody waits for a lease to end.
    token: CancelToken,
}

impl Wish {
    fn choose(taker: &mut Taker) -> Wish {
        let random = &mut taker.random;
        let limit = match random.u32(..16) {
            // With the time that a connection takes.
            2..4 => Some(Duration::from_millis(random.u64(1..100))),
            4 => Some(Duration::from_secs(60)),
            _ => None,
        };
        Wish {
            once: random.u32(..8) == 0,
            limit,
            token: CancelToken::new(),
        }
    }

    fn request(&self, inside: Inside) -> Request {
        let request = match inside {
            Inside::Shared => Request::shared(),
            _ => Request::exclusive(),
        };
        match (self.once, self.limit) {
            (true, _) => request.try_once(),
            (_, Some(limit)) => request.timeout(limit),
            (_, None) => request,
        }
    }

    fn nanos(&self) -> Option<u64> {
        let limit = self.limit.filter(|_| !self.once);
        limit.map(|limit| limit.as_nanos() as u64)
    }
}

pub(super) fn round(taker: &mut Taker, mode: Mode) {
    if mode == Mode::Run {
        return job::round(taker, mode);
    }
    if taker.fault.is_some() && faulty(taker, mode) {
        return;
    }
    let inside = taker.inside(mode);
    let asked = match inside {
        Inside::Exclusive if taker.strikes(Fault::Share) => Inside::Shared,
        inside => inside,
    };
    let Some(held) = ask(taker, mode, asked) else {
        return;
    };
    let shares = asked != inside;
    work(taker, mode, inside, held, shares);
}

/// A tenure from its beginning to its end.
fn work(taker: &mut Taker, mode: Mode, inside: Inside, held: Held, stays: bool) {
    let fault = match taker.fault {
        Some(Fault::Token) => taker.strikes(Fault::Token).then_some(Fault::Token),
        other => other,
    };
    let ttl = held.ttl();
    let mut tenure = Tenure::begin(taker.me, mode, inside, held, fault);
    let time = match stays {
        true => A_WHILE,
        false => stay(taker, ttl),
    };
    match mode {
        Mode::Rewrite => rewrite::work(taker, &mut tenure, time),
        Mode::Register => register::work(taker, &mut tenure, time),
        _ => tenure.stay(time),
    }
    if taker.strikes(Fault::Early) {
        tenure.pretend();
        tenure.stay(A_WHILE);
    }
    if mode == Mode::Exclusive && taker.strikes(Fault::Keep) {
        return tenure.forget();
    }
    if let Err((text, number)) = tenure.end() {
        taker.failed(mode, format!("releasing: {text}"), number);
    }
}

/// Mostly an instant, and sometimes so long that the lock has to be renewed.
fn stay(taker: &mut Taker, ttl: Duration) -> Duration {
    let random = &mut taker.random;
    match random.u32(..1000) {
        0 => ttl.mul_f64(1.2 * random.f64()),
        1..10 => ttl.mul_f64(random.f64() / 2.0),
        10..60 => ttl.mul_f64(random.f64() / 10.0),
        60..300 => Duration::ZERO,
        _ => Duration::from_micros(random.u64(..10_000)),
    }
}

/// Asks for the lock of a mode. None: the request ended without it.
fn ask(taker: &mut Taker, mode: Mode, inside: Inside) -> Option<Held> {
    let lock = lock(taker, mode)?;
    let wish = Wish::choose(taker);
    taker.me.ask(inside, mode, wish.nanos());
    let limit = Limit::Token(wish.token.clone());
    let answer = limited(taker, &limit, |_| {
        lock.acquire(wish.request(inside).cancel(&wish.token))
    });
    match answer {
        Ok(held) => Some(held),
        Err(refusal) => {
            ended(taker, mode, &wish, refusal);
            None
        }
    }
}

fn lock(taker: &Taker, mode: Mode) -> Option<Lock> {
    let locks = taker.common.as_deref().unwrap_or(&taker.own);
    let lock = locks.either(taker.engine.as_ref(), &taker.directory, mode);
    lock.map_err(|(text, number)| taker.failed(mode, text, number))
        .ok()
}

/// A request ended without the lock: was it right to?
fn ended(taker: &Taker, mode: Mode, wish: &Wish, refusal: Refusal) {
    let me = &taker.me;
    let waited = Duration::from_nanos(now() - me.asked());
    let limit = wish.limit.filter(|_| !wish.once);
    let outcome = match (refusal, limit) {
        (Refusal::WouldBlock, _) if wish.once => Outcome::Refused,
        // A short time may not be enough for a connection.
        (Refusal::Unreachable, Some(limit)) if waited >= limit => Outcome::TimedOut,
        (Refusal::TimedOut, Some(limit)) => {
            if waited < limit {
                let text = format!("after {} of {} µs", waited.as_micros(), limit.as_micros());
                me.find(Kind::Early, mode, None, text);
            }
            Outcome::TimedOut
        }
        (Refusal::Cancelled, _) if wish.token.is_cancelled() => Outcome::Cancelled,
        (Refusal::Unreachable, _) if taker.engine.is_some() => Outcome::Unreachable,
        (Refusal::Failed(text, number), _) => {
            taker.failed(mode, text, number);
            Outcome::Refused
        }
        _ => {
            let text = format!("the wrong error after {} µs", waited.as_micros());
            taker.failed(mode, text, None);
            Outcome::Refused
        }
    };
    me.ends(mode, outcome);
    if matches!(outcome, Outcome::Unreachable) {
        std::thread::sleep(PAUSE);
    }
}

/// Long enough that another participant gets in.
const A_WHILE: Duration = Duration::from_millis(20);

/// Does a faulty round, if the fault strikes now. False: it does not.
fn faulty(taker: &mut Taker, mode: Mode) -> bool {
    let Some(fault) = taker.fault else {
        return false;
    };
    let suits = match fault {
        Fault::Skip | Fault::Late | Fault::Hasty | Fault::Asleep => true,
        Fault::Slot => mode == Mode::Slots,
        Fault::Unmarked => mode == Mode::Rewrite,
        // In the rounds themselves.
        _ => false,
    };
    // A lost wake-up holds up all that queue behind it.
    let strikes = match fault {
        Fault::Asleep => taker.random.bool(),
        fault => taker.strikes(fault),
    };
    if !suits || !strikes {
        return false;
    }
    match fault {
        Fault::Unmarked => rewrite::without_the_lock(taker),
        Fault::Late => {
            let limit = Duration::from_millis(1).as_nanos() as u64;
            taker.me.ask(Inside::Exclusive, mode, Some(limit));
            sleep_for_ever()
        }
        Fault::Asleep => {
            taker.me.ask(Inside::Exclusive, mode, None);
            sleep_for_ever()
        }
        Fault::Hasty => hasty(taker, mode),
        _ => {
            taker.me.ask(Inside::Exclusive, mode, None);
            let me = taker.me;
            let mut tenure = Tenure::begin(me, mode, Inside::Exclusive, Held::Pretended, None);
            tenure.stay(A_WHILE);
            let _ = tenure.end();
        }
    }
    true
}

/// Gives up at once, and says that it has waited for a minute.
fn hasty(taker: &mut Taker, mode: Mode) {
    let Some(lock) = lock(taker, mode) else {
        return;
    };
    let wish = Wish {
        once: false,
        limit: Some(Duration::from_secs(60)),
        token: CancelToken::new(),
    };
    taker.me.ask(Inside::Exclusive, mode, wish.nanos());
    match lock.acquire(Request::exclusive().timeout(5 * A_WHILE)) {
        Ok(held) => work(taker, mode, Inside::Exclusive, held, false),
        Err(refusal) => ended(taker, mode, &wish, refusal),
    }
}
