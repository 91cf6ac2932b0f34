//! The script, which runs in the server, and the keys that it is given.

use std::sync::LazyLock;
use std::time::Duration;

use redis::{Script, Value, cmd};

use super::link::{Failure, Link};

static SCRIPT: &str = include_str!("lock.lua");
static HASH: LazyLock<String> = LazyLock::new(|| Script::new(SCRIPT).get_hash().to_owned());

/// What the keys of a lock begin with. The braces let a cluster keep them at one node.
pub(super) const BEGIN: &str = "{holdlock:";
/// The end of the key that exists as long as somebody holds the lock or waits for it.
pub(super) const UNTIL: &str = "}:until";

/// A lock in a server.
pub(super) struct Names {
    keys: [String; 7],
    channels: String,
}

impl Names {
    pub(super) fn new(name: &str, in_cluster: bool) -> Names {
        let of_lock = |part: &str| format!("{BEGIN}{name}}}:{part}");
        let server = match in_cluster {
            // All keys of a call have to be at the same node.
            true => of_lock("server"),
            false => "holdlock:server".to_owned(),
        };
        Names {
            keys: [
                of_lock("holders"),
                of_lock("queue"),
                of_lock("until"),
                of_lock("records"),
                of_lock("lock"),
                server,
                of_lock("run"),
            ],
            channels: of_lock("wake:"),
        }
    }

    /// The channel on which a member is woken.
    pub(super) fn channel(&self, member: &str) -> String {
        format!("{}{member}", self.channels)
    }
}

/// Runs the script for a member. A server that does not know the script is sent it.
pub(super) async fn run(
    link: &Link,
    names: &Names,
    (what, member): (&str, &str),
    arguments: &[String],
    limit: Duration,
) -> Result<Value, Failure> {
    let command = |call: &str, script: &str| {
        let mut command = cmd(call);
        command.arg(script).arg(names.keys.len()).arg(&names.keys);
        command.arg(what).arg(member).arg(&names.channels);
        command.arg(arguments);
        command
    };
    match link.command(command("EVALSHA", &HASH), limit).await {
        Err(Failure::Refused(code, _)) if code == "NOSCRIPT" => {
            link.command(command("EVAL", SCRIPT), limit).await
        }
        answer => answer,
    }
}
