//! Text in XML, of which SVG is made.

use super::text::printable;

/// A text between tags or in an attribute's quotes. Control characters, which no XML can carry,
/// are escaped as for people.
pub(crate) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in printable(text).chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            // Not for the sake of tags: `]]>` must not stand in a text.
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_text() {
        assert_eq!(
            escaped("<a href=\"x\">&]]>\u{ffff}\x1b"),
            "&lt;a href=&quot;x&quot;&gt;&amp;]]&gt;\\u{ffff}\\u{1b}"
        );
    }
}
