//! Turns the bytes that a terminal sends into keys.

/// The keys that this program knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Char(char),
    Enter,
    Esc,
    Backspace,
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    Interrupt,
    Suspend,
    Redraw,
    Erase,
}

/// The bytes of a key that is not yet complete.
#[derive(Default)]
pub(super) struct Keys(Vec<u8>);

const ESC: u8 = 0x1b;

impl Keys {
    /// The keys that are complete with these bytes.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Vec<Key> {
        self.0.extend_from_slice(bytes);
        let mut keys = Vec::new();
        let mut at = 0;
        while let Some((length, key)) = first(&self.0[at..]) {
            keys.extend(key);
            at += length;
        }
        self.0.drain(..at);
        keys
    }

    /// Whether more bytes may follow: after a lone Esc, or after the beginning of an arrow key on a
    /// slow line.
    pub(super) fn is_incomplete(&self) -> bool {
        !self.0.is_empty()
    }

    /// No more bytes have arrived: a lone Esc is the key Esc.
    pub(super) fn complete(&mut self) -> Vec<Key> {
        let pending = std::mem::take(&mut self.0);
        if pending.first() == Some(&ESC) {
            vec![Key::Esc]
        } else {
            Vec::new()
        }
    }
}

/// The length of the first key in bytes, and the key if it is known. None: incomplete.
fn first(bytes: &[u8]) -> Option<(usize, Option<Key>)> {
    let key = match *bytes.first()? {
        ESC => return sequence(bytes),
        b'\r' | b'\n' => Key::Enter,
        0x7f | 0x08 => Key::Backspace,
        0x03 => Key::Interrupt,
        0x1a => Key::Suspend,
        0x0c => Key::Redraw,
        0x15 => Key::Erase,
        0..0x20 => return Some((1, None)),
        _ => return character(bytes),
    };
    Some((1, Some(key)))
}

/// `ESC [ … letter` or `ESC O letter`.
fn sequence(bytes: &[u8]) -> Option<(usize, Option<Key>)> {
    match bytes.get(1)? {
        b'[' => {
            let end = 2 + bytes[2..].iter().position(|b| (0x40..0x7f).contains(b))?;
            Some((end + 1, named(&bytes[2..end], bytes[end])))
        }
        b'O' => Some((3, named(&[], *bytes.get(2)?))),
        _ => Some((1, Some(Key::Esc))),
    }
}

fn named(parameters: &[u8], last: u8) -> Option<Key> {
    match (parameters, last) {
        (_, b'A') => Some(Key::Up),
        (_, b'B') => Some(Key::Down),
        (_, b'H') | (b"1" | b"7", b'~') => Some(Key::Home),
        (_, b'F') | (b"4" | b"8", b'~') => Some(Key::End),
        (b"5", b'~') => Some(Key::PageUp),
        (b"6", b'~') => Some(Key::PageDown),
        (_, b'M') => Some(Key::Enter),
        _ => None,
    }
}

fn character(bytes: &[u8]) -> Option<(usize, Option<Key>)> {
    let length = match bytes[0] {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 1,
    };
    let whole = bytes.get(..length)?;
    match std::str::from_utf8(whole) {
        Ok(text) => Some((length, text.chars().next().map(Key::Char))),
        Err(_) => Some((1, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_recognised() {
        let mut keys = Keys::default();
        let all = keys.feed("jä\r\x1b[A\x1bOB\x1b[5~\x1b[1;5H\x7f\x03\x1a\x07".as_bytes());
        let expected = [
            Key::Char('j'),
            Key::Char('ä'),
            Key::Enter,
            Key::Up,
            Key::Down,
            Key::PageUp,
            Key::Home,
            Key::Backspace,
            Key::Interrupt,
            Key::Suspend,
        ];
        assert_eq!(all, expected);
        assert!(!keys.is_incomplete());
    }

    #[test]
    fn what_comes_in_pieces_is_put_together() {
        let mut keys = Keys::default();
        assert_eq!(keys.feed(b"\x1b["), []);
        assert!(keys.is_incomplete());
        assert_eq!(keys.feed(b"B"), [Key::Down]);
        assert_eq!(keys.feed(b"\xc3"), []);
        assert_eq!(keys.feed(b"\xa4"), [Key::Char('ä')]);
        assert_eq!(keys.feed(b"\x1b"), []);
        assert_eq!(keys.complete(), [Key::Esc]);
    }

    #[test]
    fn rubbish_is_passed_over() {
        let mut keys = Keys::default();
        assert_eq!(
            keys.feed(b"\xff\xc3(\x1b[99xq"),
            [Key::Char('('), Key::Char('q')]
        );
        assert_eq!(keys.feed(b"\x1b\x1b"), [Key::Esc]);
    }
}
