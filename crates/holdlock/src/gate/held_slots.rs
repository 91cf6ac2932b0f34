//! Which slots the threads of this process hold by guards that cannot move to another thread: a
//! thread that holds all slots and asks for another one would wait for itself.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::gate::Occupant;
use crate::sys::fork::ForkCell;
use crate::sys::identity::Identity;

type Held = Vec<(Identity, Occupant)>;

static HELD: ForkCell<Mutex<Held>> = ForkCell::new();

fn held() -> MutexGuard<'static, Held> {
    let held = HELD.get_or_make(Mutex::default);
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A slot was acquired.
pub(crate) fn add(file: Identity, occupant: Occupant) {
    if occupant != Occupant::ANY {
        held().push((file, occupant));
    }
}

/// The slot was given back.
pub(crate) fn remove(file: Identity, occupant: Occupant) {
    if occupant != Occupant::ANY {
        let mut held = held();
        if let Some(at) = held.iter().position(|it| *it == (file, occupant)) {
            held.swap_remove(at);
        }
    }
}

/// How many slots of this file the calling thread holds.
pub(crate) fn by_this_thread(file: Identity) -> usize {
    let ours = (file, Occupant::this_thread());
    held().iter().filter(|it| **it == ours).count()
}
