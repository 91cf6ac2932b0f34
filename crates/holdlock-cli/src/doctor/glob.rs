//! Patterns as fnmatch(3) has them, for paths: `*`, `?` and `[a-z]` stop at a slash, and
//! do not match a leading period.

/// Does the whole path match?
pub(super) fn matches(pattern: &[u8], path: &[u8]) -> bool {
    let mut patterns = pattern.split(|byte| *byte == b'/');
    let mut parts = path.split(|byte| *byte == b'/');
    loop {
        match (patterns.next(), parts.next()) {
            (None, None) => return true,
            (Some(pattern), Some(part)) if component(pattern, part) => {}
            _ => return false,
        }
    }
}

/// One part of a path. A star that took too little takes one more byte and the rest is
/// tried again: only the last star need ever be reconsidered.
fn component(pattern: &[u8], text: &[u8]) -> bool {
    if text.first() == Some(&b'.') && pattern.first() != Some(&b'.') {
        return false;
    }
    let (mut p, mut t) = (0, 0);
    let mut star = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p + 1, t));
            p += 1;
            continue;
        }
        if let Some(next) = one(&pattern[p..], text[t]) {
            p += next;
            t += 1;
            continue;
        }
        let Some((after, taken)) = star else {
            return false;
        };
        (p, t) = (after, taken + 1);
        star = Some((after, t));
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// The length of the pattern for one byte, if it matches this one.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match *pattern.first()? {
        b'?' => Some(1),
        b'[' => match class(pattern, byte) {
            Some((length, inside)) => inside.then_some(length),
            // Without its end it is a bracket like any other letter.
            None => (byte == b'[').then_some(1),
        },
        b'\\' => match pattern.get(1) {
            Some(escaped) => (*escaped == byte).then_some(2),
            None => (byte == b'\\').then_some(1),
        },
        literal => (literal == byte).then_some(1),
    }
}

/// `[abc]`, `[a-z]`, `[!a]`, `[^a]`; a bracket right after the opening one is a member.
fn class(pattern: &[u8], byte: u8) -> Option<(usize, bool)> {
    let negated = matches!(pattern.get(1), Some(b'!' | b'^'));
    let first = if negated { 2 } else { 1 };
    let end = first + 1 + pattern.get(first + 1..)?.iter().position(|b| *b == b']')?;
    let members = &pattern[first..end];
    let mut inside = false;
    let mut at = 0;
    while at < members.len() {
        if at + 2 < members.len() && members[at + 1] == b'-' {
            inside |= (members[at]..=members[at + 2]).contains(&byte);
            at += 3;
        } else {
            inside |= members[at] == byte;
            at += 1;
        }
    }
    Some((end + 1, inside != negated))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_fnmatch_has_them() {
        for (pattern, path, expected) in [
            ("/tmp", "/tmp", true),
            ("/tmp", "/tmp/x", false),
            ("/tmp/*", "/tmp/x", true),
            ("/tmp/*", "/tmp/x/y", false),
            ("/tmp/*", "/tmp/.x", false),
            ("/tmp/.X[0-9]*-lock", "/tmp/.X11-lock", true),
            ("/tmp/.X[0-9]*-lock", "/tmp/.Xa-lock", false),
            ("/a/*b*c", "/a/xbybzc", true),
            ("/a/*b*c", "/a/xbybz", false),
            ("/a/[!x]?", "/a/yz", true),
            ("/a/[^x]?", "/a/xz", false),
            ("/a/[]x]", "/a/]", true),
            ("/a/[x", "/a/[x", true),
            ("/a/\\*", "/a/*", true),
            ("/a/\\*", "/a/b", false),
            ("/a/**", "/a/", true),
            ("/a/\\", "/a/\\", true),
            ("", "", true),
        ] {
            let found = matches(pattern.as_bytes(), path.as_bytes());
            assert_eq!(found, expected, "{pattern} {path}");
        }
    }

    #[test]
    fn many_stars_take_no_time() {
        let (pattern, text) = ("*a".repeat(200) + "b", "a".repeat(4000));
        assert!(!matches(pattern.as_bytes(), text.as_bytes()));
    }
}
