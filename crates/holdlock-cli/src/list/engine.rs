//! `holdlock list` for locks of engines: all of a database, or single ones.

use holdlock_engines::{Member, Members};
use serde_json::{Value, json};

use super::{Column, Filter, Form, Settings, draw, fit::Cells};
use crate::engines::{self, failure};
use crate::exit::{self, Failure, Outcome};
use crate::show;
use crate::show::output::print;
use crate::show::terminal;
use crate::show::text::{NONE, printable};
use crate::show::time::span;

/// The columns without -o.
const USUAL: [Column; 9] = [
    Column::Pid,
    Column::User,
    Column::Host,
    Column::State,
    Column::Mode,
    Column::Held,
    Column::Token,
    Column::Path,
    Column::Command,
];

/// A lock with its members.
struct Found {
    /// The URL, without user and password.
    name: String,
    engine: &'static str,
    members: Members,
}

pub(super) fn list(settings: Settings) -> Outcome {
    if !settings.filter.kinds.is_empty() {
        return Err(Failure::usage(
            "--kind is for lock files; leave it out for a URL",
        ));
    }
    let found = found(&settings.filter)?;
    let filter = &settings.filter;
    print(&match settings.form {
        Form::Json => document(&found, filter),
        Form::Table { columns, headings } => {
            let is_chosen = columns.is_some();
            let columns = columns.unwrap_or_else(|| USUAL.to_vec());
            let rows = found.iter().flat_map(|found| rows(found, filter, &columns));
            let cells = Cells {
                rows: rows.collect(),
                columns,
                headings,
            };
            draw(cells, is_chosen, terminal::width())
        }
    })?;
    Ok(exit::SUCCESS)
}

/// The locks that the command line names, with the members that the filter wants.
fn found(filter: &Filter) -> Result<Vec<Found>, Failure> {
    let mut all = Vec::new();
    for lock in &filter.locks {
        if !engines::is_meant(lock) {
            return Err(Failure::usage(
                "locks of engines and lock files cannot be listed together; list one after the \
                 other",
            ));
        }
        if let Some(place) = engines::is_url(lock)
            .then(|| engines::open_place(lock))
            .transpose()?
            .filter(|place| place.lock_name().is_none())
        {
            engines::tell(place.warnings());
            let listed = place.list().map_err(|error| failure(&error))?;
            all.extend(listed.into_iter().map(|one| Found {
                name: format!(
                    "{}#{}",
                    place.name(),
                    printable(&one.name.unwrap_or_else(|| NONE.to_owned()))
                ),
                engine: place.kind(),
                members: one.members,
            }));
        } else {
            let lock = engines::open(lock, filter.names)?;
            engines::tell(lock.warnings());
            let members = lock.members().map_err(|error| failure(&error))?;
            all.push(Found {
                name: lock.name().to_owned(),
                engine: lock.kind(),
                members,
            });
        }
    }
    all.retain(|found| {
        let members = &found.members;
        let mut both = members.holders.iter().chain(&members.waiters);
        both.any(|member| wants(filter, member)) && (!filter.waiting || !members.waiters.is_empty())
    });
    Ok(all)
}

fn wants(filter: &Filter, member: &Member) -> bool {
    let is = |user: &String| member.user.as_ref() == Some(user);
    (filter.pids.is_empty() || member.pid.is_some_and(|pid| filter.pids.contains(&pid)))
        && (filter.users.is_empty() || filter.users.iter().any(is))
}

fn rows(found: &Found, filter: &Filter, columns: &[Column]) -> Vec<Vec<String>> {
    let holders = found.members.holders.iter();
    let holders = holders.map(|holder| ("held".to_owned(), holder));
    let waiters = found.members.waiters.iter().zip(1..);
    let waiters = waiters.map(|(waiter, turn)| (format!("waits {turn}"), waiter));
    let row = |(state, member): (String, &Member)| {
        let cell = |column: &Column| cell(*column, found, &state, member);
        columns.iter().map(cell).collect()
    };
    let wanted = holders.chain(waiters).filter(|(_, one)| wants(filter, one));
    wanted.map(row).collect()
}

fn cell(column: Column, found: &Found, state: &str, member: &Member) -> String {
    use crate::engines::view::{shown, text_or_none};
    let age = || Some(span(member.since?.elapsed().unwrap_or_default()));
    match column {
        Column::Pid => shown(member.pid),
        Column::User => text_or_none(member.user.as_ref().or(member.login.as_ref())),
        Column::Host => text_or_none(member.host.as_ref()),
        Column::State => state.to_owned(),
        Column::Mode => member.mode.to_string(),
        Column::Kind => found.engine.to_owned(),
        Column::Held if state == "held" => shown(age()),
        Column::Note => text_or_none(member.note.as_ref()),
        Column::Token => shown(member.token),
        Column::Lease => shown(member.rest.map(span)),
        Column::Path => found.name.clone(),
        Column::Command => text_or_none(member.command.as_ref()),
        _ => NONE.to_owned(),
    }
}

fn document(found: &[Found], filter: &Filter) -> String {
    let files = found.iter().map(|found| {
        let wanted = |member: &Member| wants(filter, member);
        let mut file = engines::json::file(&found.name, found.engine, &found.members, wanted);
        file["engine"] = found.engine.into();
        file
    });
    show::json::document(&json!({
        "version": 1,
        "files": files.collect::<Value>(),
        "unseen": [],
    }))
}
