//! One connection to a server.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Cmd, PushInfo, PushKind, RedisConnectionInfo, RedisError, Value,
};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use super::given_up::GivenUp;
use crate::duration::spoken;
use crate::error::one_line;
use crate::stream::Stream;

/// Ends when it is dropped, whatever is under way.
pub(super) struct Link {
    connection: MultiplexedConnection,
    /// Whether the connection has ended.
    ended: watch::Receiver<bool>,
    driver: AbortHandle,
    given_up: GivenUp,
}

/// Why a command failed.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// The connection has ended.
    Gone(String),
    /// The server refused it, with this code and these words.
    Refused(String, String),
    /// No answer.
    Silent(Duration),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Gone(why) => write!(f, "the connection ended: {why}"),
            Failure::Refused(code, why) => write!(f, "{code} {why}"),
            Failure::Silent(limit) => {
                write!(f, "the server did not answer within {}", spoken(*limit))
            }
        }
    }
}

impl Link {
    /// Logs in. `woken` hears each message on a channel, and the end of the connection.
    pub(super) async fn new(
        login: &RedisConnectionInfo,
        stream: Box<dyn Stream>,
        given_up: GivenUp,
        woken: Arc<Notify>,
    ) -> Result<Link, Failure> {
        let (tell, ended) = watch::channel(false);
        let at_end = woken.clone();
        let push = move |push: PushInfo| -> Result<(), ()> {
            if push.kind == PushKind::Message {
                woken.notify_one();
            }
            Ok(())
        };
        // No limits but ours.
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_push_sender(push);
        let connected = MultiplexedConnection::new_with_config(login, stream, config);
        let (connection, driver) = connected.await.map_err(failure)?;
        let driver = tokio::task::spawn_local(async move {
            driver.await;
            let _ = tell.send(true);
            at_end.notify_one();
        });
        Ok(Link {
            connection,
            ended,
            driver: driver.abort_handle(),
            given_up,
        })
    }

    /// Sends a command. The server answers in the order of the calls.
    pub(super) fn command(
        &self,
        command: Cmd,
        limit: Duration,
    ) -> impl Future<Output = Result<Value, Failure>> + use<> {
        let mut connection = self.connection.clone();
        async move {
            let answer = connection.send_packed_command(&command);
            match tokio::time::timeout(limit, answer).await {
                Ok(Ok(Value::ServerError(error))) => Err(failure(error.into())),
                Ok(answer) => answer.map_err(failure),
                Err(_) => Err(Failure::Silent(limit)),
            }
        }
    }

    /// Hears the messages on a channel from now on.
    pub(super) fn subscribe(
        &self,
        channel: String,
        limit: Duration,
    ) -> impl Future<Output = Result<(), Failure>> + use<> {
        let mut connection = self.connection.clone();
        async move {
            let answer = connection.subscribe(channel);
            match tokio::time::timeout(limit, answer).await {
                Ok(answer) => answer.map_err(failure),
                Err(_) => Err(Failure::Silent(limit)),
            }
        }
    }

    /// Nobody waits for an answer any more. What the server has not been sent yet is never sent.
    pub(super) fn give_up(&self) {
        self.given_up.set();
    }

    pub(super) fn has_ended(&self) -> bool {
        *self.ended.borrow()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// The words of the server, or of the operating system.
fn failure(error: RedisError) -> Failure {
    match (error.code(), error.detail()) {
        (Some(code), detail) => {
            let words = detail.map_or_else(|| error.category().to_owned(), str::to_owned);
            refused(code, &words)
        }
        (None, _) if error.kind() == redis::ErrorKind::RESP3NotSupported => without_hello(),
        (None, _) if error.kind() == redis::ErrorKind::Parse => {
            Failure::Gone("the answer is not one of Redis".to_owned())
        }
        (None, _) => Failure::Gone(one_line(&error.to_string())),
    }
}

/// A server that does not know a command repeats its arguments: those of HELLO are the user and
/// the password.
fn refused(code: &str, words: &str) -> Failure {
    let words = words.split(", with args beginning with").next();
    let words = one_line(words.unwrap_or_default());
    let lower = words.to_ascii_lowercase();
    match lower.contains("unknown command") && lower.contains("hello") {
        true => without_hello(),
        false => Failure::Refused(code.to_owned(), words),
    }
}

fn without_hello() -> Failure {
    Failure::Refused(
        "NOPROTO".to_owned(),
        "the server has no command HELLO: it is older than Redis 6, or the command was renamed"
            .to_owned(),
    )
}
