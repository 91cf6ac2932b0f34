//! Keeping one lock: renewing it, noticing its loss before the engine frees it, giving it back.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use holdlock::Mode;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use super::leaving::{CallerSide, sides};
use crate::duration::spoken;
use crate::engine::{Session, Setback};
use crate::sys::clock::{BootTime, Timer};
use crate::sys::sentinel;
use crate::{Error, Loss, LostSignal};

/// How late the helper thread may wake up and still be on time. If it is later, the process was
/// stopped or the machine suspended: then the engine is asked before the lock counts as lost.
const ON_TIME: Duration = Duration::from_millis(250);
/// How long the engine may take to answer then.
const GRACE: Duration = Duration::from_secs(1);
/// How long a release may take in any case, and how long at most while the lock is held for
/// certain: an engine that chooses a new leader answers after some seconds.
const RELEASE: Duration = Duration::from_secs(2);
const RELEASE_HELD: Duration = Duration::from_secs(10);

/// How long a lock is valid after a confirmed message was sent. The margin is for clocks that run
/// at different rates.
fn valid(ttl: Duration) -> Duration {
    ttl.saturating_sub(margin(ttl))
}

fn margin(ttl: Duration) -> Duration {
    (ttl / 10).max(Duration::from_secs(1))
}

/// How long after a confirmed message the lock is renewed.
fn renewed(ttl: Duration) -> Duration {
    ttl / 3
}

/// How long a question whether the lock is held may take: a renewal can be under way, and the
/// engine can stand still while TCP lives.
pub(crate) fn answered(ttl: Duration) -> Duration {
    ttl.saturating_mul(2)
}

/// What the caller hears. If the program has closed our descriptors, each loss has that reason.
pub(crate) fn told(answer: Option<Result<(), Loss>>) -> Result<(), Loss> {
    match answer {
        Some(Ok(())) => Ok(()),
        Some(Err(loss)) if !sentinel::is_gone() => Err(loss),
        _ => Err(no_answer()),
    }
}

pub(crate) fn no_answer() -> Loss {
    Loss::unsure(match sentinel::is_gone() {
        true => sentinel::GONE,
        false => "the engine did not answer in time",
    })
}

/// A held lock, on the side of its guard.
pub(crate) struct Handle {
    pub(crate) held: Arc<Held>,
    /// When all of its copies are dropped, the lock is released.
    pub(crate) commands: UnboundedSender<Command>,
    _side: CallerSide,
}

/// What the helper thread tells the guard.
pub(crate) struct Held {
    pub(crate) mode: Mode,
    pub(crate) token: Option<u64>,
    pub(crate) ttl: Duration,
    /// How long the lock is valid after the moment at which it is renewed.
    pub(crate) reserve: Duration,
    pub(crate) lost: LostSignal,
    /// Why the engine has refused the last renewal, if it has.
    refusal: Mutex<Option<String>>,
    /// In nanoseconds of [`BootTime`]; 0 when the lock is definitely lost.
    deadline: AtomicU64,
}

impl Held {
    /// Until when the lock is held for certain.
    pub(crate) fn deadline(&self) -> BootTime {
        BootTime::from_nanos(self.deadline.load(Ordering::Acquire))
    }

    pub(crate) fn refusal(&self) -> Option<String> {
        let refusal = self.refusal.lock();
        refusal.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_refusal(&self, why: Option<String>) {
        let refusal = self.refusal.lock();
        *refusal.unwrap_or_else(PoisonError::into_inner) = why;
    }
}

/// What the guard asks for.
pub(crate) enum Command {
    Check(oneshot::Sender<Result<(), Loss>>),
    Release(oneshot::Sender<Result<(), Loss>>),
}

/// Keeps the lock from now on. Gives it back if that cannot be done: the engine would keep it until
/// its lease ends.
pub(crate) async fn begin<S: Session>(session: S, mode: Mode, lock: &str) -> Result<Handle, Error> {
    let opened = LostSignal::new().and_then(|lost| Ok((lost, Timer::new()?)));
    let (lost, timer) = match opened {
        Ok(both) => both,
        Err(error) => {
            let _ = tokio::time::timeout(RELEASE, session.release(RELEASE)).await;
            return Err(Error::Failed {
                lock: lock.to_owned(),
                operation: "opening a descriptor for the lock",
                why: format!("{error}; raise the limit of open files"),
            });
        }
    };
    let held = Arc::new(Held {
        mode,
        token: session.token(),
        ttl: session.ttl(),
        reserve: valid(session.ttl()).saturating_sub(renewed(session.ttl())),
        lost,
        refusal: Mutex::default(),
        deadline: AtomicU64::new(0),
    });
    let (commands, queue) = unbounded_channel();
    let mut keeping = Keeping::new(session.ttl(), held.clone());
    keeping.confirm(session.confirmed());
    if let Some(after) = session.first_renewal() {
        keeping.next = keeping.next.min(BootTime::now().plus(after));
    }
    let (side, helper_side) = sides();
    tokio::task::spawn_local(async move {
        keeping.keep(session, timer, queue).await;
        drop(helper_side);
    });
    Ok(Handle {
        held,
        commands,
        _side: side,
    })
}

/// One that asks whether the lock is held, and until when it waits for the answer.
type Asked = (BootTime, oneshot::Sender<Result<(), Loss>>);
type Renewal = Pin<Box<dyn Future<Output = Result<(), Setback>>>>;

struct Keeping {
    held: Arc<Held>,
    ttl: Duration,
    deadline: BootTime,
    next: BootTime,
    /// A renewal that was sent, and when.
    renewal: Option<(BootTime, Renewal)>,
    /// Those who want a renewal that begins from now on, and those who wait for the one under way
    /// or, if that told nothing, for the next one.
    asked: Vec<Asked>,
    asking: Vec<Asked>,
    /// Until when the engine may prove that the lock is held although the deadline has passed.
    grace: Option<BootTime>,
    fired: bool,
    setback: Option<String>,
}

impl Keeping {
    fn new(ttl: Duration, held: Arc<Held>) -> Keeping {
        Keeping {
            held,
            ttl,
            deadline: BootTime::now(),
            next: BootTime::now(),
            renewal: None,
            asked: Vec::new(),
            asking: Vec::new(),
            grace: None,
            fired: false,
            setback: None,
        }
    }

    /// The engine has answered a message that was sent at `sent`: it frees the lock a ttl later at
    /// the earliest.
    fn confirm(&mut self, sent: BootTime) {
        self.deadline = sent.plus(valid(self.ttl));
        self.next = sent.plus(renewed(self.ttl));
        self.grace = None;
        self.fired = false;
        self.setback = None;
        self.held.set_refusal(None);
        let deadline = self.deadline.as_nanos();
        self.held.deadline.store(deadline, Ordering::Release);
    }

    /// The renewal will be tried again.
    fn failed(&mut self, why: String, refusal: Option<String>) {
        self.next = BootTime::now().plus(self.ttl / 10);
        self.setback = Some(why);
        self.held.set_refusal(refusal);
    }

    async fn keep<S: Session>(
        mut self,
        session: S,
        timer: Timer,
        mut queue: UnboundedReceiver<Command>,
    ) {
        let loss = loop {
            let due = self.next.has_passed() || !self.asked.is_empty();
            if self.renewal.is_none() && due {
                self.asking.append(&mut self.asked);
                self.renewal = Some((BootTime::now(), Box::pin(session.renew())));
            }
            let wake = self.wake();
            tokio::select! {
                biased;
                loss = session.over() => break loss,
                (sent, result) = answer(&mut self.renewal) => {
                    self.renewal = None;
                    match result {
                        Ok(()) => self.confirm(sent),
                        Err(Setback::Lost(loss)) => break loss,
                        Err(Setback::Unclear(why)) => self.failed(why, None),
                        Err(Setback::Refused(why)) => self.failed(why.clone(), Some(why)),
                    }
                    self.tell_the_asking();
                }
                command = queue.recv() => match command {
                    Some(Command::Check(tell)) => {
                        self.asked.push((BootTime::now().plus(answered(self.ttl)), tell));
                    }
                    Some(Command::Release(tell)) => {
                        let _ = tell.send(self.release(session).await);
                        return;
                    }
                    None => {
                        let _ = self.release(session).await;
                        return;
                    }
                },
                () = session.nudged() => self.next = BootTime::now(),
                result = timer.until(wake.unwrap_or_else(BootTime::now)), if wake.is_some() => {
                    if let Err(error) = result {
                        self.fire(Loss::unsure(format!("the timer failed: {error}")));
                    }
                    self.look_at_deadline();
                    self.give_up();
                }
            }
        };
        self.renewal = None;
        drop(session);
        self.lose(&loss, &mut queue).await;
    }

    /// Answers those who asked before the renewal began that has just ended. While the lock is held
    /// for certain, they wait for one that tells more.
    fn tell_the_asking(&mut self) {
        let result = match &self.setback {
            None => Ok(()),
            Some(_) if !self.deadline.has_passed() => return,
            Some(why) => Err(Loss::unsure(why.clone())),
        };
        for (_, waiting) in self.asking.drain(..) {
            let _ = waiting.send(result.clone());
        }
    }

    /// When there is something to do, if nothing happens.
    fn wake(&self) -> Option<BootTime> {
        let renewal = self.renewal.is_none().then_some(self.next);
        let deadline = (!self.fired).then(|| self.grace.unwrap_or(self.deadline));
        let asked = self.asking.iter().chain(&self.asked);
        let asked = asked.map(|(until, _)| *until).min();
        [renewal, deadline, asked].into_iter().flatten().min()
    }

    /// Answers those who have waited long enough. The renewal goes on: its answer may still come.
    fn give_up(&mut self) {
        for asked in [&mut self.asking, &mut self.asked] {
            for (_, waiting) in asked.extract_if(.., |(until, _)| until.has_passed()) {
                let _ = waiting.send(Err(no_answer()));
            }
        }
    }

    fn look_at_deadline(&mut self) {
        let then = self.grace.unwrap_or(self.deadline);
        if self.fired || !then.has_passed() {
            return;
        }
        if self.grace.is_none() && then.elapsed() > ON_TIME {
            let (grace, freed) = (BootTime::now().plus(GRACE), then.plus(margin(self.ttl)));
            // The signal comes before the engine frees the lock, unless it is too late already.
            self.grace = Some(match freed.has_passed() {
                true => grace,
                false => grace.min(freed),
            });
            self.next = BootTime::now();
            return;
        }
        let silent = spoken(self.ttl);
        let why = match &self.setback {
            Some(why) => why.clone(),
            None => "the connection is silent".to_owned(),
        };
        self.fire(Loss::unsure(format!(
            "{why}; the engine frees a lock of which it hears nothing for {silent}"
        )));
    }

    fn fire(&mut self, loss: Loss) {
        self.fired = true;
        self.held.lost.fire(loss);
    }

    /// Answers those who ask, until the guard is dropped.
    async fn lose(mut self, loss: &Loss, queue: &mut UnboundedReceiver<Command>) {
        self.held.deadline.store(0, Ordering::Release);
        self.fire(loss.clone());
        for (_, waiting) in self.asking.drain(..).chain(self.asked.drain(..)) {
            let _ = waiting.send(Err(loss.clone()));
        }
        while let Some(command) = queue.recv().await {
            let (Command::Check(tell) | Command::Release(tell)) = command;
            let _ = tell.send(Err(loss.clone()));
        }
    }

    async fn release<S: Session>(self, session: S) -> Result<(), Loss> {
        // A renewal under way has to end before the connection says anything else.
        drop(self.renewal);
        self.held.deadline.store(0, Ordering::Release);
        let limit = self.deadline.remaining().clamp(RELEASE, RELEASE_HELD);
        match tokio::time::timeout(limit, session.release(limit)).await {
            Ok(result) => result,
            Err(_) => Err(Loss::unsure(format!(
                "the engine did not answer the release within {}",
                spoken(limit)
            ))),
        }
    }
}

/// The answer to the renewal; never ready without one.
async fn answer(renewal: &mut Option<(BootTime, Renewal)>) -> (BootTime, Result<(), Setback>) {
    match renewal {
        Some((sent, future)) => {
            let sent = *sent;
            (sent, future.await)
        }
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_look_gives_the_engine_no_time_after_it_has_freed_the_lock() {
        let ttl = Duration::from_secs(10);
        let held = Held {
            mode: Mode::Exclusive,
            token: None,
            ttl,
            reserve: Duration::ZERO,
            lost: LostSignal::new().expect("a descriptor"),
            refusal: Mutex::default(),
            deadline: AtomicU64::new(0),
        };
        let mut keeping = Keeping::new(ttl, Arc::new(held));
        let mut look = |late: Duration| {
            let now = BootTime::now().as_nanos();
            let sent = now - (valid(ttl) + late).as_nanos() as u64;
            keeping.confirm(BootTime::from_nanos(sent));
            keeping.look_at_deadline();
            let grace = keeping.grace.expect("some");
            grace.as_nanos() - now
        };
        // The engine frees it 600 ms later. A slow machine may look too late once.
        assert!((0..9).any(|_| look(Duration::from_millis(400)) <= 600_000_000));
        // It would have freed it some seconds ago, and may have kept it.
        let after = look(Duration::from_secs(5));
        assert!(after >= GRACE.as_nanos() as u64, "{after}");
    }
}
