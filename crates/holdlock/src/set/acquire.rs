//! Acquires several locks without holding one of them while it sleeps for another.

use std::time::{Duration, Instant};

use super::sealed::Held;
use super::{Member, SetGuard};
use crate::request::{Limit, Terms, Waiting};
use crate::sys::identity::Identity;
use crate::{Error, FileLock, Mode};

/// The beginning of a round.
enum Begin {
    /// With the first member in the order.
    Anywhere,
    /// With this member, which has to be acquired before the others.
    With(usize),
    /// With a wait for this member.
    WaitFor(usize),
}

/// Why a round ended without all locks.
enum Obstacle {
    /// This member is not free.
    Busy(usize, Error),
    /// This member has to come first. Its file is locked by another name, but only shared; or the
    /// file that was opened for it is locked by another name, and is no longer at its path.
    NotFirst(usize),
}

/// How often a member's file may turn out to be another one before the member counts as busy.
const MAX_RESTARTS: u32 = 100;

/// Acquires all members by `take`, or none.
pub(super) fn all<'s, G: Held>(
    members: &'s [Member],
    terms: Terms<'_>,
    take: impl Fn(&'s FileLock, Terms<'_>) -> Result<G, Error>,
) -> Result<SetGuard<G>, Error> {
    let mut waits = Waits {
        terms,
        began: None,
        reported: false,
    };
    let mut begin = Begin::Anywhere;
    let mut restarts = 0;
    loop {
        let mut round = Round::new(members);
        let tried = match begin {
            Begin::Anywhere => Ok(()),
            Begin::With(number) => round.attempt(number, &waits, &take),
            Begin::WaitFor(number) => {
                let guard = waits.wait_for(number, &members[number], &take)?;
                round.add(number, guard);
                Ok(())
            }
        };
        let obstacle = match tried.and_then(|()| round.attempt_all(&waits, &take)) {
            Ok(()) => return round.finish(waits.terms.note),
            Err(obstacle) => obstacle,
        };
        drop(round); // before the wait
        begin = match obstacle {
            Obstacle::NotFirst(number) if restarts < MAX_RESTARTS => {
                restarts += 1;
                Begin::With(number)
            }
            Obstacle::NotFirst(number) => Begin::WaitFor(number),
            Obstacle::Busy(number, error) if waits.may_wait() && error.is_conflict() => {
                Begin::WaitFor(number)
            }
            Obstacle::Busy(_, error) => return Err(error),
        };
    }
}

/// The locks that are held at a time.
struct Round<'s, G> {
    members: &'s [Member],
    guards: Vec<G>,
    /// For each guard its member.
    owners: Vec<usize>,
    /// For each member the number of its guard.
    of_member: Vec<Option<usize>>,
}

impl<'s, G: Held> Round<'s, G> {
    fn new(members: &'s [Member]) -> Round<'s, G> {
        Round {
            members,
            guards: Vec::with_capacity(members.len()),
            owners: Vec::with_capacity(members.len()),
            of_member: vec![None; members.len()],
        }
    }

    fn add(&mut self, member: usize, guard: G) {
        self.of_member[member] = Some(self.guards.len());
        self.guards.push(guard);
        self.owners.push(member);
    }

    fn attempt_all(
        &mut self,
        waits: &Waits<'_>,
        take: &impl Fn(&'s FileLock, Terms<'_>) -> Result<G, Error>,
    ) -> Result<(), Obstacle> {
        for number in order(self.members) {
            if self.of_member[number].is_none() {
                self.attempt(number, waits, take)?;
            }
        }
        Ok(())
    }

    fn attempt(
        &mut self,
        number: usize,
        waits: &Waits<'_>,
        take: &impl Fn(&'s FileLock, Terms<'_>) -> Result<G, Error>,
    ) -> Result<(), Obstacle> {
        if self.is_held_by_another_name(number)? {
            return Ok(());
        }
        let member = &self.members[number];
        match take(&member.lock, waits.for_an_attempt(member.mode)) {
            Ok(guard) => {
                self.add(number, guard);
                Ok(())
            }
            // The attempt may have opened the file anew, and found that it is one of ours.
            Err(error) if error.is_conflict() && self.is_held_by_another_name(number)? => Ok(()),
            Err(error) => Err(Obstacle::Busy(number, error)),
        }
    }

    /// Whether one of the guards holds the file of this member, which then uses that guard.
    fn is_held_by_another_name(&mut self, number: usize) -> Result<bool, Obstacle> {
        let member = &self.members[number];
        let family = member.lock.options().family;
        let Some(file) = member.identity() else {
            return Ok(false);
        };
        let Some(guard) = self.owners.iter().position(|owner| {
            let owner = &self.members[*owner];
            owner.identity() == Some(file) && owner.lock.options().family == family
        }) else {
            return Ok(false);
        };
        let holder = &self.members[self.owners[guard]];
        let is_too_weak = member.mode == Mode::Exclusive && holder.mode == Mode::Shared;
        let is_elsewhere = member.lock.name().identity().ok() != Some(file);
        if is_too_weak || is_elsewhere {
            return Err(Obstacle::NotFirst(number));
        }
        self.of_member[number] = Some(guard);
        Ok(true)
    }

    /// All members are held. The records are written only now: a set that gives a lock back has not
    /// done its work, and must not be taken for the holder that saw what the last one left.
    fn finish(mut self, note: Option<&str>) -> Result<SetGuard<G>, Error> {
        let recorded = self
            .guards
            .iter_mut()
            .try_for_each(|guard| guard.record(note));
        if let Err(error) = recorded {
            for guard in self.guards.into_iter().rev() {
                let _ = guard.release_abandoned();
            }
            return Err(error);
        }
        let of_member = self.of_member.into_iter().flatten().collect();
        Ok(SetGuard::new(self.guards, of_member))
    }
}

impl Member {
    fn identity(&self) -> Option<Identity> {
        self.lock.identity()
    }
}

/// The order in which sets try their members: if all sets have the same order, one of those that
/// compete gets all its locks. Of the members that are one file, the one whose lock is held for all
/// of them comes first.
fn order(members: &[Member]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..members.len()).collect();
    order.sort_by_cached_key(|number| {
        let member = &members[*number];
        let file = member.identity().map(|file| (file.device, file.inode));
        let shared = member.mode == Mode::Shared;
        (file.is_none(), file, shared, !member.lock.options().fair)
    });
    order
}

/// The waits of one request for a set.
struct Waits<'r> {
    terms: Terms<'r>,
    /// When the first member was found not to be free.
    began: Option<Instant>,
    /// The callback was told that the wait has begun.
    reported: bool,
}

impl Waits<'_> {
    fn for_an_attempt(&self, mode: Mode) -> Terms<'_> {
        Terms {
            mode,
            limit: if self.may_wait() {
                Limit::Never
            } else {
                self.terms.limit
            },
            cancel: None,
            on_wait: None,
            may_wait_for_ever: false,
            note: None,
            records_later: true,
            had_its_turn: self.began.is_some(),
            waits_later: self.terms.waits_later,
        }
    }

    fn may_wait(&self) -> bool {
        !matches!(self.terms.limit, Limit::Never | Limit::For(Duration::ZERO))
    }

    /// How long a wait that begins now may take: one time limit is for all waits.
    fn limit(&self, began: Instant) -> Limit {
        match self.terms.limit {
            // An instant that the clock cannot represent means no deadline.
            Limit::For(limit) if self.may_wait() => {
                let deadline = began.checked_add(limit);
                deadline.map_or(Limit::Forever, Limit::Until)
            }
            limit => limit,
        }
    }

    /// Waits for one member, while no other one is held.
    fn wait_for<'s, G>(
        &mut self,
        number: usize,
        member: &'s Member,
        take: &impl Fn(&'s FileLock, Terms<'_>) -> Result<G, Error>,
    ) -> Result<G, Error> {
        let began = *self.began.get_or_insert_with(Instant::now);
        let limit = self.limit(began);
        let reported = &mut self.reported;
        let mut told = self.terms.on_wait.as_mut().map(|callback| {
            |event| {
                if event != Waiting::Began {
                    return callback(event);
                }
                if !std::mem::replace(reported, true) {
                    callback(Waiting::Began)?;
                }
                callback(Waiting::For(number))
            }
        });
        let terms = Terms {
            mode: member.mode,
            limit,
            cancel: self.terms.cancel,
            on_wait: told.as_mut().map(|told| told as _),
            may_wait_for_ever: self.terms.may_wait_for_ever,
            note: None,
            records_later: true,
            had_its_turn: false,
            waits_later: self.terms.waits_later,
        };
        take(&member.lock, terms).map_err(|error| error.after(began.elapsed()))
    }
}
