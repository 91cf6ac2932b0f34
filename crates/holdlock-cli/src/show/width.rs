//! The number of terminal cells that a text takes, and texts cut to fit.

use unicode_width::UnicodeWidthStr;

/// The cells that a text takes.
pub(crate) fn cells(text: &str) -> usize {
    text.width()
}

/// The beginning of a text, in at most this many cells.
pub(crate) fn head(text: &str, most: usize) -> String {
    if cells(text) <= most {
        return text.to_owned();
    }
    match most {
        0 => String::new(),
        _ => format!("{}…", &text[..beginning(text, most - 1)]),
    }
}

/// The end of a text, in at most this many cells. For paths, whose end matters most.
pub(crate) fn tail(text: &str, most: usize) -> String {
    if cells(text) <= most {
        return text.to_owned();
    }
    match most {
        0 => String::new(),
        _ => format!("…{}", &text[end(text, most - 1)..]),
    }
}

/// The beginning and the end of a text, in at most this many cells. The end gets two thirds.
pub(crate) fn middle(text: &str, most: usize) -> String {
    if cells(text) <= most {
        return text.to_owned();
    }
    if most == 0 {
        return String::new();
    }
    let before = (most - 1) / 3;
    let (until, from) = (beginning(text, before), end(text, most - 1 - before));
    format!("{}…{}", &text[..until], &text[from..])
}

/// A text in exactly this many cells, cut or filled up at its end.
pub(crate) fn left(text: &str, room: usize) -> String {
    let text = head(text, room);
    let fill = " ".repeat(room.saturating_sub(cells(&text)));
    text + &fill
}

/// A text in exactly this many cells, cut at its end or filled up in front.
pub(crate) fn right(text: &str, room: usize) -> String {
    let text = head(text, room);
    " ".repeat(room.saturating_sub(cells(&text))) + &text
}

/// Where to cut a text so that the part before takes at most this many cells.
fn beginning(text: &str, most: usize) -> usize {
    let cuts = text.char_indices().map(|(at, _)| at);
    let fitting = cuts.take_while(|at| cells(&text[..*at]) <= most);
    fitting.last().unwrap_or(0)
}

/// Where to cut a text so that the part after takes at most this many cells.
fn end(text: &str, most: usize) -> usize {
    let mut cuts = text.char_indices().map(|(at, _)| at);
    cuts.find(|at| cells(&text[*at..]) <= most)
        .unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_at_the_end_in_front_or_in_the_middle() {
        assert_eq!(head("abcdef", 4), "abc…");
        assert_eq!(tail("abcdef", 4), "…def");
        assert_eq!(middle("/var/lib/a/b.lock", 12), "/va…a/b.lock");
        assert_eq!(middle("/var/lib/a/b.lock", 13), "/var…a/b.lock");
        for whole in [head("äöü", 3), tail("äöü", 3), middle("äöü", 3)] {
            assert_eq!(whole, "äöü");
        }
    }

    #[test]
    fn wide_characters_take_two_cells() {
        assert_eq!(cells("漢字"), 4);
        assert_eq!(
            (head("漢字漢字", 4), tail("漢字漢字", 4)),
            ("漢…".into(), "…字".into())
        );
        for room in 0..9 {
            for text in [head, tail, middle].map(|cut| cut("漢字漢字", room)) {
                assert!(cells(&text) <= room, "{room}: {text}");
            }
            assert_eq!(cells(&left("漢字漢字", room)), room);
            assert_eq!(cells(&right("漢", room)), room);
        }
    }
}
