//! Patterns for paths: fnmatch(3).
#![allow(unsafe_code)]

use std::ffi::CString;

/// Whether the whole path matches: `*`, `?` and `[a-z]` stop at a slash, and do not match a
/// leading period.
pub(crate) fn matches(pattern: &[u8], path: &[u8]) -> bool {
    let (Ok(pattern), Ok(path)) = (CString::new(pattern), CString::new(path)) else {
        // Neither a pattern nor a path has a NUL byte.
        return false;
    };
    let flags = libc::FNM_PATHNAME | libc::FNM_PERIOD;
    // SAFETY: both pointers are to strings that end with a NUL byte and that live until after the
    // call; fnmatch(3) only reads them.
    unsafe { libc::fnmatch(pattern.as_ptr(), path.as_ptr(), flags) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stop_at_a_slash_and_do_not_match_a_leading_period() {
        for (pattern, path, expected) in [
            ("/tmp", "/tmp", true),
            ("/tmp", "/tmp/x", false),
            ("/tmp/*", "/tmp/x", true),
            ("/tmp/*", "/tmp/x/y", false),
            ("/tmp/*", "/tmp/.x", false),
            ("/tmp/.X[0-9]*-lock", "/tmp/.X11-lock", true),
            ("/tmp/.X[0-9]*-lock", "/tmp/.Xa-lock", false),
            ("/a/[!x]?", "/a/yz", true),
            ("/a/\\*", "/a/*", true),
            ("/a/\\*", "/a/b", false),
            ("a\0", "a\0", false),
        ] {
            let found = matches(pattern.as_bytes(), path.as_bytes());
            assert_eq!(found, expected, "{pattern} {path}");
        }
    }
}
