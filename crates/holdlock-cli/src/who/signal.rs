//! Signals by name and number.

use rustix::process::Signal;

const NAMES: [(&str, Signal); 31] = [
    ("HUP", Signal::HUP),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("ILL", Signal::ILL),
    ("TRAP", Signal::TRAP),
    ("ABRT", Signal::ABORT),
    ("BUS", Signal::BUS),
    ("FPE", Signal::FPE),
    ("KILL", Signal::KILL),
    ("USR1", Signal::USR1),
    ("SEGV", Signal::SEGV),
    ("USR2", Signal::USR2),
    ("PIPE", Signal::PIPE),
    ("ALRM", Signal::ALARM),
    ("TERM", Signal::TERM),
    ("STKFLT", Signal::STKFLT),
    ("CHLD", Signal::CHILD),
    ("CONT", Signal::CONT),
    ("STOP", Signal::STOP),
    ("TSTP", Signal::TSTP),
    ("TTIN", Signal::TTIN),
    ("TTOU", Signal::TTOU),
    ("URG", Signal::URG),
    ("XCPU", Signal::XCPU),
    ("XFSZ", Signal::XFSZ),
    ("VTALRM", Signal::VTALARM),
    ("PROF", Signal::PROF),
    ("WINCH", Signal::WINCH),
    ("IO", Signal::IO),
    ("PWR", Signal::POWER),
    ("SYS", Signal::SYS),
];

/// `TERM`, `SIGTERM`, `term`, `15`
pub(crate) fn named(text: &str) -> Result<Signal, String> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let number = text.parse().ok();
    let found = NAMES
        .iter()
        .find(|(known, signal)| *known == name || Some(signal.as_raw()) == number);
    found
        .map(|(_, signal)| *signal)
        .ok_or_else(|| "no signal has this name or number; `kill -l` lists them".into())
}

/// `TERM`
pub(crate) fn name(signal: Signal) -> &'static str {
    let found = NAMES.iter().find(|(_, known)| *known == signal);
    found.map_or("the signal", |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for text in ["TERM", "SIGTERM", "sigterm", "term", "15"] {
            assert_eq!(named(text), Ok(Signal::TERM), "{text}");
        }
        assert_eq!(named("9").map(name), Ok("KILL"));
        for text in ["", "SIG", "0", "-15", "TERMINATE", "99"] {
            assert!(named(text).is_err(), "{text}");
        }
    }
}
