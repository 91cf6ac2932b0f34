//! All locks of a database.

use std::collections::BTreeSet;
use std::sync::Arc;

use redis::cmd;

use super::connect::{Accepted, COMMAND};
use super::link::Failure;
use super::script::{self, BEGIN, Names, UNTIL};
use super::{Redis, members};
use crate::{Error, Listed};

/// How many keys the server looks at in one step.
const STEP: u32 = 1000;

/// Looks at all keys of the database, in many short steps.
pub(super) async fn list(redis: &Arc<Redis>) -> Result<Vec<Listed>, Error> {
    const OPERATION: &str = "listing the locks";
    let Accepted {
        link,
        host,
        in_cluster,
    } = redis.connect(None, &Arc::default()).await?;
    if in_cluster {
        return Err(Error::Failed {
            lock: redis.shown().to_owned(),
            operation: OPERATION,
            why: "a cluster keeps them at many nodes; ask for one lock, by its name".to_owned(),
        });
    }
    let failed = |failure| match failure {
        Failure::Refused(code, why) => redis.refused(&host, &code, &why, OPERATION),
        other => redis.unreachable(format!("{host}: {other}")),
    };
    // The key of the server alone, which may be of another type.
    let nothing = Names::new("", false);
    let looked = script::run(&link, &nothing, ("members", ""), &[], COMMAND).await;
    looked.map_err(failed)?;
    let mut names = BTreeSet::new();
    let mut cursor = 0_u64;
    loop {
        let mut scan = cmd("SCAN");
        scan.arg(cursor)
            .arg("MATCH")
            .arg(format!("{BEGIN}*{UNTIL}"));
        scan.arg("COUNT").arg(STEP);
        let answer = link.command(scan, COMMAND).await.map_err(failed)?;
        let found: (u64, Vec<Vec<u8>>) =
            redis::from_redis_value(answer).map_err(|_| redis.wrong_answer())?;
        let keys = found.1.iter().filter_map(|key| str::from_utf8(key).ok());
        let name = |key: &str| Some(key.strip_prefix(BEGIN)?.strip_suffix(UNTIL)?.to_owned());
        names.extend(keys.filter_map(name));
        cursor = found.0;
        if cursor == 0 {
            break;
        }
    }
    let mut listed = Vec::new();
    for name in names {
        let keys = Names::new(&name, false);
        let answer = script::run(&link, &keys, ("members", ""), &[], COMMAND).await;
        let members = members::read(answer.map_err(failed)?);
        let members = members.ok_or_else(|| redis.wrong_answer())?;
        if members.holders.len() + members.waiters.len() > 0 {
            listed.push(Listed {
                name: Some(name),
                members,
            });
        }
    }
    Ok(listed)
}
