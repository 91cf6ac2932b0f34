//! Who holds the lock and who waits, as the server knows it.

use std::time::Duration;

use holdlock::Mode;
use redis::Value;

use super::Redis;
use super::client::Client;
use super::connect::COMMAND;
use crate::{Error, Member, Members};

impl Redis {
    /// By the connection of this client.
    pub(super) async fn look(&self, client: &Client) -> Result<Members, Error> {
        let answer = client.call("members", &[], COMMAND).await?;
        read(answer.value).ok_or_else(|| self.wrong_answer())
    }
}

/// State, id, token or place in the queue, milliseconds left, record. Everybody who may write to
/// the keys can have put any bytes into id and record.
type Row = (String, Vec<u8>, u64, u64, Vec<u8>);

/// Reads the rows of members.
pub(super) fn read(value: Value) -> Option<Members> {
    let mut members = Members::default();
    let rows: Vec<Row> = redis::from_redis_value(value).ok()?;
    for (state, id, number, left, record) in rows {
        let id = String::from_utf8_lossy(&id).into_owned();
        let mut member = Member::unknown(match id.starts_with('s') {
            true => Mode::Shared,
            false => Mode::Exclusive,
        });
        member.read_record(&String::from_utf8_lossy(&record));
        member.session = Some(id);
        member.rest = Some(Duration::from_millis(left));
        match state.as_str() {
            "holds" => {
                member.token = Some(number);
                members.holders.push(member);
            }
            _ => members.waiters.push(member),
        }
    }
    Some(members)
}
