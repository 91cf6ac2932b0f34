//! One connection to an endpoint: HTTP/1.1, over TCP or TLS, with one request at a time.

use std::future::Future;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HOST};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::task::AbortHandle;

use super::Etcd;
use super::failure::{Failure, refusal};
use crate::duration::spoken;
use crate::error::one_line;
use crate::stream::{self, Stream};

/// The longest answer that is read.
const LONGEST: usize = 16 * 1024 * 1024;

/// When it is dropped, the socket is closed.
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    task: AbortHandle,
    /// For the header of this name.
    name: String,
    /// The clock of the endpoint, when it answered last.
    pub(super) clock: Option<SystemTime>,
    pub(super) endpoint: usize,
    pub(super) address: SocketAddr,
}

impl Etcd {
    /// Connects to an endpoint at one of its addresses. The caller limits the time.
    pub(super) async fn open(
        &self,
        endpoint: usize,
        address: SocketAddr,
    ) -> Result<Connection, Failure> {
        let host = &self.settings.hosts[endpoint];
        let tcp = stream::tcp(address, self.settings.ttl).await;
        let tcp = tcp.map_err(|error| Failure::of_connecting(&error))?;
        let stream: Box<dyn Stream> = match &self.certificates {
            None => Box::new(tcp),
            Some(certificates) => {
                let tls = certificates
                    .tls(&host.name)
                    .map_err(|why| Failure::Unsuitable(format!("TLS cannot be set up: {why}")))?;
                Box::new(tls.encrypt(tcp).await.map_err(tls_failure)?)
            }
        };
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let task = tokio::task::spawn_local(async move {
            // Whoever has sent a request hears of an error.
            let _ = connection.await;
        });
        Ok(Connection {
            sender,
            task: task.abort_handle(),
            name: host.to_string(),
            clock: None,
            endpoint,
            address,
        })
    }
}

/// A wrong certificate is a matter of the settings; a connection that ended is not.
fn tls_failure(error: std::io::Error) -> Failure {
    let why = one_line(&error.to_string());
    match error.kind() {
        std::io::ErrorKind::InvalidData => Failure::Login(format!(
            "TLS failed: {why}; check etcds://, ca=, cert= and the host's name"
        )),
        _ => Failure::Silent(why),
    }
}

impl Connection {
    /// Whether the endpoint has closed the connection.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    pub(super) async fn get(&mut self, path: &str) -> Result<Value, Failure> {
        let response = self.send(Method::GET, path, None, Bytes::new()).await?;
        read(response).await
    }

    /// Calls a method of the gateway.
    pub(super) async fn post(
        &mut self,
        path: &str,
        token: Option<&str>,
        message: &Value,
    ) -> Result<Value, Failure> {
        read(self.post_for_stream(path, token, message).await?).await
    }

    /// Calls a method whose answer has no end.
    pub(super) async fn post_for_stream(
        &mut self,
        path: &str,
        token: Option<&str>,
        message: &Value,
    ) -> Result<Response<Incoming>, Failure> {
        let body = Bytes::from(message.to_string());
        self.send(Method::POST, path, token, body).await
    }

    async fn send(
        &mut self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Bytes,
    ) -> Result<Response<Incoming>, Failure> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &self.name)
            .header(CONTENT_TYPE, "application/json")
            // Without a leader a member answers 503 at once, in place of silence.
            .header("Grpc-Metadata-hasleader", "true");
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, token);
        }
        let request = request
            .body(Full::new(body))
            .map_err(|error| Failure::Silent(error.to_string()))?;
        self.sender.ready().await.map_err(broken)?;
        let response = self.sender.send_request(request).await.map_err(broken)?;
        let date = response.headers().get(DATE);
        self.clock = date
            .and_then(|date| date.to_str().ok())
            .and_then(|date| httpdate::parse_http_date(date).ok());
        Ok(response)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reads an answer to its end.
async fn read(response: Response<Incoming>) -> Result<Value, Failure> {
    let (status, mut body) = (response.status().as_u16(), response.into_body());
    let mut bytes = Vec::new();
    while let Some(part) = next_part(&mut body).await? {
        bytes.extend_from_slice(&part);
        if bytes.len() > LONGEST {
            return Err(Failure::Silent("the answer is too long".to_owned()));
        }
    }
    message(status, &bytes)
}

/// The next bytes of a body. None at its end.
pub(super) async fn next_part(body: &mut Incoming) -> Result<Option<Bytes>, Failure> {
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(broken)?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// A message of an answer. Methods with many answers wrap each into `result` or `error`.
pub(super) fn message(status: u16, bytes: &[u8]) -> Result<Value, Failure> {
    let value = serde_json::from_slice::<Value>(bytes);
    let Ok(Value::Object(mut message)) = value else {
        return Err(refusal(status, &Value::Null));
    };
    if let Some(result) = message.remove("result") {
        return Ok(result);
    }
    match status {
        200 if !message.contains_key("error") => Ok(Value::Object(message)),
        _ => Err(refusal(status, &Value::Object(message))),
    }
}

fn broken(error: hyper::Error) -> Failure {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    Failure::Silent(one_line(&text))
}

/// Limits the time of a try.
pub(super) async fn within<T>(
    limit: Duration,
    task: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(limit, task).await {
        Ok(result) => result,
        Err(_) => Err(Failure::Silent(format!(
            "no answer within {}",
            spoken(limit)
        ))),
    }
}
