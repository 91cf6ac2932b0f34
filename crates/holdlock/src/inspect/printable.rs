//! Names as they may be printed.
//!
//! Anybody may choose the bytes of a file name or a command line, and root reads them at a
//! terminal. A message has to stay one line, must not command the terminal, and has to read in
//! its own direction. So everything that is printed for people goes through this one filter.

use std::ffi::OsStr;
use std::fmt::{self, Write};
use std::os::unix::ffi::OsStrExt;

/// Shows a file name, a command line or another text of unknown origin for people.
///
/// Printable characters stay as they are, also letters of other scripts, spaces and
/// backslashes. Everything else is written as Rust writes it in a string: `\n`, `\t`, `\r`,
/// `\u{1b}`, and `\xff` for a byte that is not UTF-8. "Everything else" is what moves the cursor
/// or commands a terminal (C0, DEL, C1), breaks a line, turns the direction of writing, is
/// invisible (zero-width, tags, variation selectors, fillers), or has no known glyph.
///
/// A precision shortens the text in the middle to that many characters, the ellipsis included;
/// an escape is left out whole.
///
/// Text that was shown once is printable, and is shown the same again. The text cannot be read
/// back: a backslash may be the name's own.
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

/// So much of a path is shown in a sentence: longer ones are of no use to a reader.
pub(crate) const PATH_LENGTH: usize = 200;

/// A text as people may see it; see [`printable()`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Printable<'t>(&'t [u8]);

impl Printable<'_> {
    /// Whether nothing of it is escaped.
    pub fn is_plain(self) -> bool {
        self.ascii().is_some() || self.pieces().all(|piece| matches!(piece, Piece::Plain(_)))
    }

    /// The text, where it is plain for certain: nearly always, and told at once.
    fn ascii(&self) -> Option<&str> {
        let is_plain = self.0.iter().all(|byte| matches!(byte, b' '..=b'~'));
        std::str::from_utf8(self.0).ok().filter(|_| is_plain)
    }

    /// The begin, cut behind so many characters.
    pub(super) fn begin(self, most: usize) -> String {
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
            // A String takes everything.
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
        // The end of a path tells more than its begin.
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

/// What is printed or left out as a whole.
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

/// The standard library knows the characters with a glyph: those which `Debug` of a string does
/// not escape, as long as they are no quotes. It escapes a combining mark, too, unless a letter
/// precedes it.
fn is_printable(c: char) -> bool {
    if c.is_ascii() {
        return matches!(c, ' '..='~');
    }
    let mut pair = [b'a'; 5];
    let length = 1 + c.encode_utf8(&mut pair[1..]).len();
    let pair = std::str::from_utf8(&pair[..length]);
    !is_invisible(c) && pair.is_ok_and(|pair| pair.escape_debug().eq(pair.chars()))
}

/// Those that count as letters or marks, and show nothing: Default_Ignorable_Code_Point of
/// Unicode, but for the format characters, which have no glyph anyway.
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
    fn names_of_all_scripts_stay() {
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
    fn nothing_commands_turns_or_hides() {
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
    fn bytes_that_are_no_text_are_told() {
        let name = OsStr::from_bytes(b"a\xff\xc2\n\xe2\x80");
        assert_eq!(printable(name).to_string(), r"a\xff\xc2\n\xe2\x80");
        assert!(!printable(name).is_plain());
    }

    #[test]
    fn long_names_lose_their_middle() {
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
    fn a_begin_is_cut_between_escapes() {
        assert_eq!(printable("make all").begin(8), "make all");
        assert_eq!(printable("make all").begin(7), "make al…");
        assert_eq!(printable("a\x1bb").begin(6), "a…");
        assert_eq!(printable("a\x1bb").begin(7), "a\\u{1b}…");
    }
}
