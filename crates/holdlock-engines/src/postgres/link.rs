//! One connection: a session of the server.
//!
//! When a link is dropped, the session ends, and with it all that it held or waited for. If a
//! statement is under way, it is cancelled first: a server that waits for a lock would not notice
//! the end of the connection at once.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio_postgres::{AsyncMessage, CancelToken, Client, Connection, Error, SimpleQueryMessage};

use super::connect::Target;
use super::wire::PerhapsTls;
use crate::error::one_line;
use crate::stream::Stream;

/// How long cancelling a statement may take.
const CANCEL: Duration = Duration::from_secs(2);
/// How long after an error the connection may take to say why it ended.
const REASON: Duration = Duration::from_millis(100);

/// A row of an answer, as text.
pub(super) type Row = Vec<Option<String>>;

pub(super) struct Link {
    client: Rc<Client>,
    /// Why the connection has ended.
    ended: watch::Receiver<Option<String>>,
    /// A NOTIFY has come.
    notified: Rc<Notify>,
    task: AbortHandle,
    /// The numbers of the statements that were sent last and answered last.
    sent: Cell<u64>,
    answered: Rc<Cell<u64>>,
    /// For cancel requests: they need a connection of their own.
    target: Target,
    tls: PerhapsTls,
    cancel: CancelToken,
    port: Option<u16>,
}

/// Why a statement failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The connection has ended.
    Gone(String),
    /// The server refused it, with this SQLSTATE.
    Refused(String, String),
    /// No answer.
    Silent(Duration),
}

impl Link {
    pub(super) fn new<S: Stream + 'static, T: Stream + 'static>(
        client: Client,
        connection: Connection<S, T>,
        target: Target,
        tls: PerhapsTls,
        port: Option<u16>,
    ) -> Link {
        let (tell, ended) = watch::channel(None);
        let notified = Rc::new(Notify::new());
        let notify = notified.clone();
        let task = tokio::task::spawn_local(async move {
            let mut connection = connection;
            let why = loop {
                match poll_fn(|context| connection.poll_message(context)).await {
                    Some(Ok(AsyncMessage::Notification(_))) => notify.notify_one(),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => break reason(&error),
                    None => break "the connection was closed".to_owned(),
                }
            };
            let _ = tell.send(Some(why));
        });
        Link {
            cancel: client.cancel_token(),
            client: Rc::new(client),
            ended,
            notified,
            task: task.abort_handle(),
            sent: Cell::new(0),
            answered: Rc::default(),
            target,
            tls,
            port,
        }
    }

    /// Our own port, if the connection is TCP.
    pub(super) fn port(&self) -> Option<u16> {
        self.port
    }

    /// The process number that the server told at the login.
    pub(super) async fn backend_pid(&self) -> Option<i32> {
        super::wire::backend_pid(&self.cancel).await
    }

    /// Sends statements, which the server executes as one transaction, and returns all of their
    /// rows. The server answers in the order of the calls.
    pub(super) fn query(
        &self,
        statements: String,
        limit: Duration,
    ) -> impl Future<Output = Result<Vec<Row>, Failure>> + use<> {
        let number = self.sent.get() + 1;
        self.sent.set(number);
        let answered = self.answered.clone();
        let client = self.client.clone();
        let ended = self.ended.clone();
        async move {
            let answer = client.simple_query(&statements);
            let Ok(answer) = tokio::time::timeout(limit, answer).await else {
                // After a pause of this process the time is over before anything was read.
                return Err(match tokio::time::timeout(REASON, why_ended(ended)).await {
                    Ok(why) => Failure::Gone(why),
                    Err(_) => Failure::Silent(limit),
                });
            };
            answered.set(number);
            match answer {
                Ok(messages) => Ok(rows(messages)),
                Err(error) => Err(match error.as_db_error() {
                    Some(refusal) if !is_fatal(refusal) => {
                        let why = one_line(refusal.message());
                        Failure::Refused(refusal.code().code().to_owned(), why)
                    }
                    // The server's last words say more than the end of the connection.
                    Some(_) => Failure::Gone(reason(&error)),
                    None => {
                        let why = tokio::time::timeout(REASON, why_ended(ended)).await;
                        Failure::Gone(why.unwrap_or_else(|_| reason(&error)))
                    }
                }),
            }
        }
    }

    /// Ready when a NOTIFY has come since the last call.
    pub(super) async fn notified(&self) {
        self.notified.notified().await;
    }

    /// Ready when the connection has ended, with the reason.
    pub(super) fn ended(&self) -> impl Future<Output = String> + use<> {
        why_ended(self.ended.clone())
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let (task, target) = (self.task.clone(), self.target.clone());
        if self.sent.get() == self.answered.get() {
            // Dropping the client says goodbye, and ends the task: but not if the server's answers
            // were damaged, so that the client waits for the rest of one. The session would stay,
            // with its lock.
            let ended = self.ended();
            tokio::task::spawn_local(async move {
                let _ = tokio::time::timeout(CANCEL, ended).await;
                task.abort();
            });
            return;
        }
        let (tls, cancel) = (self.tls.clone(), self.cancel.clone());
        tokio::task::spawn_local(async move {
            let request = async {
                let stream = target.connect().await.ok()?;
                cancel.cancel_query_raw(stream, tls).await.ok()
            };
            let _ = tokio::time::timeout(CANCEL, request).await;
            task.abort();
        });
    }
}

async fn why_ended(mut ended: watch::Receiver<Option<String>>) -> String {
    let why = ended.wait_for(Option::is_some).await;
    let why = why.ok().and_then(|why| why.clone());
    why.unwrap_or_else(|| "the connection was given up".to_owned())
}

fn is_fatal(error: &tokio_postgres::error::DbError) -> bool {
    matches!(error.severity(), "FATAL" | "PANIC") || error.code().code().starts_with("57P0")
}

fn rows(messages: Vec<SimpleQueryMessage>) -> Vec<Row> {
    let rows = messages.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let fields = |index| {
        move |row: &tokio_postgres::SimpleQueryRow| {
            row.try_get(index).ok().flatten().map(str::to_owned)
        }
    };
    rows.map(|row| (0..row.len()).map(|index| fields(index)(&row)).collect())
        .collect()
}

/// The words of the server, or of the operating system.
pub(super) fn reason(error: &Error) -> String {
    if let Some(refusal) = error.as_db_error() {
        return one_line(refusal.message());
    }
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    one_line(&text)
}
