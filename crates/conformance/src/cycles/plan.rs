//! The members of a program.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The time from the beginning of the wait until a member takes its way out.
pub const OUT_AFTER: Duration = Duration::from_millis(2500);

/// The kind of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A thread of the program itself, with `FileLock`s of its own.
    Thread,
    /// The same, with `FileLock`s that it shares with other threads.
    Sharing,
    /// A process with one thread.
    Process,
    /// A process that locks by bare system calls.
    Bare,
    /// flock(1), with a command that waits by flock(1).
    Flock,
    /// A process that has the lock, and a child that waits for the other lock.
    Parent,
    /// The same, with a further child.
    Parents,
}

/// Why a member does not wait for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WayOut {
    /// A time limit.
    Limit,
    /// A token that another thread cancels.
    Token,
    /// An alarm(2) whose handler ends the wait.
    Alarm,
    /// A callback that ends the wait when a signal comes.
    Callback,
    /// A child has inherited the lock and releases it.
    Heir,
    /// As `Heir`, but only one of the child's threads has the descriptor, if the kernel allows it.
    HeirThread,
    /// Another thread has the lock by a guard, and releases it.
    Guard,
    /// Another thread gets the guard and drops it.
    Owned,
    /// The lock was not taken through this library, and another thread releases it.
    Std,
    /// The parent waits for another child, not for the one that waits for the lock.
    Child,
}

const KINDS: [Kind; 7] = [
    Kind::Thread,
    Kind::Sharing,
    Kind::Process,
    Kind::Bare,
    Kind::Flock,
    Kind::Parent,
    Kind::Parents,
];

const WAYS: [WayOut; 10] = [
    WayOut::Limit,
    WayOut::Token,
    WayOut::Alarm,
    WayOut::Callback,
    WayOut::Heir,
    WayOut::HeirThread,
    WayOut::Guard,
    WayOut::Owned,
    WayOut::Std,
    WayOut::Child,
];

impl Kind {
    /// Whether it is a thread of the program itself.
    pub fn is_thread(self) -> bool {
        matches!(self, Kind::Thread | Kind::Sharing)
    }

    /// Whether it waits through this library.
    fn looks(self) -> bool {
        !matches!(self, Kind::Bare | Kind::Flock)
    }

    fn can(self, way: WayOut) -> bool {
        use WayOut::{Alarm, Child, Guard, Heir, HeirThread, Limit, Owned, Std, Token};
        match self {
            Kind::Thread | Kind::Sharing => matches!(way, Limit | Token | Guard | Owned | Std),
            Kind::Process => way != Child,
            Kind::Bare => matches!(way, Alarm | Heir | HeirThread | Std),
            Kind::Flock => way == Limit,
            Kind::Parent => false,
            Kind::Parents => way == Child,
        }
    }
}

/// One member. It has the lock of its number and waits for the lock of the next member.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// Its kind.
    pub kind: Kind,
    /// Why it does not wait for ever.
    pub way_out: Option<WayOut>,
}

/// A program.
#[derive(Debug)]
pub struct Plan {
    /// In the order of the cycle.
    pub members: Vec<Member>,
    /// The order in which they begin to wait, and the pause before each.
    pub order: Vec<(usize, Duration)>,
}

impl Plan {
    /// These members. They begin to wait in this order, one soon after the other.
    pub fn of(words: &[&str]) -> Plan {
        let members = words.iter().map(|word| word.parse().expect("a member"));
        let soon = Duration::from_millis(10);
        Plan {
            members: members.collect(),
            order: (0..words.len()).map(|member| (member, soon)).collect(),
        }
    }

    /// Draws a plan. `has_flock`: whether flock(1) may be a member.
    pub fn draw(seed: u64, goes_on: bool, has_flock: bool) -> Plan {
        let mut random = fastrand::Rng::with_seed(seed);
        loop {
            let count = random.usize(2..=4);
            let kind = |_| random.choice(KINDS).expect("there are some");
            let kinds: Vec<Kind> = (0..count).map(kind).collect();
            if !has_flock && kinds.contains(&Kind::Flock) || !kinds.iter().any(|kind| kind.looks())
            {
                continue;
            }
            let mut members: Vec<Member> = kinds
                .into_iter()
                .map(|kind| Member {
                    kind,
                    way_out: None,
                })
                .collect();
            if goes_on {
                let lucky = random.usize(0..count);
                let kind = members[lucky].kind;
                let ways: Vec<WayOut> = WAYS.into_iter().filter(|way| kind.can(*way)).collect();
                let Some(way) = random.choice(ways) else {
                    continue;
                };
                members[lucky].way_out = Some(way);
            }
            let mut order: Vec<usize> = (0..count).collect();
            random.shuffle(&mut order);
            let pause = |random: &mut fastrand::Rng| {
                let longest = random.choice([1, 20, 300, 900]).expect("one");
                Duration::from_millis(random.u64(0..=longest))
            };
            let order = order
                .into_iter()
                .map(|member| (member, pause(&mut random)))
                .collect();
            return Plan { members, order };
        }
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.way_out {
            Some(way) => write!(f, "{:?}/{way:?}", self.kind),
            None => write!(f, "{:?}", self.kind),
        }
    }
}

impl FromStr for Member {
    type Err = ();

    fn from_str(word: &str) -> Result<Member, ()> {
        let (kind, way) = word.split_once('/').unwrap_or((word, ""));
        let kind = KINDS.into_iter().find(|one| format!("{one:?}") == kind);
        let way_out = WAYS.into_iter().find(|one| format!("{one:?}") == way);
        Ok(Member {
            kind: kind.ok_or(())?,
            way_out,
        })
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let members: Vec<String> = self.members.iter().map(Member::to_string).collect();
        write!(f, "{}", members.join(" -> "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_and_every_way_out_is_drawn() {
        let plans: Vec<Plan> = (0..500).map(|seed| Plan::draw(seed, true, true)).collect();
        let drawn = |is_it: &dyn Fn(&Member) -> bool| {
            plans.iter().flat_map(|plan| &plan.members).any(is_it)
        };
        assert!(
            KINDS
                .iter()
                .all(|kind| drawn(&|member| member.kind == *kind))
        );
        assert!(
            WAYS.iter()
                .all(|way| drawn(&|member| member.way_out == Some(*way)))
        );
        let stuck = Plan::draw(7, false, true);
        assert!(stuck.members.iter().all(|member| member.way_out.is_none()));
    }

    #[test]
    fn members_are_passed_on_as_words() {
        for word in ["Thread", "Process/Alarm"] {
            assert_eq!(word.parse::<Member>().expect("one").to_string(), word);
        }
    }
}
