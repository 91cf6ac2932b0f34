//! Proof of holding all locks of a set.

use std::fmt;
use std::ops::Index;

use super::sealed::Held;
use crate::Error;

/// Holds the locks of a [`LockSet`](crate::LockSet) until dropped. Dropping releases them in the
/// reverse order of their acquisition and ignores errors; [`release`](SetGuard::release) reports
/// them.
///
/// `G` is [`Guard`](crate::Guard), or [`OwnedGuard`](crate::OwnedGuard) after
/// [`acquire_owned`](crate::LockSet::acquire_owned). `guard[2]` is the guard of the third member.
#[must_use = "the locks are released when the guard is dropped"]
pub struct SetGuard<G> {
    /// In the order of acquisition, each file once.
    guards: Vec<G>,
    /// For each member the number of its guard.
    of_member: Vec<usize>,
}

impl<G> SetGuard<G> {
    pub(super) fn new(guards: Vec<G>, of_member: Vec<usize>) -> SetGuard<G> {
        SetGuard { guards, of_member }
    }

    /// The guard of the member with this number, counted from 0 in the order of
    /// [`LockSet::new`](crate::LockSet::new). Members that are one file have the same guard.
    pub fn get(&self, member: usize) -> Option<&G> {
        self.guards.get(*self.of_member.get(member)?)
    }

    /// The guards, one for each file, in the order of acquisition.
    pub fn guards(&self) -> &[G] {
        &self.guards
    }

    /// The guards, one for each file, to release one by one.
    pub fn into_guards(mut self) -> Vec<G> {
        std::mem::take(&mut self.guards)
    }

    /// Releases all locks, and reports the first error.
    ///
    /// # Errors
    ///
    /// Those of [`Guard::release`](crate::Guard::release). All locks are released in any case.
    pub fn release(mut self) -> Result<(), Error>
    where
        G: Held,
    {
        let mut result = Ok(());
        while let Some(guard) = self.guards.pop() {
            result = result.and(guard.release());
        }
        result
    }
}

impl<G> Drop for SetGuard<G> {
    fn drop(&mut self) {
        while let Some(guard) = self.guards.pop() {
            drop(guard);
        }
    }
}

impl<G> Index<usize> for SetGuard<G> {
    type Output = G;

    /// # Panics
    ///
    /// If the set has no member with this number; [`get`](SetGuard::get) does not panic.
    fn index(&self, member: usize) -> &G {
        &self.guards[self.of_member[member]]
    }
}

impl<G: fmt::Debug> fmt::Debug for SetGuard<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SetGuard").field(&self.guards).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// Notes its number when it is dropped.
    struct Noting<'n>(u32, &'n RefCell<Vec<u32>>);

    impl Drop for Noting<'_> {
        fn drop(&mut self) {
            self.1.borrow_mut().push(self.0);
        }
    }

    impl Held for Noting<'_> {
        fn release(self) -> Result<(), Error> {
            Ok(())
        }

        fn release_abandoned(self) -> Result<(), Error> {
            Ok(())
        }

        fn record(&mut self, _: Option<&str>) -> Result<(), Error> {
            Ok(())
        }
    }

    #[test]
    fn locks_are_released_in_the_reverse_order() {
        let noted = RefCell::new(Vec::new());
        let guard = || {
            let guards = [1, 2, 3].map(|number| Noting(number, &noted));
            SetGuard::new(guards.into(), vec![0, 1, 2])
        };
        drop(guard());
        guard().release().expect("released");
        assert_eq!(*noted.borrow(), [3, 2, 1, 3, 2, 1]);
    }
}
