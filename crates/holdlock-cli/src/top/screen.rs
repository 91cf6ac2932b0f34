//! Sends the grid of cells to the terminal: only the cells that differ from what the terminal
//! shows.

use std::fmt::Write;

use ratatui_core::buffer::{Buffer, Cell};
use ratatui_core::layout::Rect;
use ratatui_core::style::{Color, Modifier};

use super::text::ascii;
use crate::show::width::cells;

/// The content of the terminal, as far as it is known.
pub(super) struct Screen {
    shown: Buffer,
    /// The content is unknown: the size has changed, or another program has written to the
    /// terminal.
    unknown: bool,
    ascii: bool,
}

impl Screen {
    pub(super) fn new(ascii: bool) -> Screen {
        Screen {
            shown: Buffer::empty(Rect::ZERO),
            unknown: true,
            ascii,
        }
    }

    /// An empty grid to draw into.
    pub(super) fn blank((columns, rows): (u16, u16)) -> Buffer {
        Buffer::empty(Rect::new(0, 0, columns, rows))
    }

    /// Everything is written anew next time.
    pub(super) fn forget(&mut self) {
        self.unknown = true;
    }

    /// The bytes that make the terminal show this grid. Empty if it already does.
    pub(super) fn change(&mut self, mut next: Buffer) -> String {
        if self.ascii {
            to_ascii(&mut next);
        }
        let mut out = String::new();
        if self.unknown || self.shown.area() != next.area() {
            out.push_str("\x1b[0m\x1b[2J");
            self.shown = Buffer::empty(*next.area());
            self.unknown = false;
        }
        let mut pen = Pen::default();
        for (x, y, cell) in self.shown.diff_iter(&next) {
            pen.put(&mut out, x, y, cell);
        }
        if pen.styled {
            out.push_str("\x1b[0m");
        }
        self.shown = next;
        out
    }
}

/// The position of the cursor, and the style in which it writes.
#[derive(Default)]
struct Pen {
    at: Option<(u16, u16)>,
    style: (Color, Modifier),
    styled: bool,
}

impl Pen {
    fn put(&mut self, out: &mut String, x: u16, y: u16, cell: &Cell) {
        // Writing to a String cannot fail.
        if self.at != Some((x, y)) {
            let _ = write!(out, "\x1b[{};{}H", y + 1, x + 1);
        }
        if self.style != (cell.fg, cell.modifier) {
            self.style = (cell.fg, cell.modifier);
            self.styled = true;
            out.push_str("\x1b[0");
            let _ = write!(out, "{}", manner(cell.fg, cell.modifier));
            out.push('m');
        }
        out.push_str(cell.symbol());
        // Terminals disagree about the width of some characters, but not of these.
        self.at = cell.symbol().is_ascii().then_some((x + 1, y));
    }
}

fn manner(color: Color, modifier: Modifier) -> String {
    let mut text = String::new();
    let codes = [
        (Modifier::BOLD, ";1"),
        (Modifier::DIM, ";2"),
        (Modifier::UNDERLINED, ";4"),
        (Modifier::REVERSED, ";7"),
    ];
    for (flag, code) in codes {
        if modifier.contains(flag) {
            text.push_str(code);
        }
    }
    text.push_str(match color {
        Color::Red => ";31",
        Color::Yellow => ";33",
        Color::Cyan => ";36",
        _ => "",
    });
    text
}

fn to_ascii(buffer: &mut Buffer) {
    for cell in &mut buffer.content {
        let plain = ascii(cell.symbol());
        if plain != cell.symbol() {
            let plain = plain.to_owned();
            cell.set_symbol(&plain);
        }
    }
}

/// The grid as lines of text, without the manner and without spaces at their ends.
pub(super) fn as_text(mut buffer: Buffer, ascii: bool) -> String {
    if ascii {
        to_ascii(&mut buffer);
    }
    let area = *buffer.area();
    let mut text = String::new();
    for y in 0..area.height {
        let mut line = String::new();
        let mut covered = 0;
        for x in 0..area.width {
            // The second half of a wide character has no symbol of its own.
            if covered > 0 {
                covered -= 1;
                continue;
            }
            let symbol = buffer[(x, y)].symbol();
            covered = cells(symbol).saturating_sub(1);
            line.push_str(symbol);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui_core::style::Style;

    fn buffer(text: &str, style: Style) -> Buffer {
        let mut buffer = Screen::blank((10, 2));
        buffer.set_stringn(0, 1, text, 10, style);
        buffer
    }

    #[test]
    fn only_changes_are_written() {
        let mut screen = Screen::new(false);
        let first = screen.change(buffer("abc", Style::new()));
        assert_eq!(first, "\x1b[0m\x1b[2J\x1b[2;1Habc");
        assert_eq!(screen.change(buffer("abc", Style::new())), "");
        assert_eq!(screen.change(buffer("abd", Style::new())), "\x1b[2;3Hd");
        screen.forget();
        assert!(screen.change(buffer("abd", Style::new())).ends_with("Habd"));
    }

    #[test]
    fn the_manner_ends_where_the_text_ends() {
        let mut screen = Screen::new(false);
        let style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
        let out = screen.change(buffer("a", style));
        assert!(out.ends_with("\x1b[2;1H\x1b[0;1;31ma\x1b[0m"), "{out:?}");
    }

    #[test]
    fn ascii_terminals_get_ascii() {
        let mut screen = Screen::new(true);
        let out = screen.change(buffer("≥1 …漢x", Style::new()));
        assert!(out.is_ascii(), "{out:?}");
        let text = as_text(buffer("≥1 …漢x", Style::new()), true);
        assert_eq!(text, "\n>1 ~? x\n");
        assert_eq!(as_text(buffer("漢x", Style::new()), false), "\n漢x\n");
    }
}
