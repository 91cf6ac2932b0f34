//! The pictures: each file draws one view into a grid of cells of any size.

mod graph;
mod help;
mod list;
mod queue;

use std::time::{Instant, SystemTime};

use ratatui_core::buffer::Buffer;
use ratatui_core::layout::Rect;
use ratatui_core::style::{Color, Modifier, Style};

use super::app::{App, View};
use super::model::Host;
use super::text::age;
use crate::show::width::{cells, head};
use crate::sys::local_time;

/// The styles of the picture; without colours if NO_COLOR is set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Theme {
    pub(super) color: bool,
}

impl Theme {
    fn of(self, color: Color) -> Style {
        if self.color {
            Style::new().fg(color)
        } else {
            Style::new()
        }
    }

    fn alarm(self) -> Style {
        self.of(Color::Red).add_modifier(Modifier::BOLD)
    }

    fn waiting(self) -> Style {
        self.of(Color::Yellow)
    }

    fn title(self) -> Style {
        self.of(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    fn columns(self) -> Style {
        Style::new().add_modifier(Modifier::UNDERLINED)
    }

    fn chosen(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }
}

/// A row of text in parts, each with its own style.
type Row = Vec<(String, Style)>;

fn plain(text: impl Into<String>) -> Row {
    vec![(text.into(), Style::new())]
}

/// The whole picture.
pub(super) fn draw(buffer: &mut Buffer, app: &mut App, host: &Host, theme: Theme) {
    let area = *buffer.area();
    if area.height == 0 || area.width == 0 {
        return;
    }
    header(buffer, app, host, theme);
    let body = Rect {
        y: area.y + 1,
        // On a tiny screen the line of keys is left out first.
        height: area
            .height
            .saturating_sub(if area.height > 4 { 2 } else { 1 }),
        ..area
    };
    match app.view() {
        View::List => list::draw(buffer, body, app, host, theme),
        View::Queue(place) => {
            let lines = queue::lines(host, place, usize::from(area.width), theme);
            scrolled(buffer, body, app, &lines);
        }
        View::Graph => {
            let lines = graph::lines(host, &app.choice, theme);
            scrolled(buffer, body, app, &lines);
        }
        View::Help => scrolled(buffer, body, app, &help::lines(theme)),
    }
    if area.height > 4 || app.question.is_some() || app.notice.is_some() {
        footer(buffer, app, area.height - 1, theme);
    }
}

/// Host, time, and the numbers of locks, waiters and deadlocks.
fn header(buffer: &mut Buffer, app: &App, host: &Host, theme: Theme) {
    let (hour, minute, second) = local_time::of(host.at);
    let mut row = vec![
        (format!("holdlock top  {}  ", host.name), theme.title()),
        (format!("{hour:02}:{minute:02}:{second:02}"), Style::new()),
    ];
    let locks = host.locks();
    let waiting = host.waiting();
    row.push((format!("  locks {locks}  "), Style::new()));
    let style = if waiting > 0 {
        theme.waiting()
    } else {
        Style::new()
    };
    row.push((format!("waiting {waiting}"), style));
    if host.is_engine {
        // Deadlocks over an engine are not known.
    } else if host.cycles.is_empty() {
        row.push(("  deadlocks 0".into(), Style::new()));
    } else {
        row.push(("  ".into(), Style::new()));
        row.push((format!("DEADLOCKS {}", host.cycles.len()), theme.alarm()));
    }
    let pace = if app.paused {
        "  PAUSED".to_owned()
    } else {
        format!("  every {}", pace(app))
    };
    row.push((pace, Style::new()));
    if let Some(trouble) = &host.trouble {
        row.insert(0, (format!("{trouble}  "), theme.alarm()));
    }
    put(buffer, 0, &row);
}

fn pace(app: &App) -> String {
    let millis = app.interval.as_millis();
    if millis.is_multiple_of(1000) {
        age(app.interval)
    } else {
        format!("{millis}ms")
    }
}

fn footer(buffer: &mut Buffer, app: &App, y: u16, theme: Theme) {
    let mut row = Row::new();
    row.extend(
        app.notice
            .iter()
            .map(|notice| (format!("{notice}  "), theme.alarm())),
    );
    if let Some(question) = &app.question {
        row.push((question.text(), Style::new()));
    }
    if !row.is_empty() {
        buffer.set_stringn(
            0,
            y,
            " ".repeat(buffer.area().width.into()),
            usize::MAX,
            Style::new(),
        );
        return put(buffer, y, &row);
    }
    let text = match app.view() {
        View::List if app.typing => {
            format!("Show only: {}_   Enter: done  Esc: all", app.choice.text)
        }
        View::List => {
            "Enter queue  g graph  k signal  / filter  w waits  < > sort  ? help  q quit".into()
        }
        _ => "Esc back  Up/Down scroll  g graph  k signal  Space pause  ? help  q quit".to_owned(),
    };
    let style = Style::new().add_modifier(Modifier::DIM);
    put(buffer, y, &vec![(text, style)]);
}

/// As many lines as fit, from the scroll position on.
fn scrolled(buffer: &mut Buffer, body: Rect, app: &mut App, lines: &[Row]) {
    app.page = usize::from(body.height);
    app.lines = lines.len();
    app.line = app.line.min(app.lines.saturating_sub(app.page));
    for (y, line) in (body.y..body.bottom()).zip(&lines[app.line..]) {
        put(buffer, y, line);
    }
}

/// One row; a mark shows where it is cut off.
fn put(buffer: &mut Buffer, y: u16, row: &Row) {
    if y >= buffer.area().height {
        return;
    }
    let room = usize::from(buffer.area().width);
    let mut x = 0;
    for (text, style) in row {
        let text = head(text, room - x);
        buffer.set_stringn(x as u16, y, &text, room - x, *style);
        x = (x + cells(&text)).min(room);
    }
}

/// How long a wait has been seen.
fn waited(since: Instant, host: &Host) -> String {
    format!("≥{}", age(host.now.saturating_duration_since(since)))
}

fn started(at: Option<SystemTime>, host: &Host) -> String {
    match at.and_then(|at| host.at.duration_since(at).ok()) {
        Some(time) => age(time),
        None => "?".to_owned(),
    }
}
