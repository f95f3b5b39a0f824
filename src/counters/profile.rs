//! The profiles of levels, as Redis keeps them beside the counters.

use super::Counters;
use super::error::CountersError;
use super::keys;
use super::line::Call;
use super::pack::Unpacker;

/// What is configured for one level, as the ledger has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LevelProfile {
    /// The level's path.
    pub path: String,
    /// The profile's version, from 1.
    pub version: u64,
    /// The profile, JSON text.
    pub profile: String,
}

impl Counters {
    /// Sends whoever decides by an older version of these profiles away from now on, and keeps loads from bringing one
    /// back. Answers how many of the levels are loaded. At most 1,000 at once, all of one shard.
    ///
    /// # Errors
    ///
    /// [`CountersError::Unavailable`] when Redis is away; announcing again is safe.
    pub async fn announce_profiles(
        &self,
        shard: u16,
        profiles: &[LevelProfile],
    ) -> Result<u64, CountersError> {
        let mut keys = vec![keys::meta(shard)];
        let mut arguments = vec![self.lanes.options.idle_ttl.as_secs().to_string()];
        for profile in profiles {
            keys.extend([keys::subject(shard, &profile.path), keys::profile(shard, &profile.path)]);
            arguments.extend([profile.version.to_string(), profile.profile.clone()]);
        }
        let script = &self.lanes.scripts.profile;
        self.query(shard, &Call { script, keys: &keys, arguments: &arguments }).await
    }

    /// The profile that Redis keeps of a level; `None` when it keeps none.
    ///
    /// # Errors
    ///
    /// [`CountersError::Unavailable`] when Redis is away.
    pub async fn profile(
        &self,
        shard: u16,
        path: &str,
    ) -> Result<Option<LevelProfile>, CountersError> {
        let mut command = redis::cmd("GETEX");
        let ttl_s = self.lanes.options.idle_ttl.as_secs();
        command.arg(keys::profile(shard, path)).arg("EX").arg(ttl_s);
        let bytes: Option<Vec<u8>> = self.query(shard, &command).await?;
        let Some(bytes) = bytes else { return Ok(None) };
        let mut input = Unpacker::new(&bytes);
        let (version, profile) = (input.count()?, input.text()?.to_owned());
        Ok(Some(LevelProfile { path: path.to_owned(), version, profile }))
    }

    /// The version of the newest profile that was announced in the shard; 0 before the first.
    ///
    /// # Errors
    ///
    /// [`CountersError::Unavailable`] when Redis is away.
    pub async fn newest_profile(&self, shard: u16) -> Result<u64, CountersError> {
        let mut command = redis::cmd("HMGET");
        command.arg(keys::meta(shard)).arg("profiles");
        let (newest,): (Option<u64>,) = self.query(shard, &command).await?;
        Ok(newest.unwrap_or(0))
    }
}
