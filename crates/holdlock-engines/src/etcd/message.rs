//! The messages of etcd's JSON gateway: keys and values in base64, 64-bit numbers as texts, and
//! fields that are zero left out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::failure::Failure;
use super::keys::{Lease, Range};

/// A key and its value.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
    pub(super) create_revision: u64,
    pub(super) lease: Lease,
}

/// So that a revision has a next one.
const LAST_REVISION: u64 = i64::MAX as u64;

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

/// The revision of the store when the message was made. To etcd it is a signed number.
fn revision(message: &Value) -> Result<u64, Failure> {
    let header = message.get("header");
    match header.map_or(0, |header| number_at(header, "revision")) {
        revision @ 1..LAST_REVISION => Ok(revision),
        _ => Err(not_whole()),
    }
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
    json!({
        "key": text(key), "target": "CREATE", "result": "EQUAL",
        "create_revision": number(revision),
    })
}

/// A condition: there is such a key.
pub(super) fn exists(key: &[u8]) -> Value {
    json!({
        "key": text(key), "target": "CREATE", "result": "GREATER",
        "create_revision": number(0),
    })
}

pub(super) fn put(key: &str, value: &str, lease: Lease) -> Value {
    json!({"request_put": {"key": text(key), "value": text(value), "lease": number(lease.0)}})
}

/// A range without pairs says that the lock is free, so an answer that is not whole must not look
/// like one: each part that was asked for has to be there.
impl Answer {
    /// Of a range request.
    pub(super) fn of_range(message: &Value) -> Result<Answer, Failure> {
        let revision = revision(message)?;
        Ok(Answer {
            revision,
            succeeded: true,
            pairs: pairs(message, revision)?,
        })
    }

    /// Of a transaction with one range request at most.
    pub(super) fn of_transaction(message: &Value) -> Result<Answer, Failure> {
        let responses = message.get("responses").and_then(Value::as_array);
        let ranges = responses.into_iter().flatten();
        let range = ranges
            .filter_map(|response| response.get("response_range"))
            .next();
        let revision = revision(message)?;
        Ok(Answer {
            revision,
            succeeded: message.get("succeeded") == Some(&Value::Bool(true)),
            pairs: range.map_or(Ok(Vec::new()), |range| pairs(range, revision))?,
        })
    }

    /// Of a transaction that asks for a range if it succeeds.
    pub(super) fn of_transaction_with_range(message: &Value) -> Result<Answer, Failure> {
        let answer = Answer::of_transaction(message)?;
        let responses = message.get("responses").and_then(Value::as_array);
        let mut responses = responses.into_iter().flatten();
        match !answer.succeeded
            || responses.any(|response| response.get("response_range").is_some())
        {
            true => Ok(answer),
            false => Err(not_whole()),
        }
    }
}

/// The pairs of a range, none of which can have been created after the answer.
fn pairs(range: &Value, revision: u64) -> Result<Vec<Pair>, Failure> {
    let pairs = match range.get("kvs") {
        None => return Ok(Vec::new()),
        Some(pairs) => pairs.as_array().ok_or_else(not_whole)?,
    };
    let pair = |pair: &Value| {
        let create_revision = number_at(pair, "create_revision");
        if !(1..=revision).contains(&create_revision) {
            return Err(not_whole());
        }
        Ok(Pair {
            key: key(pair),
            value: bytes_at(pair, "value"),
            create_revision,
            lease: Lease(number_at(pair, "lease")),
        })
    };
    pairs.iter().map(pair).collect()
}

fn not_whole() -> Failure {
    Failure::Silent("the answer is not whole".to_owned())
}

#[cfg(test)]
mod tests {
    use holdlock_test_support::garbled;

    use super::super::http;
    use super::*;

    const WHOLE: &str = r#"{"header":{"revision":"7"},"succeeded":true,"responses":[
        {"response_put":{"header":{"revision":"7"}}},
        {"response_range":{"kvs":[{"key":"Zm9v","create_revision":"4","lease":"77"}],"count":"1"}}]}"#;

    fn transaction(text: &str) -> Result<Answer, Failure> {
        Answer::of_transaction_with_range(&serde_json::from_str(text).expect("JSON"))
    }

    #[test]
    fn answers_are_read() {
        let answer = transaction(WHOLE).expect("whole");
        assert_eq!((answer.revision, answer.succeeded), (7, true));
        let pair = &answer.pairs[0];
        assert_eq!(
            (pair.key.as_slice(), pair.create_revision),
            (&b"foo"[..], 4)
        );
        assert_eq!((pair.lease, pair.value.as_slice()), (Lease(77), &b""[..]));
        // Fields that are zero are left out.
        let free = r#"{"header":{"revision":"7"},"succeeded":true,
            "responses":[{"response_range":{"header":{"revision":"7"}}}]}"#;
        assert!(transaction(free).expect("whole").pairs.is_empty());
        let gone = r#"{"header":{"revision":"7"},"responses":[{"response_range":{}}]}"#;
        assert!(!transaction(gone).expect("whole").succeeded);
    }

    #[test]
    fn an_answer_that_is_not_whole_does_not_say_that_the_lock_is_free() {
        for text in [
            r#"{"succeeded":true,"responses":[{"response_range":{}}]}"#,
            r#"{"header":{"revision":"7"},"succeeded":true}"#,
            r#"{"header":{"revision":"7"},"succeeded":true,"responses":[{"response_put":{}}]}"#,
            r#"{"header":{"revision":"7"},"succeeded":true,"responses":[{"response_range":{"kvs":7}}]}"#,
            r#"{"header":{"revision":"7"},"succeeded":true,"responses":[{"response_range":{"kvs":[{}]}}]}"#,
            r#"{"header":{"revision":"7"},"succeeded":true,
                "responses":[{"response_range":{"kvs":[{"create_revision":"8"}]}}]}"#,
        ] {
            assert!(transaction(text).is_err(), "{text}");
        }
        for text in [
            "{}",
            "{\"kvs\":[]}",
            "{\"header\":{\"revision\":\"7\"},\"kvs\":{}}",
            "{\"header\":{\"revision\":\"9223372036854775807\"}}",
            "{\"header\":{\"revision\":\"18446744073709551615\"}}",
        ] {
            let message = serde_json::from_str(text).expect("JSON");
            assert!(Answer::of_range(&message).is_err(), "{text}");
        }
    }

    #[test]
    fn no_message_makes_it_panic() {
        let samples: [&[u8]; 5] = [
            WHOLE.as_bytes(),
            br#"{"result":{"header":{"revision":"7"},"ID":"7","TTL":"15"}}"#,
            br#"{"result":{"events":[{"type":"DELETE","kv":{"key":"Zm9v","mod_revision":"9"}}]}}"#,
            br#"{"header":{"revision":"9"},"kvs":[{"key":"Zm9v","create_revision":"4","value":"YQ=="}]}"#,
            br#"{"error":{"grpc_code":14,"http_code":503,"message":"etcdserver: no leader"}}"#,
        ];
        let mut whole = 0;
        garbled(&samples, |text| {
            for status in [200, 503] {
                let Ok(message) = http::message(status, text) else {
                    continue;
                };
                let answer = Answer::of_transaction_with_range(&message);
                for answer in [answer, Answer::of_range(&message)].into_iter().flatten() {
                    assert!(answer.revision > 0);
                    let at = 1..=answer.revision;
                    let mut pairs = answer.pairs.iter();
                    assert!(pairs.all(|pair| at.contains(&pair.create_revision)));
                    whole += 1;
                }
            }
        });
        assert!(whole > 100, "only {whole} were whole");
    }
}
