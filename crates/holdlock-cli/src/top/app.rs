//! The state of the screen, and the effects of the keys. This file does not know the terminal.

use std::time::Duration;

use holdlock::inspect::FileId;

use super::keys::Key;
use super::model::Host;
use super::question::{Answer, Question};
use super::sort::{Choice, Column, chosen};
use super::source::Source;

/// One picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    List,
    Queue(FileId),
    Graph,
    Help,
}

/// The action after a key, besides drawing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    Draw,
    Look,
    Quit,
    Suspend,
    Repaint,
    /// The open question was answered by yes.
    Send,
}

pub(super) struct App {
    /// The last view is shown; Esc goes back to the previous one.
    pub(super) views: Vec<View>,
    pub(super) choice: Choice,
    /// The filter is being typed.
    pub(super) typing: bool,
    pub(super) paused: bool,
    /// The question before a signal, while it is open.
    pub(super) question: Option<Question>,
    /// The result of the last key, until the next one.
    pub(super) notice: Option<String>,
    pub(super) interval: Duration,
    /// The chosen file. It stays chosen when its row changes.
    pub(super) selected: Option<FileId>,
    /// Its row in the list, for the case that the file is gone.
    pub(super) row: usize,
    /// The first row of the list that is on the screen.
    pub(super) first: usize,
    /// The first line on the screen in every other view.
    pub(super) line: usize,
    /// The number of rows, and the number of rows that fit. The drawing code sets them.
    pub(super) lines: usize,
    pub(super) page: usize,
}

/// The steps of `+` and `-`.
const INTERVALS: [u64; 9] = [100, 200, 500, 1000, 2000, 5000, 10_000, 30_000, 60_000];

/// Longer than any path that fits into a row.
const LONGEST_FILTER: usize = 100;

impl App {
    pub(super) fn new(interval: Duration) -> App {
        App {
            views: vec![View::List],
            choice: Choice::default(),
            typing: false,
            paused: false,
            question: None,
            notice: None,
            interval,
            selected: None,
            row: 0,
            first: 0,
            line: 0,
            lines: 0,
            page: 1,
        }
    }

    pub(super) fn view(&self) -> View {
        self.views.last().copied().unwrap_or(View::List)
    }

    /// Finds the chosen file again after a look. If it is gone, the file in its row is chosen.
    pub(super) fn settle(&mut self, host: &Host) {
        let files = chosen(host, &self.choice);
        let kept = files
            .iter()
            .position(|file| Some(file.file_id) == self.selected);
        self.row = kept.unwrap_or(self.row).min(files.len().saturating_sub(1));
        self.selected = files.get(self.row).map(|file| file.file_id);
    }

    pub(super) fn press(&mut self, key: Key, host: &Host) -> Then {
        self.notice = None;
        match key {
            Key::Interrupt => return Then::Quit,
            Key::Suspend => return Then::Suspend,
            Key::Redraw => return Then::Repaint,
            _ if self.question.is_some() => return self.answer(key),
            _ if self.typing => self.type_filter(key),
            Key::Esc => return self.back(),
            Key::Char('q') => return Then::Quit,
            Key::Char('?' | 'h') => self.open(View::Help),
            Key::Char('g') => self.open(View::Graph),
            Key::Char('k') => self.ask(host),
            Key::Char(' ') => {
                self.paused = !self.paused;
                if !self.paused {
                    return Then::Look;
                }
            }
            Key::Char('+') => return self.change_interval(false),
            Key::Char('-') => return self.change_interval(true),
            Key::Char('d') if self.interval >= Duration::from_secs(60) => {
                self.interval = Duration::from_millis(INTERVALS[0]);
                return Then::Look;
            }
            Key::Char('d') => return self.change_interval(true),
            _ if self.view() == View::List => self.in_list(key, host),
            _ => self.scroll(key),
        }
        self.settle(host);
        Then::Draw
    }

    /// Asks whether to send a signal to the holder of the file that is chosen or shown.
    fn ask(&mut self, host: &Host) {
        let file_id = match self.view() {
            View::List => self.selected,
            View::Queue(file_id) => Some(file_id),
            View::Graph | View::Help => None,
        };
        let question = file_id
            .ok_or_else(|| "choose a lock in the list first".to_owned())
            .and_then(|file_id| Question::about(host, file_id));
        match question {
            Ok(question) => self.question = Some(question),
            Err(why) => self.notice = Some(why),
        }
    }

    fn answer(&mut self, key: Key) -> Then {
        match self.question.as_mut().map(|question| question.press(key)) {
            Some(Answer::Yes) => return Then::Send,
            Some(Answer::Stays(remark)) => self.notice = remark,
            Some(Answer::No) | None => {
                self.question = None;
                self.notice = Some("nothing sent".into());
            }
        }
        Then::Draw
    }

    /// Sends the signal to which the user has agreed.
    pub(super) fn send(&mut self, source: &Source) {
        let question = self.question.take();
        self.notice = question.map(|question| match source.refuses(question.who.pid) {
            Some(why) => format!("no signal: {why}"),
            None => question.send(source.host()),
        });
    }

    fn in_list(&mut self, key: Key, host: &Host) {
        match key {
            Key::Char('/') => self.typing = true,
            Key::Char('w') => self.choice.contended = !self.choice.contended,
            Key::Char('r') => self.choice.reversed = !self.choice.reversed,
            Key::Char('<' | ',') => self.sort_by(self.choice.column.next(false)),
            Key::Char('>' | '.') => self.sort_by(self.choice.column.next(true)),
            Key::Enter => {
                if let Some(file_id) = self.selected {
                    self.open(View::Queue(file_id));
                }
            }
            _ => {
                let files = chosen(host, &self.choice);
                self.row = self.moved(key, self.row, files.len().saturating_sub(1));
                self.selected = files.get(self.row).map(|file| file.file_id);
            }
        }
    }

    fn sort_by(&mut self, column: Column) {
        self.choice.column = column;
        self.choice.reversed = false;
    }

    fn scroll(&mut self, key: Key) {
        let last = self.lines.saturating_sub(self.page);
        self.line = self.moved(key, self.line.min(last), last);
    }

    fn moved(&self, key: Key, at: usize, last: usize) -> usize {
        let page = self.page.saturating_sub(1).max(1);
        let to = match key {
            Key::Up => at.saturating_sub(1),
            Key::Down => at + 1,
            Key::PageUp => at.saturating_sub(page),
            Key::PageDown => at + page,
            Key::Home => 0,
            Key::End => last,
            _ => at,
        };
        to.min(last)
    }

    fn type_filter(&mut self, key: Key) {
        let text = &mut self.choice.text;
        match key {
            Key::Enter => self.typing = false,
            Key::Esc => {
                text.clear();
                self.typing = false;
            }
            Key::Backspace => {
                text.pop();
            }
            Key::Erase => text.clear(),
            Key::Char(c) if text.chars().count() < LONGEST_FILTER => {
                text.push_str(&super::text::clean(c.encode_utf8(&mut [0; 4])));
            }
            _ => {}
        }
    }

    fn open(&mut self, view: View) {
        if self.view() != view {
            self.views.retain(|other| *other != view);
            self.views.push(view);
            self.line = 0;
        }
    }

    /// From the list: first out of the filter, then out of the program.
    fn back(&mut self) -> Then {
        self.line = 0;
        if self.views.len() > 1 {
            self.views.pop();
        } else if !self.choice.text.is_empty() {
            self.choice.text.clear();
        } else {
            return Then::Quit;
        }
        Then::Draw
    }

    fn change_interval(&mut self, longer: bool) -> Then {
        let now = self.interval.as_millis() as u64;
        let mut steps = INTERVALS.iter().copied();
        let step = if longer {
            steps.find(|step| *step > now)
        } else {
            steps.rev().find(|step| *step < now)
        };
        if let Some(step) = step {
            self.interval = Duration::from_millis(step);
        }
        Then::Look
    }
}
