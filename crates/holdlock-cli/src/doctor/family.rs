//! The two families of locks that are tried: their names for machines and for people.

use holdlock::Family;

pub(super) const FAMILIES: [Family; 2] = [Family::Flock, Family::Ofd];

/// The name in the identifiers of findings and in the orders to a partner.
pub(super) fn name(family: Family) -> &'static str {
    match family {
        Family::Flock => "flock",
        _ => "ofd",
    }
}

/// The name for people.
pub(super) fn title(family: Family) -> &'static str {
    match family {
        Family::Flock => "flock",
        _ => "OFD",
    }
}

pub(super) fn named(word: &str) -> Option<Family> {
    FAMILIES.into_iter().find(|family| name(*family) == word)
}
