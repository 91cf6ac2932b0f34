//! Tells boots of this machine apart.

use std::sync::atomic::{AtomicU64, Ordering};

use super::proc_file;

/// The first half of the kernel's random number of this boot; 0 if /proc does not show it.
pub(crate) fn boot_id() -> u64 {
    static KNOWN: AtomicU64 = AtomicU64::new(0);
    match KNOWN.load(Ordering::Relaxed) {
        0 => {
            let id = read().unwrap_or(0);
            KNOWN.store(id, Ordering::Relaxed);
            id
        }
        id => id,
    }
}

fn read() -> Option<u64> {
    let text = proc_file::read_text("/proc/sys/kernel/random/boot_id").ok()?;
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    u64::from_str_radix(digits.get(..16)?, 16).ok()
}
