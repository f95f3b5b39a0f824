//! What is checked of Redis before the service begins.

use std::collections::HashMap;
use std::fmt;

use uuid::Uuid;

use super::Counters;
use super::error::CountersError;
use super::error::redirect;
use super::keys;
use super::server::Server;

/// The layout of a shard's keys, as `lua/open.lua` writes it into `meta.version`.
const LAYOUT: &str = "3";

/// How much of what was acknowledged survives a crash of Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// No append-only file: a restart loses what the last snapshot lacks.
    None,
    /// Append-only file, written to disk each second: a crash of the machine loses up to 2 s.
    Fast,
    /// Append-only file, written to disk before each answer.
    Safe,
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none (no append-only file)",
            Self::Fast => "fast (append-only file, everysec)",
            Self::Safe => "safe (append-only file, always)",
        })
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartupReport {
    /// The server's version.
    pub version: String,
    /// What happens when memory runs out.
    pub eviction_policy: String,
    /// What survives a crash.
    pub durability: Durability,
    /// Redis' time minus the node's, in milliseconds.
    pub skew_ms: i64,
}

impl StartupReport {
    /// What is true of two servers together: the lesser durability, the greater skew.
    fn and(self, other: Self) -> Self {
        let both = |a: String, b: String| if a == b { a } else { format!("{a}, {b}") };
        Self {
            version: both(self.version, other.version),
            eviction_policy: both(self.eviction_policy, other.eviction_policy),
            durability: self.durability.min(other.durability),
            skew_ms: std::cmp::max_by_key(self.skew_ms, other.skew_ms, |skew_ms| skew_ms.abs()),
        }
    }
}

impl Counters {
    /// Checks eviction policy, persistence and clock skew of every server that decides, and that no shard belongs to another
    /// database or is laid out by another version.
    ///
    /// # Errors
    ///
    /// [`CountersError::Unfit`] when Redis may evict the outbox, or belongs to another installation or version;
    /// [`CountersError::Unavailable`] when it is away.
    pub async fn check_at_start(&self, instance: Uuid) -> Result<StartupReport, CountersError> {
        let mut report: Option<StartupReport> = None;
        for server in self.lanes.routes.primaries().await? {
            let found = self.check_server(&server).await?;
            report = Some(match report {
                Some(report) => report.and(found),
                None => found,
            });
        }
        for shard in 0..self.shard_count() {
            self.check_shard(shard, instance).await?;
        }
        report.ok_or(CountersError::away(None))
    }

    async fn check_server(&self, server: &Server) -> Result<StartupReport, CountersError> {
        let info: String = server.ask(&redis::cmd("INFO")).await.map_err(CountersError::of)?;
        let info: HashMap<&str, &str> =
            info.lines().filter_map(|line| line.split_once(':')).collect();
        let field = |name: &str| info.get(name).map_or("", |value| value.trim()).to_owned();
        let eviction_policy = field("maxmemory_policy");
        if eviction_policy.starts_with("allkeys-") {
            return Err(CountersError::Unfit(format!(
                "maxmemory-policy is {eviction_policy}, which may evict the outbox; set noeviction or volatile-ttl"
            )));
        }
        let durability = durability(server, field("aof_enabled") == "1").await;
        let (seconds, micros): (i64, i64) =
            server.ask(&redis::cmd("TIME")).await.map_err(CountersError::of)?;
        let skew_ms = seconds * 1_000 + micros / 1_000 + self.lanes.clock.offset_ms()
            - self.lanes.clock.now_ms();
        self.set_clock_delta_ms(skew_ms);
        Ok(StartupReport { version: field("redis_version"), eviction_policy, durability, skew_ms })
    }

    async fn check_shard(&self, shard: u16, instance: Uuid) -> Result<(), CountersError> {
        let mut command = redis::cmd("HMGET");
        command.arg(keys::meta(shard)).arg("instance").arg("version");
        let found = self.query(shard, &command).await;
        let (owner, layout): (Option<String>, Option<String>) = found.map_err(of_a_cluster)?;
        if let Some(other) = owner.filter(|owner| *owner != instance.to_string()) {
            return Err(CountersError::Unfit(format!(
                "shard {shard} belongs to the database {other}, not to {instance}"
            )));
        }
        match layout {
            Some(other) if other != LAYOUT => Err(CountersError::Unfit(format!(
                "shard {shard} has the layout {other} of another version of headroom, this one reads {LAYOUT}; let that version flush the outbox and stop, then empty this redis"
            ))),
            _ => Ok(()),
        }
    }
}

/// `CONFIG` is forbidden on many hosted servers; everysec, the default, is assumed there.
async fn durability(server: &Server, has_append_only_file: bool) -> Durability {
    if !has_append_only_file {
        return Durability::None;
    }
    let mut command = redis::cmd("CONFIG");
    command.arg("GET").arg("appendfsync");
    let answer: HashMap<String, String> = server.ask(&command).await.unwrap_or_default();
    let is_always = answer.get("appendfsync").is_some_and(|value| value == "always");
    if is_always { Durability::Safe } else { Durability::Fast }
}

/// A redirection that nobody follows: the server is one of a cluster, and was configured as the only one.
fn of_a_cluster(error: CountersError) -> CountersError {
    match &error {
        CountersError::Unavailable { source: Some(source), .. } if redirect(source).is_some() => {
            CountersError::Unfit("it is one of a cluster; set redis.cluster_urls".to_owned())
        }
        _ => error,
    }
}
