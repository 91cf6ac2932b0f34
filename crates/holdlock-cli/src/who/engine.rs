//! `holdlock who` for a lock of an engine: its holders and waiters of all hosts.

use std::io::IsTerminal;
use std::time::Duration;

use holdlock::inspect::{self, Process};
use holdlock_engines::Member;
use rustix::process::{Pid, Signal, pidfd_send_signal};
use serde_json::{Value, json};

use super::{FREE, Form, HELD, Settings, identified, send, signal_name};
use crate::engines::view::{View, lines, summary, until_free};
use crate::engines::{self, failure};
use crate::exit::{self, Failure, Outcome};
use crate::show;
use crate::show::output::print;
use crate::show::terminal;
use crate::show::time::rounded;

const INDENT: &str = "  ";

/// The number of waiters that a terminal shows.
const FEW: usize = 10;

pub(super) fn who(settings: Settings) -> Outcome {
    let lock = engines::open(&settings.lock, settings.names)?;
    if settings.form != Form::Nothing {
        engines::tell(lock.warnings());
    }
    let mut view = View::of(lock)?;
    if settings.form == Form::Text {
        print(&report(&view, settings.all))?;
    }
    let mut broken = None;
    if let Some(token) = settings.broken {
        broken = Some(end_holder(&view, token)?);
    }
    let signalled = match settings.signal {
        Some(signal) => send_to_holders(&view, signal, settings.yes)?,
        None => Vec::new(),
    };
    let mut waited = None;
    if let Some(patience) = settings.wait {
        let began_held = !view.is_free();
        let time = until_free(std::slice::from_mut(&mut view), patience)?;
        waited = Some(time);
        if settings.form == Form::Text && began_held {
            print(&match view.is_free() {
                true => format!("{}: free after {}\n", view.lock.name(), rounded(time)),
                false => format!("{}\n", view.still_held(time)),
            })?;
        }
    }
    if settings.form == Form::Json {
        print(&document(&view, waited, &signalled, broken.as_ref()))?;
    }
    Ok(match (waited.is_some(), view.is_free()) {
        (true, true) => exit::SUCCESS,
        (true, false) => exit::CONFLICT,
        (false, _) if broken.is_some() => exit::SUCCESS,
        (false, true) => FREE,
        (false, false) => HELD,
    })
}

fn report(view: &View, all: bool) -> String {
    let short = !all && std::io::stdout().is_terminal();
    let most = if short { FEW } else { usize::MAX };
    let state = summary(&view.members, view.lock.kind());
    let mut text = format!("{}: {state}\n", view.lock.name());
    if !view.is_free() {
        let width = terminal::width().map(|width| width.saturating_sub(INDENT.len()));
        for line in lines(&view.members, most, width) {
            text += &format!("{INDENT}{line}\n");
        }
    }
    text
}

/// Ends the session or the lease of the holder with this token.
fn end_holder(view: &View, token: u64) -> Result<Member, Failure> {
    let name = view.lock.name();
    let ended = view.lock.break_holder(token);
    let Some(holder) = ended.map_err(|error| failure(&error))? else {
        let holders = view
            .members
            .holders
            .iter()
            .map(|holder| match holder.token {
                Some(token) => format!("{holder}, with the token {token}"),
                None => format!("{holder}, whose token is not shown"),
            });
        let holders: Vec<String> = holders.collect();
        let now = match holders.is_empty() {
            true => "nobody holds the lock".to_owned(),
            false => format!("it was held by {}", holders.join(" and by ")),
        };
        let message = format!("{name}: no holder has the token {token}: nothing was ended; {now}");
        return Err(Failure::new(FREE, message));
    };
    exit::warn(&format!(
        "{name}: ended the hold of {holder}; its work may go on for a moment"
    ));
    Ok(holder)
}

/// Sends the signal to the holders that run on this host, and returns those that got it.
fn send_to_holders(view: &View, signal: Signal, yes: bool) -> Result<Vec<Pid>, Failure> {
    let us = std::process::id();
    let family = inspect::ancestors(us);
    let mut targets = Vec::new();
    for holder in &view.members.holders {
        let refused = match holder.pid_here() {
            None => "is not known to run on this host",
            Some(pid) if pid == us || family.contains(&pid) => {
                "has started this command (or is this command)"
            }
            // From here on, the descriptor keeps the process apart from a later one.
            Some(pid) => match Process::of(pid).as_ref().and_then(identified) {
                // What its record says is what its writer wants to be believed.
                Some(_) if !view.lock.has_client(pid).map_err(|error| failure(&error))? => {
                    "has no connection to this server"
                }
                Some(target) => {
                    targets.push((holder, target));
                    continue;
                }
                None => "has ended",
            },
        };
        exit::warn(&format!("{holder} {refused}: nothing is sent to it"));
    }
    let names: Vec<String> = targets
        .iter()
        .map(|(holder, _)| holder.to_string())
        .collect();
    if targets.is_empty() || !yes && !send::is_wanted(&names, signal)? {
        exit::warn(&format!("{}: nothing sent", view.lock.name()));
        return Ok(Vec::new());
    }
    let now = view.lock.members().map_err(|error| failure(&error))?;
    let mut sent = Vec::new();
    for (holder, (pid, handle)) in targets {
        let mut holders = now.holders.iter();
        let holds = holders.any(|one| one.session == holder.session && one.pid == holder.pid);
        if !holds || holder.pid_here().is_none() {
            exit::warn(&format!(
                "{holder} no longer holds the lock: nothing sent to it"
            ));
            continue;
        }
        match pidfd_send_signal(&handle, signal) {
            Ok(()) => {
                exit::warn(&format!("{} sent to {holder}", signal_name(signal)));
                sent.push(pid);
            }
            // It has ended by itself.
            Err(rustix::io::Errno::SRCH) => {}
            Err(error) => {
                let what = format!("cannot send {} to {holder}", signal_name(signal));
                return Err(Failure::system(&what, error));
            }
        }
    }
    Ok(sent)
}

fn document(
    view: &View,
    waited: Option<Duration>,
    signalled: &[Pid],
    broken: Option<&Member>,
) -> String {
    let mut document = json!({
        "version": 1,
        "waited_s": waited.map(|time| time.as_secs_f64()),
        "signalled": signalled.iter().map(|pid| pid.as_raw_pid()).collect::<Vec<_>>(),
        "broken": broken.map_or(Value::Null, |holder| json!({
            "token": holder.token,
            "process": engines::json::process(holder),
        })),
    });
    super::merge(&mut document, view.fields());
    show::json::document(&document)
}
