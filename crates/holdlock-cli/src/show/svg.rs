//! SVG pictures: the option `--svg`, the file to which a picture is written, and the parts that all
//! pictures share.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Arg, ValueHint, value_parser};

use super::output::print;
use super::text::{self, printable};
use crate::exit::{CANNOT_CREATE, Failure, reason};
use crate::sys::signals;

/// `--svg FILE`, the same in every subcommand that draws.
pub(crate) fn option(help: &'static str) -> Arg {
    Arg::new("svg")
        .long("svg")
        .value_name("FILE")
        .value_hint(ValueHint::FilePath)
        .value_parser(value_parser!(PathBuf))
        .help(help)
}

/// The file to which a picture is written.
pub(crate) enum Target {
    Stdout,
    File(File, PathBuf),
}

impl Target {
    /// Creates the file, so that a path that cannot be written fails before the work. `-` is
    /// standard output.
    pub(crate) fn create(path: &Path) -> Result<Target, Failure> {
        if path == Path::new("-") {
            return Ok(Target::Stdout);
        }
        match File::create(path) {
            Ok(file) => Ok(Target::File(file, path.to_owned())),
            Err(error) => Err(not_written(path, error)),
        }
    }

    /// Writes the picture. It is the last work of a command.
    pub(crate) fn write(self, picture: &str) -> Result<(), Failure> {
        signals::let_writes_fail_at_size_limit();
        match self {
            Target::Stdout => print(picture),
            Target::File(mut file, path) => file
                .write_all(picture.as_bytes())
                .map_err(|error| not_written(&path, error)),
        }
    }
}

fn not_written(path: &Path, error: std::io::Error) -> Failure {
    let message = format!("cannot write {}: {}", text::path(path), reason(&error));
    Failure::new(CANNOT_CREATE, message)
}

/// A picture, readable on light and on dark ground.
pub(crate) struct Picture<'p> {
    /// What the picture shows, for readers that do not see it.
    pub(crate) title: &'p str,
    pub(crate) description: Option<&'p str>,
    pub(crate) width: f64,
    pub(crate) height: f64,
    /// Rules that follow the common ones.
    pub(crate) style: &'p str,
    /// Patterns and markers that follow the common ones.
    pub(crate) definitions: &'p str,
    pub(crate) body: &'p str,
}

/// Media queries are ignored where they are not understood: the picture is the light one then.
const STYLE: &str = "\
text { font: 13px system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif; fill: #24292f }
.title { font-size: 20px; font-weight: 600 }
.label { text-anchor: end } .mark { text-anchor: middle; font-size: 11px; fill: #57606a }
.ground { fill: #ffffff } .idle { fill: #eef1f4 } .grid { stroke: #d0d7de }
.waiting { fill: url(#waiting) }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .mark { fill: #9198a1 }
.ground { fill: #0d1117 } .idle { fill: #1c2129 } .grid { stroke: #30363d }
}";

/// A hatch, so that the picture does without colour.
const WAITING: &str = r##"<pattern id="waiting" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="6" height="6" fill="#e9b44c" fill-opacity=".25"/><rect width="2" height="6" fill="#d99a1c"/></pattern>"##;

impl Picture<'_> {
    /// The whole document.
    pub(crate) fn document(&self) -> String {
        let Picture {
            title,
            width,
            height,
            style,
            definitions,
            body,
            ..
        } = self;
        let description = self.description.map_or_else(String::new, |text| {
            format!("<desc>{}</desc>\n", escaped(text))
        });
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
             width=\"{width:.0}\" height=\"{height:.0}\" role=\"img\">\n\
             <title>{title}</title>\n{description}<style>{STYLE}\n{style}</style>\n\
             <defs>\n{WAITING}\n{definitions}\n</defs>\n\
             <rect class=\"ground\" width=\"{width:.0}\" height=\"{height:.0}\"/>\n{body}</svg>\n"
        )
    }
}

/// Adds an element on a line of its own.
pub(crate) fn add(body: &mut String, element: &str) {
    // A String takes everything.
    let _ = writeln!(body, "{element}");
}

/// A text between tags or in the quotes of an attribute. Control characters, which XML cannot
/// contain, are escaped as for people.
pub(crate) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in printable(text).chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            // `]]>` must not stand in a text.
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
