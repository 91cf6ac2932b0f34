//! All gates of this process. They answer two questions: Does the waiting thread itself hold the
//! lock, through another `FileLock` on the same file? Which thread holds which lock, for the search
//! for deadlocks?

use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::gate::Gate;
use crate::gate::held_slots;
use crate::sys::fork::ForkCell;
use crate::sys::identity::Identity;
use crate::{Family, Mode};

type Gates = Vec<(Family, Weak<Gate>)>;

static GATES: ForkCell<Mutex<Gates>> = ForkCell::new();

/// Registers the gate of a new `FileLock`.
pub(crate) fn add(family: Family, gate: &Arc<Gate>) {
    let mut gates = gates().lock().unwrap_or_else(PoisonError::into_inner);
    // Gates that are gone are removed when the list is about to grow: adding stays cheap.
    if gates.len() == gates.capacity() {
        gates.retain(|(_, gate)| gate.strong_count() > 0);
    }
    gates.push((family, Arc::downgrade(gate)));
}

/// Whether the calling thread has a guard that cannot move to another thread, on the same file and
/// in a mode that excludes `mode`. Called only before a wait.
pub(crate) fn held_by_this_thread(
    file: Identity,
    family: Family,
    mode: Mode,
    except: &Gate,
) -> bool {
    // Holders of slots share the lock of flock(2).
    let shares = || family == Family::Flock && held_slots::by_this_thread(file) > 0;
    if mode == Mode::Exclusive && shares() {
        return true;
    }
    let gates: Vec<Arc<Gate>> = gates()
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .iter()
        .filter(|(other, _)| *other == family)
        .filter_map(|(_, gate)| gate.upgrade())
        .collect();
    gates.iter().any(|gate| {
        !std::ptr::eq(Arc::as_ptr(gate), except)
            && gate
                .file()
                .is_some_and(|other| other.identity() == file && other.is_ours())
            && gate.held_by_this_thread(mode)
    })
}

/// The gates of this process.
pub(crate) fn all() -> Vec<Arc<Gate>> {
    gates()
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .iter()
        .filter_map(|(_, gate)| gate.upgrade())
        .collect()
}

fn gates() -> &'static Mutex<Gates> {
    GATES.get_or_make(Mutex::default)
}
