//! Tells boots of this machine apart, and how its clock is shifted for this process.

use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use super::proc_file;

/// The first half of the kernel's random number of this boot; 0 if /proc does not show it.
pub(crate) fn boot_id() -> u64 {
    static KNOWN: AtomicU64 = AtomicU64::new(0);
    match KNOWN.load(Ordering::Relaxed) {
        0 => {
            let id = read_id().unwrap_or(0);
            KNOWN.store(id, Ordering::Relaxed);
            id
        }
        id => id,
    }
}

fn read_id() -> Option<u64> {
    let text = proc_file::read_text("/proc/sys/kernel/random/boot_id").ok()?;
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    u64::from_str_radix(digits.get(..16)?, 16).ok()
}

/// By how many microseconds the time namespace of this process puts CLOCK_BOOTTIME forward; 0 if
/// /proc does not show it.
///
/// Nearly every process is in the first time namespace, which shifts nothing. One readlink(2) shows
/// that; the shift of another namespace takes opening and reading a file.
pub(crate) fn boot_clock_offset() -> i64 {
    const UNKNOWN: i64 = i64::MIN;
    static KNOWN: AtomicI64 = AtomicI64::new(UNKNOWN);
    match KNOWN.load(Ordering::Relaxed) {
        UNKNOWN => {
            let offset = if is_in_first_time_namespace() {
                0
            } else {
                read_offset().unwrap_or(0)
            };
            KNOWN.store(offset, Ordering::Relaxed);
            offset
        }
        offset => offset,
    }
}

/// The name of the first time namespace is the same on every host: `TIME_NS_INIT_INO` of
/// linux/nsfs.h.
fn is_in_first_time_namespace() -> bool {
    std::fs::read_link("/proc/self/ns/time")
        .is_ok_and(|name| name == Path::new("time:[4026531834]"))
}

fn read_offset() -> Option<i64> {
    offset(&proc_file::read_text("/proc/self/timens_offsets").ok()?)
}

/// Reads `boottime SECONDS NANOSECONDS`. Only the seconds can be negative.
fn offset(text: &str) -> Option<i64> {
    let words = text
        .lines()
        .find_map(|line| line.strip_prefix("boottime"))?;
    let (seconds, nanoseconds) = words.trim().split_once(' ')?;
    let seconds: i64 = seconds.parse().ok()?;
    let nanoseconds: i64 = nanoseconds.trim().parse().ok()?;
    seconds
        .checked_mul(1_000_000)?
        .checked_add(nanoseconds / 1000)
}

#[cfg(test)]
mod tests {
    use super::offset;

    #[test]
    fn the_offset_of_the_clock_is_read_as_the_kernel_writes_it() {
        let text = |line| format!("monotonic           7         0\n{line}\n");
        for (line, is) in [
            ("boottime            0         0", Some(0)),
            ("boottime        86400 500000999", Some(86_400_500_000)),
            ("boottime           -1 250000000", Some(-750_000)),
            ("boottime            x         0", None),
            ("", None),
        ] {
            assert_eq!(offset(&text(line)), is, "{line}");
        }
    }
}
