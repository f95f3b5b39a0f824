//! The Redis side of a recovery: fence, then open.

use uuid::Uuid;

use super::Counters;
use super::error::CountersError;
use super::keys;
use super::pack::Unpacker;

/// A shard that serves nothing until it is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fenced {
    /// The fence in force: the caller's, or an earlier one that still stands.
    pub token: Uuid,
    /// The epoch that Redis has; `None` when it does not know the shard.
    pub epoch: Option<u64>,
    /// The last place that Redis gave out.
    pub seq: u64,
    /// The last place trimmed.
    pub floor: u64,
}

impl Counters {
    /// Fences the shard, or joins a fence that stands.
    ///
    /// # Errors
    ///
    /// [`CountersError::Unavailable`] when Redis is away; fencing again is safe.
    pub async fn fence(&self, shard: u16, token: Uuid) -> Result<Fenced, CountersError> {
        let mut connection = self.background().await?;
        let script = &self.lanes.scripts.fence;
        let arguments = [token.to_string()];
        let answer =
            script.call::<Vec<u8>, _>(&mut connection, &[keys::meta(shard)], &arguments).await;
        let bytes = answer.map_err(CountersError::of)?;
        let mut input = Unpacker::new(&bytes);
        input.array()?;
        let token =
            Uuid::try_parse(input.text()?).map_err(|_| CountersError::malformed("a fence"))?;
        let epoch = Some(input.count()?).filter(|epoch| *epoch > 0);
        Ok(Fenced { token, epoch, seq: input.count()?, floor: input.count()? })
    }

    /// What [`Counters::fence`] answers, without a fence: what a recovery must not do.
    ///
    /// # Errors
    ///
    /// [`CountersError::Unavailable`] when Redis is away.
    #[doc(hidden)]
    pub async fn unfenced(&self, shard: u16) -> Result<Fenced, CountersError> {
        let page = self.read_outbox(shard, 0, 0, 1).await?;
        Ok(Fenced { token: Uuid::now_v7(), epoch: page.epoch, seq: page.seq, floor: page.floor })
    }

    /// Opens the shard under the new epoch. `false` when another fence stands: the outbox is not the one that was
    /// salvaged under this fence, so begin again.
    ///
    /// # Errors
    ///
    /// [`CountersError::Unavailable`] when Redis is away; opening again is safe.
    pub async fn open(
        &self,
        shard: u16,
        token: Uuid,
        epoch: u64,
        instance: Uuid,
    ) -> Result<bool, CountersError> {
        let keys = [keys::meta(shard), keys::outbox(shard), keys::pending(shard)];
        let arguments = [token.to_string(), epoch.to_string(), instance.to_string()];
        let mut connection = self.background().await?;
        let script = &self.lanes.scripts.open;
        let opened = script.call::<u8, _>(&mut connection, &keys, &arguments).await;
        let is_open = opened.map_err(CountersError::of)? == 1;
        if is_open {
            self.saw_epoch(shard, epoch);
        }
        Ok(is_open)
    }
}
