//! Who holds the lock and who waits, as the server shows it.

use holdlock::Mode;

use super::Postgres;
use super::connect::STATEMENT;
use super::key::{Key, TICKETS};
use super::link::{Link, Row};
use crate::{Error, Member, Members};

/// What begins and ends the comment with a record.
pub(super) const BEGIN: &str = "/* holdlock ";
const END: &str = " */";

/// The comment with which a session shows its record beside its statement.
pub(super) fn comment(member: &Member, name: &str) -> String {
    // The server shows the first 1023 bytes of a statement.
    format!("{BEGIN}{}{END}", member.record(name, 900))
}

/// The rows of the lock and of the tickets, the holders first, then in the order of the tickets.
pub(super) fn statement(key: Key) -> String {
    rows_where("", key.ticket_column(), &key.rows())
}

/// The same for any rows of pg_locks, with columns behind those that [`read`] needs.
pub(super) fn rows_where(columns: &str, ticket: &str, condition: &str) -> String {
    format!(
        "SELECT {ticket} AS ticket, l.mode, l.granted, l.pid, a.usename, host(a.client_addr), \
         a.query{columns} FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid \
         WHERE {condition} ORDER BY l.granted DESC, ticket, to_jsonb(l)->>'waitstart'"
    )
}

/// The record in the text of a statement.
pub(super) fn record(query: &str) -> Option<&str> {
    let (record, _) = query.strip_prefix(BEGIN)?.split_once(END)?;
    Some(record)
}

pub(super) fn read(rows: &[Row], key: Key) -> Members {
    let mut members = Members::default();
    let mut known: Vec<String> = Vec::new();
    for row in rows {
        let field = |index: usize| row.get(index).and_then(|field| field.as_deref());
        let granted = field(2) == Some("t");
        let number = field(0).and_then(|number| number.parse().ok()).unwrap_or(0);
        let is_ticket = key.has_tickets() && (1..=TICKETS).contains(&number);
        // Somebody who waits for a ticket has one.
        if is_ticket && !(granted && field(1) == Some("ExclusiveLock")) {
            continue;
        }
        let pid = field(3).unwrap_or_default().to_owned();
        if known.contains(&pid) {
            continue;
        }
        let mut member = Member::unknown(match field(1) {
            Some("ShareLock") => Mode::Shared,
            _ => Mode::Exclusive,
        });
        if let Some(record) = field(6).and_then(record) {
            member.read_record(record);
        }
        member.login = login(field(4), field(5));
        member.session = Some(pid.clone());
        known.push(pid);
        match granted && !is_ticket {
            true => members.holders.push(member),
            false => members.waiters.push(member),
        }
    }
    members
}

fn login(user: Option<&str>, address: Option<&str>) -> Option<String> {
    let user = user?;
    Some(match address {
        Some(address) => format!("{user}@{address}"),
        None => user.to_owned(),
    })
}

impl Postgres {
    pub(super) async fn read_members(&self, link: &Link) -> Result<Members, Error> {
        let answer = link.query(statement(self.settings.key), STATEMENT);
        let rows = answer
            .await
            .map_err(|failure| self.failed("reading the holders", failure))?;
        Ok(read(&rows, self.settings.key))
    }
}
