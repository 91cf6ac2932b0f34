//! Hearing at once that a key was deleted: by its owner, with its lease, or by hand.

use hyper::body::Incoming;
use serde_json::{Value, json};

use super::client::Client;
use super::failure::Failure;
use super::http::{Connection, message, next_part, within};
use super::keys::Range;
use super::message::{key, number, text};

/// The longest message that is read.
const LONGEST: usize = 4 * 1024 * 1024;

/// A stream of events, on a connection of its own.
pub(super) struct Watch {
    body: Incoming,
    buffer: Vec<u8>,
    _connection: Connection,
}

/// What is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Watched {
    Key(Vec<u8>),
    All(Range),
}

impl Watch {
    /// Watches what is deleted from this revision on.
    pub(super) async fn open(
        client: &Client,
        watched: &Watched,
        revision: u64,
    ) -> Result<Watch, Failure> {
        let mut request = json!({"start_revision": number(revision), "filters": ["NOPUT"]});
        match watched {
            Watched::Key(key) => request["key"] = text(key),
            Watched::All(range) => {
                request["key"] = text(&range.0);
                request["range_end"] = text(&range.1);
            }
        }
        let mut connection = client.connect().await?;
        let request = json!({"create_request": request});
        let created = async {
            let token = client.etcd.token(&mut connection).await?;
            let judged = |failure| client.etcd.judged(failure, token.as_deref());
            let stream = connection
                .post_for_stream("/v3/watch", token.as_deref(), &request)
                .await
                .map_err(judged)?;
            let status = stream.status().as_u16();
            let mut watch = Watch {
                body: stream.into_body(),
                buffer: Vec::new(),
                _connection: connection,
            };
            // The first message says that the watch is there.
            watch.next(status).await.map_err(judged)?;
            Ok(watch)
        };
        within(client.etcd.settings.try_limit(), created).await
    }

    /// The keys that were deleted next.
    pub(super) async fn deleted(&mut self) -> Result<Vec<Vec<u8>>, Failure> {
        loop {
            let message = self.next(200).await?;
            let events = message.get("events").and_then(Value::as_array);
            let deleted = events.into_iter().flatten();
            let deleted = deleted.filter(|event| event.get("type") == Some(&json!("DELETE")));
            let keys: Vec<_> = deleted
                .filter_map(|event| event.get("kv").map(key))
                .collect();
            if !keys.is_empty() {
                return Ok(keys);
            }
        }
    }

    /// The next message, which ends with a line.
    async fn next(&mut self, status: u16) -> Result<Value, Failure> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                let message = message(status, &line)?;
                // The revision is compacted, or the user may not watch.
                if message.get("canceled") == Some(&Value::Bool(true)) {
                    return Err(Failure::Silent("the watch was cancelled".to_owned()));
                }
                return Ok(message);
            }
            if self.buffer.len() > LONGEST {
                return Err(Failure::Silent("a message is too long".to_owned()));
            }
            match next_part(&mut self.body).await? {
                Some(part) => self.buffer.extend_from_slice(&part),
                None if self.buffer.is_empty() => {
                    return Err(Failure::Silent("the watch has ended".to_owned()));
                }
                // An error without a line.
                None => self.buffer.push(b'\n'),
            }
        }
    }
}
