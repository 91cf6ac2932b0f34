//! The messages of etcd's JSON gateway: keys and values in base64, 64-bit numbers as texts, and
//! fields that are zero left out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::keys::{Lease, Range};

/// A key and its value.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
    pub(super) create_revision: u64,
    pub(super) lease: Lease,
}

/// The answer to a transaction, or to a range.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) revision: u64,
    pub(super) succeeded: bool,
    /// The pairs that were asked for.
    pub(super) pairs: Vec<Pair>,
}

pub(super) fn text(bytes: impl AsRef<[u8]>) -> Value {
    Value::from(STANDARD.encode(bytes))
}

pub(super) fn number(number: u64) -> Value {
    Value::from(number.to_string())
}

pub(super) fn read_number(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => text.parse().ok(),
        value => value.as_u64(),
    }
}

/// Missing fields are zero.
pub(super) fn number_at(value: &Value, field: &str) -> u64 {
    value.get(field).and_then(read_number).unwrap_or(0)
}

fn bytes_at(value: &Value, field: &str) -> Vec<u8> {
    let text = value.get(field).and_then(Value::as_str);
    let bytes = text.and_then(|text| STANDARD.decode(text).ok());
    bytes.unwrap_or_default()
}

/// The revision of the store when the message was made.
pub(super) fn revision(message: &Value) -> u64 {
    message
        .get("header")
        .map_or(0, |header| number_at(header, "revision"))
}

/// The key of a pair, in events of a watch.
pub(super) fn key(pair: &Value) -> Vec<u8> {
    bytes_at(pair, "key")
}

/// Asks for all pairs of a range.
pub(super) fn range(range: &Range) -> Value {
    json!({"key": text(&range.0), "range_end": text(&range.1)})
}

/// Asks for one pair.
pub(super) fn one(key: &str) -> Value {
    json!({"key": text(key)})
}

/// A condition: the key was created by this revision. 0: there is no such key.
pub(super) fn created_by(key: &str, revision: u64) -> Value {
    json!([{
        "key": text(key), "target": "CREATE", "result": "EQUAL",
        "create_revision": number(revision),
    }])
}

pub(super) fn put(key: &str, value: &str, lease: Lease) -> Value {
    json!({"request_put": {"key": text(key), "value": text(value), "lease": number(lease.0)}})
}

impl Answer {
    /// Of a range request.
    pub(super) fn of_range(message: &Value) -> Answer {
        Answer {
            revision: revision(message),
            succeeded: true,
            pairs: pairs(message),
        }
    }

    /// Of a transaction with one range request at most.
    pub(super) fn of_transaction(message: &Value) -> Answer {
        let responses = message.get("responses").and_then(Value::as_array);
        let ranges = responses.into_iter().flatten();
        let ranges = ranges.filter_map(|response| response.get("response_range"));
        Answer {
            revision: revision(message),
            succeeded: message.get("succeeded") == Some(&Value::Bool(true)),
            pairs: ranges.flat_map(pairs).collect(),
        }
    }
}

fn pairs(range: &Value) -> Vec<Pair> {
    let pairs = range.get("kvs").and_then(Value::as_array);
    let pair = |pair: &Value| Pair {
        key: key(pair),
        value: bytes_at(pair, "value"),
        create_revision: number_at(pair, "create_revision"),
        lease: Lease(number_at(pair, "lease")),
    };
    pairs.into_iter().flatten().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let text = r#"{"header":{"revision":"7"},"succeeded":true,"responses":[
            {"response_put":{"header":{"revision":"7"}}},
            {"response_range":{"kvs":[{"key":"Zm9v","create_revision":"4","lease":"77"}],"count":"1"}}]}"#;
        let message = serde_json::from_str(text).expect("JSON");
        let answer = Answer::of_transaction(&message);
        assert_eq!((answer.revision, answer.succeeded), (7, true));
        let pair = &answer.pairs[0];
        assert_eq!(
            (pair.key.as_slice(), pair.create_revision),
            (&b"foo"[..], 4)
        );
        assert_eq!((pair.lease, pair.value.as_slice()), (Lease(77), &b""[..]));
    }

    #[test]
    fn no_message_makes_it_panic() {
        for text in [
            "null",
            "[]",
            "{}",
            "{\"header\":7,\"responses\":{}}",
            "{\"responses\":[7,{\"response_range\":7}]}",
            "{\"kvs\":[7,{\"key\":7,\"create_revision\":-1,\"value\":\"%\"}]}",
        ] {
            let message = serde_json::from_str(text).expect("JSON");
            assert!(!Answer::of_transaction(&message).succeeded);
            Answer::of_range(&message);
        }
    }
}
