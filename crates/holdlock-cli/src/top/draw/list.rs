//! The list of locked files.

use ratatui_core::buffer::Buffer;
use ratatui_core::layout::Rect;
use ratatui_core::style::Style;

use super::{Row, Theme, plain, put, waited};
use crate::show::job::brief;
use crate::show::width::{cells, head, left, right, tail};
use crate::top::app::App;
use crate::top::model::{File, Host};
use crate::top::sort::{Column, chosen};

/// The columns with a fixed width.
const WAITERS: usize = 5;
const LONGEST: usize = 8;
const KIND: usize = 8;
const PID: usize = 7;
const USER: usize = 8;

pub(super) fn draw(buffer: &mut Buffer, body: Rect, app: &mut App, host: &Host, theme: Theme) {
    let files = chosen(host, &app.choice);
    let room = usize::from(body.width);
    // The chosen file in full below the list, if there is room.
    let details = u16::from(body.height >= 8) * 2;
    let rows = body.height.saturating_sub(1 + details);
    app.page = usize::from(rows);
    app.first = visible(app.first, app.row, app.page, files.len());
    put(buffer, body.y, &titles(app, room, theme));
    let shown = files.iter().enumerate().skip(app.first);
    for (y, (number, file)) in (body.y + 1..body.y + 1 + rows).zip(shown) {
        put(buffer, y, &row(file, host, room, theme));
        if number == app.row {
            let line = Rect::new(0, y, body.width, 1);
            buffer.set_style(line, theme.chosen());
        }
    }
    if files.is_empty() && rows > 0 {
        put(buffer, body.y + 1, &plain(nothing(app, host)));
    }
    if details > 0 {
        let below = body.bottom() - details;
        let chosen = files.get(app.row).copied();
        for (y, text) in (below..).zip(in_full(chosen, host, room)) {
            put(buffer, y, &plain(text));
        }
    }
}

/// The first row to show so that the chosen one is on the screen.
fn visible(first: usize, row: usize, page: usize, length: usize) -> usize {
    let first = first.min(row).min(length.saturating_sub(page));
    first.max((row + 1).saturating_sub(page.max(1)))
}

fn nothing(app: &App, host: &Host) -> &'static str {
    if host.files.is_empty() {
        "No lock can be seen."
    } else if app.choice.text.is_empty() {
        "No process waits. w: show all locks."
    } else {
        "No lock has this text. Esc: show all locks."
    }
}

/// The widths of the columns. One without a width is left out.
struct Widths {
    longest: usize,
    kind: usize,
    user: usize,
    command: usize,
    path: usize,
}

impl Widths {
    /// The least width of the holder's command and of the path on a narrow screen.
    const LEAST: usize = 24;

    fn of(room: usize) -> Widths {
        let mut widths = Widths {
            longest: LONGEST,
            kind: KIND,
            user: USER,
            command: 0,
            path: 0,
        };
        // Two more are always shown, with a gap before each of the last three.
        let rest = |widths: &Widths| {
            let optional = [widths.longest, widths.kind, widths.user];
            let shown = optional.iter().filter(|width| **width > 0);
            let taken = shown.map(|width| width + 1).sum::<usize>();
            room.saturating_sub(WAITERS + PID + 3 + taken)
        };
        for leave_out in [
            |widths: &mut Widths| widths.user = 0,
            |widths: &mut Widths| widths.longest = 0,
            |widths: &mut Widths| widths.kind = 0,
        ] {
            if rest(&widths) < Widths::LEAST {
                leave_out(&mut widths);
            }
        }
        let rest = rest(&widths);
        widths.command = rest * 2 / 5;
        widths.path = rest - widths.command;
        widths
    }
}

/// The cells that have a width, with a blank between them.
fn joined(cells: &[(String, usize)]) -> String {
    let shown = cells.iter().filter(|(_, width)| *width > 0);
    let shown: Vec<&str> = shown.map(|(cell, _)| cell.as_str()).collect();
    shown.join(" ")
}

fn titles(app: &App, room: usize, theme: Theme) -> Row {
    let widths = Widths::of(room);
    let mark = |this: Column, title: &str| {
        let mark = match app.choice.reversed {
            _ if app.choice.column != this => "",
            false => "▼",
            true => "▲",
        };
        format!("{title}{mark}")
    };
    let at_left = |title: &str, width| (left(title, width), width);
    let at_right = |title: &str, width| (right(title, width), width);
    let text = joined(&[
        at_right(&mark(Column::Waiters, "WAIT"), WAITERS),
        at_right(&mark(Column::Longest, "LONGEST"), widths.longest),
        at_left(&mark(Column::Kind, "LOCK"), widths.kind),
        at_right("PID", PID),
        at_left("USER", widths.user),
        at_left(&mark(Column::Holder, "HOLDER"), widths.command),
        at_left(&mark(Column::Path, "PATH"), widths.path),
    ]);
    vec![(text, theme.columns())]
}

fn row(file: &File, host: &Host, room: usize, theme: Theme) -> Row {
    let widths = Widths::of(room);
    let waits = match file.waiters.len() {
        0 => "–".to_owned(),
        number => number.to_string(),
    };
    let longest = file.longest().map(|since| waited(since, host));
    let longest = longest.unwrap_or_default();
    let (pid, user, holder) = holder(file, widths.command);
    let style = if file.waiters.is_empty() {
        Style::new()
    } else {
        theme.waiting()
    };
    let numbers = joined(&[
        (right(&waits, WAITERS), WAITERS),
        (right(&longest, widths.longest), widths.longest),
    ]);
    let rest = joined(&[
        (left(&file.kind(), widths.kind), widths.kind),
        (right(&pid, PID), PID),
        (left(&user, widths.user), widths.user),
        (left(&holder, widths.command), widths.command),
        (tail(&file.path, widths.path), widths.path),
    ]);
    vec![(numbers, style), (format!(" {rest}"), Style::new())]
}

/// Pid, user and command of the first holder, and the number of other holders.
fn holder(file: &File, room: usize) -> (String, String, String) {
    let Some((who, more)) = file.holder() else {
        return ("?".into(), "?".into(), "unknown".into());
    };
    let command = match more {
        0 => brief(&who.command).to_owned(),
        more => {
            let more = format!(" +{more}");
            let room = room.saturating_sub(cells(&more));
            format!("{}{more}", head(brief(&who.command), room))
        }
    };
    (who.pid.to_string(), who.user.clone(), command)
}

/// Path and command of the chosen file; without one, what cannot be seen.
fn in_full(file: Option<&File>, host: &Host, room: usize) -> [String; 2] {
    let path = file.map_or_else(String::new, |file| tail(&file.path, room));
    let below = match (host.unseen.first(), file.and_then(File::holder)) {
        (Some(unseen), None) => unseen.clone(),
        (_, Some((who, _))) => format!("held by {} ({})", who.pid, who.command),
        (None, None) => String::new(),
    };
    [path, below]
}
