//! Why a call failed, and whether another endpoint may help.

use std::io;

use serde_json::Value;

use super::message::read_number;
use crate::error::{self, one_line};

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// No answer, or none that is about the call: another endpoint, or a later try, may help. The
    /// call may have had its effect.
    Silent(String),
    /// A limit of this process or of the host, such as that of open files. A later try may help.
    Limit(String),
    /// The token of the login counts no more.
    Expired(String),
    /// The cluster does not let this user in, or do this.
    Login(String),
    /// The server is not what it has to be.
    Unsuitable(String),
    /// The lease is unknown: it ran out, or was revoked.
    NoLease,
    /// There is a lease of this number already.
    LeaseExists,
    /// The cluster has no users.
    NoUsers,
    /// Any other answer.
    Refused(String),
}

impl Failure {
    /// Why there is no connection.
    pub(super) fn of_connecting(error: &io::Error) -> Failure {
        match error::limit(error) {
            Some(why) => Failure::Limit(why),
            None => Failure::Silent(error.to_string()),
        }
    }

    /// Whether another endpoint, or a later try, may help.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, Failure::Silent(_) | Failure::Limit(_))
    }

    pub(super) fn why(&self) -> &str {
        match self {
            Failure::NoLease => "the lease does not exist",
            Failure::LeaseExists => "the lease exists already",
            Failure::NoUsers => "the cluster has no users",
            Failure::Silent(why)
            | Failure::Limit(why)
            | Failure::Expired(why)
            | Failure::Login(why)
            | Failure::Unsuitable(why)
            | Failure::Refused(why) => why,
        }
    }
}

/// Numbers of gRPC.
mod code {
    pub(super) const INVALID: u64 = 3;
    pub(super) const DEADLINE: u64 = 4;
    pub(super) const NOT_FOUND: u64 = 5;
    pub(super) const DENIED: u64 = 7;
    pub(super) const EXHAUSTED: u64 = 8;
    pub(super) const PRECONDITION: u64 = 9;
    pub(super) const UNIMPLEMENTED: u64 = 12;
    pub(super) const UNAVAILABLE: u64 = 14;
    pub(super) const UNAUTHENTICATED: u64 = 16;
}

/// What a refusal means: the status of HTTP, and the message, if it is one of the gateway.
pub(super) fn refusal(status: u16, message: &Value) -> Failure {
    // In the answers of a method with many, the error is an object of its own.
    let error = match message.get("error") {
        Some(error @ Value::Object(_)) => error,
        _ => message,
    };
    let text = |field| error.get(field).and_then(Value::as_str);
    let why = text("message")
        .or_else(|| text("error"))
        .unwrap_or_default();
    let code = error.get("code").or_else(|| error.get("grpc_code"));
    let Some(code) = code.and_then(read_number) else {
        return not_of_the_gateway(status);
    };
    let said = one_line(why);
    let has = |part: &str| why.contains(part);
    match code {
        code::NOT_FOUND if has("lease not found") => Failure::NoLease,
        code::PRECONDITION if has("lease already exists") => Failure::LeaseExists,
        code::PRECONDITION if has("authentication is not enabled") => Failure::NoUsers,
        code::UNAUTHENTICATED => Failure::Expired(said),
        code::INVALID if has("revision of auth store is old") || has("auth revision") => {
            Failure::Expired(said)
        }
        code::INVALID if has("user name is empty") => Failure::Login(
            "the cluster has users, and the URL names none; write etcd://user@host/#name"
                .to_owned(),
        ),
        code::INVALID if has("authentication failed") => {
            Failure::Login(format!("{said}; check the user and the password"))
        }
        code::DENIED => Failure::Login(format!(
            "{said}; give the user a role with readwrite on the prefix of the locks"
        )),
        code::UNIMPLEMENTED => Failure::Unsuitable(format!("{said}; use etcd 3.4 or later")),
        // Of the whole cluster, until somebody makes room: no other endpoint helps.
        code::EXHAUSTED if has("database space exceeded") => Failure::Refused(format!(
            "{said}; compact and defragment the database, then run `etcdctl alarm disarm`"
        )),
        code::DEADLINE | code::EXHAUSTED | code::UNAVAILABLE => Failure::Silent(said),
        _ => Failure::Refused(said),
    }
}

fn not_of_the_gateway(status: u16) -> Failure {
    match status {
        404 => Failure::Unsuitable(
            "the JSON gateway is switched off, or this is etcd before 3.4; start etcd with \
             --enable-grpc-gateway=true (in a configuration file: enable-grpc-gateway: true)"
                .to_owned(),
        ),
        401 | 403 => Failure::Login(format!("a proxy refuses the request (HTTP {status})")),
        500.. => Failure::Silent(format!("HTTP {status}")),
        _ => Failure::Unsuitable(format!(
            "this is not etcd: the answer (HTTP {status}) is no message of etcd; check host and port"
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn refusals_are_told_apart() {
        let plain = |status, code: u64, message: &str| {
            refusal(
                status,
                &json!({"error": message, "message": message, "code": code}),
            )
        };
        let full = plain(429, 8, "etcdserver: mvcc: database space exceeded");
        assert!(
            matches!(&full, Failure::Refused(why) if why.contains("alarm disarm")),
            "{full:?}"
        );
        assert_eq!(
            plain(404, 5, "etcdserver: requested lease not found"),
            Failure::NoLease
        );
        assert_eq!(
            plain(412, 9, "etcdserver: lease already exists"),
            Failure::LeaseExists
        );
        assert!(matches!(
            plain(503, 14, "etcdserver: no leader"),
            Failure::Silent(_)
        ));
        assert!(matches!(
            plain(401, 16, "etcdserver: invalid auth token"),
            Failure::Expired(_)
        ));
        assert!(matches!(
            plain(403, 7, "etcdserver: permission denied"),
            Failure::Login(_)
        ));
        let in_stream = json!({"error": {"grpc_code": 14, "http_code": 503,
            "message": "etcdserver: no leader", "http_status": "Service Unavailable"}});
        assert_eq!(
            refusal(200, &in_stream),
            Failure::Silent("etcdserver: no leader".to_owned())
        );
        let off = refusal(404, &Value::Null);
        assert!(off.why().contains("--enable-grpc-gateway"), "{off:?}");
        assert!(matches!(
            refusal(200, &json!({"error": 7})),
            Failure::Unsuitable(_)
        ));
    }
}
