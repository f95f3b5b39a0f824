//! What is checked of Redis before the service begins.

use std::collections::HashMap;
use std::fmt;

use uuid::Uuid;

use super::Counters;
use super::error::CountersError;
use super::keys;

/// The layout of a shard's keys, as `lua/open.lua` writes it into `meta.version`.
const LAYOUT: &str = "3";

/// How much of what was acknowledged survives a crash of Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

impl Counters {
    /// Checks eviction policy, persistence and clock skew, and that no shard belongs to another database or is laid out by
    /// another version.
    ///
    /// # Errors
    ///
    /// [`CountersError::Unfit`] when Redis may evict the outbox, or belongs to another installation or version;
    /// [`CountersError::Unavailable`] when it is away.
    pub async fn check_at_start(&self, instance: Uuid) -> Result<StartupReport, CountersError> {
        let mut connection = self.background().await?;
        let info: String =
            redis::cmd("INFO").query_async(&mut connection).await.map_err(CountersError::of)?;
        let info: HashMap<&str, &str> =
            info.lines().filter_map(|line| line.split_once(':')).collect();
        let field = |name: &str| info.get(name).map_or("", |value| value.trim()).to_owned();
        let eviction_policy = field("maxmemory_policy");
        if eviction_policy.starts_with("allkeys-") {
            return Err(CountersError::Unfit(format!(
                "maxmemory-policy is {eviction_policy}, which may evict the outbox; set noeviction or volatile-ttl"
            )));
        }
        let durability = self.durability(field("aof_enabled") == "1").await?;
        let (seconds, micros): (i64, i64) =
            redis::cmd("TIME").query_async(&mut connection).await.map_err(CountersError::of)?;
        let skew_ms = seconds * 1_000 + micros / 1_000 + self.lanes.clock.offset_ms()
            - self.lanes.clock.now_ms();
        self.set_clock_delta_ms(skew_ms);
        for shard in 0..self.shard_count() {
            self.check_shard(shard, instance).await?;
        }
        Ok(StartupReport { version: field("redis_version"), eviction_policy, durability, skew_ms })
    }

    /// `CONFIG` is forbidden on many hosted servers; everysec, the default, is assumed there.
    async fn durability(&self, has_append_only_file: bool) -> Result<Durability, CountersError> {
        if !has_append_only_file {
            return Ok(Durability::None);
        }
        let mut connection = self.background().await?;
        let asked =
            redis::cmd("CONFIG").arg("GET").arg("appendfsync").query_async(&mut connection).await;
        let answer: HashMap<String, String> = asked.unwrap_or_default();
        let is_always = answer.get("appendfsync").is_some_and(|value| value == "always");
        Ok(if is_always { Durability::Safe } else { Durability::Fast })
    }

    async fn check_shard(&self, shard: u16, instance: Uuid) -> Result<(), CountersError> {
        let mut connection = self.background().await?;
        let mut command = redis::cmd("HMGET");
        command.arg(keys::meta(shard)).arg("instance").arg("version");
        let (owner, layout): (Option<String>, Option<String>) =
            command.query_async(&mut connection).await.map_err(CountersError::of)?;
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
