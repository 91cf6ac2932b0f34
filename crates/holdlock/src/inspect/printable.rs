//! Makes names printable.
//!
//! Any user can choose the bytes of a file name or of a command line, and root may read them in a
//! terminal. A message must stay on one line, must not send commands to the terminal, and must keep
//! its direction of writing. This filter guarantees that, so everything that is printed for people
//! passes through it.

use std::ffi::OsStr;
use std::fmt::{self, Write};
use std::os::unix::ffi::OsStrExt;

/// Shows a file name, a command line or another text of unknown origin to people.
///
/// Printable characters stay unchanged: letters of all scripts, spaces and backslashes too. All
/// other characters appear as escapes in the form of a Rust string: `\n`, `\t`, `\r`, `\u{1b}`, and
/// `\xff` for a byte that is not UTF-8. These are the characters that move the cursor or command a
/// terminal (C0, DEL, C1), break a line, change the direction of writing, are invisible (zero-width
/// characters, tags, variation selectors, fillers), or have no known glyph.
///
/// A precision limits the number of characters. In a longer text, an ellipsis takes the place of
/// the middle, and counts too. An escape is shown completely or not at all.
///
/// Applying the function to its own output changes nothing. The original text cannot be restored
/// from the output, because a backslash may be part of the name.
///
/// ```
/// use holdlock::inspect::printable;
///
/// assert_eq!(printable("schlüssel 锁.lock").to_string(), "schlüssel 锁.lock");
/// assert_eq!(printable("a\x1b[2J\u{202e}b\n").to_string(), r"a\u{1b}[2J\u{202e}b\n");
/// assert_eq!(format!("{:.9}", printable("/srv/data/index.lock")), "/s…x.lock");
/// ```
pub fn printable<T: AsRef<OsStr> + ?Sized>(text: &T) -> Printable<'_> {
    Printable(text.as_ref().as_bytes())
}

/// The number of characters of a path that a message shows. More would not help the reader.
pub(crate) const PATH_LENGTH: usize = 200;

/// Displays a text in printable form; see [`printable()`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Printable<'t>(&'t [u8]);

impl Printable<'_> {
    /// Whether the text appears unchanged, without an escape.
    pub fn is_plain(self) -> bool {
        self.ascii().is_some() || self.pieces().all(|piece| matches!(piece, Piece::Plain(_)))
    }

    /// The text, if it is printable ASCII. Nearly every text is, and this check is quick.
    fn ascii(&self) -> Option<&str> {
        let is_plain = self.0.iter().all(|byte| matches!(byte, b' '..=b'~'));
        std::str::from_utf8(self.0).ok().filter(|_| is_plain)
    }

    /// The first `most` characters; an ellipsis marks a cut.
    pub(super) fn prefix(self, most: usize) -> String {
        if let Some(text) = self.ascii().filter(|text| text.len() <= most) {
            return text.to_owned();
        }
        let mut short = String::new();
        let mut used = 0;
        for piece in self.pieces() {
            used += piece.width();
            if used > most {
                short.push('…');
                break;
            }
            // Writing to a String cannot fail.
            let _ = write!(short, "{piece}");
        }
        short
    }

    fn pieces(self) -> impl Iterator<Item = Piece> {
        self.0.utf8_chunks().flat_map(|chunk| {
            let chars = chunk.valid().chars().map(Piece::of);
            chars.chain(chunk.invalid().iter().copied().map(Piece::Byte))
        })
    }
}

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let most = f.precision().unwrap_or(usize::MAX);
        if let Some(text) = self.ascii().filter(|text| text.len() <= most) {
            return f.write_str(text);
        }
        let all: usize = self.pieces().map(Piece::width).sum();
        if all <= most {
            return self.pieces().try_for_each(|piece| piece.fmt(f));
        }
        // The end of a path says more than its beginning.
        let head = most.saturating_sub(1) / 3;
        let tail = most.saturating_sub(1) - head;
        let (mut at, mut left_out) = (0, false);
        for piece in self.pieces() {
            if at + piece.width() <= head && !left_out || all - at <= tail {
                piece.fmt(f)?;
            } else if !left_out {
                f.write_char('…')?;
                left_out = true;
            }
            at += piece.width();
        }
        Ok(())
    }
}

/// A character, an escape or a byte: shown completely or not at all.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Piece {
    Plain(char),
    Escaped(char),
    Byte(u8),
}

impl Piece {
    fn of(c: char) -> Piece {
        if is_printable(c) {
            Piece::Plain(c)
        } else {
            Piece::Escaped(c)
        }
    }

    fn width(self) -> usize {
        match self {
            Piece::Plain(_) => 1,
            Piece::Escaped('\n' | '\t' | '\r') => 2,
            Piece::Escaped(c) => c.escape_unicode().len(),
            Piece::Byte(_) => 4,
        }
    }
}

impl fmt::Display for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Piece::Plain(c) => f.write_char(c),
            Piece::Escaped('\n') => f.write_str("\\n"),
            Piece::Escaped('\t') => f.write_str("\\t"),
            Piece::Escaped('\r') => f.write_str("\\r"),
            Piece::Escaped(c) => write!(f, "{}", c.escape_unicode()),
            Piece::Byte(byte) => write!(f, "\\x{byte:02x}"),
        }
    }
}

/// Uses what the standard library knows about glyphs: `Debug` of a string escapes the characters
/// without a glyph. It also escapes quotes, which are ASCII, and a combining mark without a letter
/// before it.
fn is_printable(c: char) -> bool {
    if c.is_ascii() {
        return matches!(c, ' '..='~');
    }
    let mut pair = [b'a'; 5];
    let length = 1 + c.encode_utf8(&mut pair[1..]).len();
    let pair = std::str::from_utf8(&pair[..length]);
    !is_invisible(c) && pair.is_ok_and(|pair| pair.escape_debug().eq(pair.chars()))
}

/// Whether the character counts as a letter or a mark but shows nothing. These are the characters
/// with Unicode's property Default_Ignorable_Code_Point, without the format characters, which have
/// no glyph and are escaped anyway.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{34f}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{ffa0}'
            | '\u{e0100}'..='\u{e01ef}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        printable(text).to_string()
    }

    #[test]
    fn names_of_all_scripts_are_unchanged() {
        for name in [
            r#"plain 'name' "quoted" \ $(x) <a>&"#,
            "schlüssel",
            "schlu\u{308}ssel",
            "锁 קובץ ملف ファイル",
            "🔒",
        ] {
            assert_eq!(shown(name), name);
            assert!(printable(name).is_plain());
        }
    }

    #[test]
    fn characters_that_command_turn_or_hide_are_escaped() {
        let ranges = [
            '\0'..='\u{1f}',
            '\u{7f}'..='\u{a0}',
            '\u{ad}'..='\u{ad}',
            '\u{61c}'..='\u{61c}',
            '\u{200b}'..='\u{200f}',
            '\u{2028}'..='\u{202e}',
            '\u{2060}'..='\u{206f}',
            '\u{3164}'..='\u{3164}',
            '\u{e000}'..='\u{e001}',
            '\u{fe00}'..='\u{fe0f}',
            '\u{feff}'..='\u{feff}',
            '\u{fff9}'..='\u{fffb}',
            '\u{fffe}'..='\u{ffff}',
            '\u{e0001}'..='\u{e01ef}',
        ];
        for c in ranges.into_iter().flatten() {
            let text = shown(&format!("a{c}b"));
            assert!(text.is_ascii() && !text.contains(c), "{text} for {c:?}");
            assert_eq!(shown(&text), text);
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_are_escaped() {
        let name = OsStr::from_bytes(b"a\xff\xc2\n\xe2\x80");
        assert_eq!(printable(name).to_string(), r"a\xff\xc2\n\xe2\x80");
        assert!(!printable(name).is_plain());
    }

    #[test]
    fn long_names_are_shortened_in_their_middle() {
        let name = format!("/begin/{}/end.lock", "x".repeat(300));
        let short = format!("{:.40}", printable(&name));
        assert!(short.starts_with("/begin/xx") && short.ends_with("xx/end.lock"));
        assert_eq!(short.chars().count(), 40);
        assert_eq!(format!("{:.40}", printable("/short")), "/short");
        for most in 0..20 {
            let cut = format!("{:.most$}", printable("\u{1b}\u{1b}\n\u{1b}x\u{1b}"));
            assert!(cut.chars().count() <= most.max(1), "{most}: {cut}");
            let whole = cut.replace("\\u{1b}", "").replace("\\n", "");
            assert!(!whole.contains(['u', 'n', '{']), "an escape is cut: {cut}");
        }
    }

    #[test]
    fn a_prefix_ends_between_escapes() {
        assert_eq!(printable("make all").prefix(8), "make all");
        assert_eq!(printable("make all").prefix(7), "make al…");
        assert_eq!(printable("a\x1bb").prefix(6), "a…");
        assert_eq!(printable("a\x1bb").prefix(7), "a\\u{1b}…");
    }
}
