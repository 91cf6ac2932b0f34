//! One manual page: clap_mangen writes the options, and the text of the help is the rest, so the
//! page and the help always say the same.

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};

/// Headings of the help, and their names in manual pages. Text below any other heading stays in the
/// description.
const HEADINGS: [(&str, &str); 4] = [
    ("Arguments:", "ARGUMENTS"),
    ("Commands:", "COMMANDS"),
    ("Exit codes:", "EXIT STATUS"),
    ("Examples:", "EXAMPLES"),
];

/// Headings of text that the synopsis and clap_mangen already have.
const ELSEWHERE: [&str; 2] = ["Usage:", "Options:"];

/// The page `name`, in roff.
pub(super) fn page(name: &str, mut command: Command, see_also: &[&str]) -> String {
    let about = command.get_about().map(ToString::to_string);
    let usage = command.render_usage().to_string();
    let help = command.render_help().to_string();
    let mut description = Vec::new();
    let mut sections: Vec<(&str, Vec<&str>)> = Vec::new();
    for paragraph in paragraphs(&help) {
        // The section NAME already has this line.
        if about.as_deref() == Some(paragraph) {
            continue;
        }
        if ELSEWHERE.iter().any(|start| paragraph.starts_with(start)) {
            continue;
        }
        let known = HEADINGS
            .iter()
            .find_map(|(start, title)| Some((*title, paragraph.strip_prefix(start)?)));
        match known {
            Some((title, text)) => {
                // Text on the line of the heading is a paragraph; lines below it keep their form.
                let text = text.strip_prefix('\n').unwrap_or(text.trim_start());
                sections.push((title, text.lines().collect()))
            }
            None => description.extend(std::iter::once("").chain(paragraph.lines())),
        }
    }

    let mut roff = Roff::new();
    let source = format!("holdlock {}", env!("CARGO_PKG_VERSION"));
    let title = name.to_uppercase();
    // No date, so that the same source makes the same page.
    roff.control("TH", [title.as_str(), "1", " ", &source, "User Commands"]);
    roff.control("SH", ["NAME"]);
    roff.text([roman(format!(
        "{name} - {}",
        lower_case(&about.unwrap_or_default())
    ))]);
    roff.control("SH", ["SYNOPSIS"]);
    synopsis(&mut roff, &usage);
    roff.control("SH", ["DESCRIPTION"]);
    body(&mut roff, &description);
    // Arguments and commands come before the options, all else after them.
    let (before, after): (Vec<_>, Vec<_>) = sections
        .into_iter()
        .partition(|(title, _)| ["ARGUMENTS", "COMMANDS"].contains(title));
    write(&mut roff, &before);
    let mut page = roff.to_roff();
    page.push_str(&options(command));
    let mut roff = Roff::new();
    write(&mut roff, &after);
    roff.control("SH", ["SEE ALSO"]);
    let last = see_also.len().saturating_sub(1);
    for (index, other) in see_also.iter().enumerate() {
        let tail = if index == last { "(1)" } else { "(1)," };
        roff.control("BR", [*other, tail]);
    }
    page.push_str(&roff.to_roff());
    page
}

fn write(roff: &mut Roff, sections: &[(&str, Vec<&str>)]) {
    for (title, lines) in sections {
        roff.control("SH", [*title]);
        body(roff, lines);
    }
}

fn paragraphs(help: &str) -> impl Iterator<Item = &str> {
    help.split("\n\n").filter(|text| !text.trim().is_empty())
}

/// The section of options alone; arguments are as in the help.
fn options(command: Command) -> String {
    let command = command.mut_args(|arg| {
        let hidden = arg.is_positional() || arg.is_hide_set();
        arg.hide(hidden)
    });
    let mut section = Vec::new();
    Man::new(command)
        .render_options_section(&mut section)
        .expect("memory takes everything");
    let section = String::from_utf8(section).expect("made from text");
    // The preamble is there already.
    let start = section.find(".SH").unwrap_or(section.len());
    section[start..].to_owned()
}

fn synopsis(roff: &mut Roff, usage: &str) {
    let usage = usage.strip_prefix("Usage: ").unwrap_or(usage);
    for line in usage.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words = line.split(' ').flat_map(|word| {
            let shown = match word {
                word if word.starts_with(|c: char| c.is_ascii_lowercase()) => bold(word),
                word => italic(word),
            };
            [shown, roman(" ")]
        });
        roff.text(words.collect::<Vec<_>>());
        roff.control("br", []);
    }
}

/// Fills text. Indented lines with two columns become a list; other indented lines stay as they
/// are.
fn body(roff: &mut Roff, lines: &[&str]) {
    for block in lines.chunk_by(|one, two| indent(one) > 0 && indent(two) > 0) {
        let listed = block.iter().filter(|line| columns(line).is_some()).count();
        match block {
            [""] => drop(roff.control("PP", [])),
            [line] if indent(line) == 0 => drop(roff.text([roman(*line)])),
            _ if 2 * listed >= block.len() => list(roff, block),
            _ => literal(roff, block),
        }
    }
}

fn list(roff: &mut Roff, block: &[&str]) {
    // The column where the text of the last item begins.
    let mut column = usize::MAX;
    for line in block {
        let text = line.trim_start();
        if indent(line) >= column {
            roff.text([roman(text)]);
        } else if let Some((tag, meaning)) = columns(line) {
            column = line.len() - meaning.len();
            roff.control("TP", []);
            roff.text([bold(tag)]);
            roff.text([roman(meaning)]);
        } else {
            column = usize::MAX;
            roff.control("PP", []);
            roff.text([roman(text)]);
        }
    }
    roff.control("PP", []);
}

fn literal(roff: &mut Roff, block: &[&str]) {
    let least = block.iter().map(|line| indent(line)).min().unwrap_or(0);
    roff.control("PP", []).control("nf", []);
    for line in block {
        roff.text([roman(&line[least..])]);
    }
    roff.control("fi", []).control("PP", []);
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// Splits ` 64 wrong usage` at the first gap of two spaces.
fn columns(line: &str) -> Option<(&str, &str)> {
    let (tag, meaning) = line.trim_start().split_once("  ")?;
    let meaning = meaning.trim_start();
    (!meaning.is_empty()).then_some((tag, meaning))
}

/// The whatis line of a manual page begins with a small letter.
fn lower_case(about: &str) -> String {
    let mut letters = about.chars();
    let first = letters.next().map(|letter| letter.to_ascii_lowercase());
    let text: String = first.into_iter().chain(letters).collect();
    text.trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_columns_become_a_list_and_the_rest_stays() {
        let mut roff = Roff::new();
        let lines = [
            "Text",
            "  64  wrong",
            "      usage",
            "",
            "  as it is",
            "more",
        ];
        body(&mut roff, &lines);
        let text = roff.to_roff();
        let order = [
            "Text",
            ".TP",
            "\\fB64\\fR",
            "wrong",
            "usage",
            ".nf",
            "as it is",
            ".fi",
            "more",
        ];
        let places: Vec<usize> = order
            .iter()
            .map(|part| text.find(part).expect(part))
            .collect();
        assert!(places.is_sorted(), "{text}");
    }

    #[test]
    fn every_part_of_the_help_is_in_the_page() {
        let page = page(
            "holdlock-run",
            super::super::super::run::command(),
            &["holdlock"],
        );
        for part in [
            ".SH NAME\nholdlock\\-run \\- run a command",
            ".SH SYNOPSIS",
            ".SH ARGUMENTS",
            ".SH OPTIONS",
            ".SH \"EXIT STATUS\"",
            "another process holds the lock",
            ".SH EXAMPLES",
        ] {
            assert!(page.contains(part), "{part} is missing in\n{page}");
        }
    }
}
