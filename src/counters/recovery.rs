//! The Redis side of a recovery: fence, then open.

use uuid::Uuid;

use super::Counters;
use super::error::CountersError;
use super::keys;
use super::line::Call;
use super::operation::Fault;
use super::operation::ShardFault;
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
    /// What was met, by the caller or by whoever fenced the shard before.
    pub fault: Fault,
}

impl Counters {
    /// Fences the shard because of a fault, or joins a fence that stands. `None` when the shard is open under a later
    /// epoch than the fault's: somebody else recovered it.
    ///
    /// # Errors
    ///
    /// [`CountersError::Unavailable`] when Redis is away; fencing again is safe.
    pub async fn fence(
        &self,
        shard: u16,
        token: Uuid,
        fault: Fault,
    ) -> Result<Option<Fenced>, CountersError> {
        let script = &self.lanes.scripts.fence;
        let (epoch, seq) = (fault.epoch.to_string(), fault.seq.to_string());
        let arguments = [token.to_string(), fault.kind.as_str().to_owned(), epoch, seq];
        let call = Call { script, keys: &[keys::meta(shard)], arguments: &arguments };
        let bytes: Vec<u8> = self.query(shard, &call).await?;
        let mut input = Unpacker::new(&bytes);
        input.array()?;
        let token = input.text()?;
        if token.is_empty() {
            return Ok(None);
        }
        let malformed = || CountersError::malformed("a fence");
        let token = Uuid::try_parse(token).map_err(|_| malformed())?;
        let epoch = Some(input.count()?).filter(|epoch| *epoch > 0);
        let (seq, floor) = (input.count()?, input.count()?);
        let kind = ShardFault::named(input.text()?).ok_or_else(malformed)?;
        let fault = Fault { kind, epoch: input.count()?, seq: input.count()? };
        Ok(Some(Fenced { token, epoch, seq, floor, fault }))
    }

    /// What [`Counters::fence`] answers, without a fence: what a recovery must not do.
    ///
    /// # Errors
    ///
    /// [`CountersError::Unavailable`] when Redis is away.
    #[doc(hidden)]
    pub async fn unfenced(
        &self,
        shard: u16,
        fault: Fault,
    ) -> Result<Option<Fenced>, CountersError> {
        let page = self.read_outbox(shard, 0, 0, 1).await?;
        let (epoch, seq, floor) = (page.epoch, page.seq, page.floor);
        Ok(Some(Fenced { token: Uuid::now_v7(), epoch, seq, floor, fault }))
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
        let script = &self.lanes.scripts.open;
        let call = Call { script, keys: &keys, arguments: &arguments };
        let is_open = self.query::<u8>(shard, &call).await? == 1;
        if is_open {
            self.saw_epoch(shard, epoch);
        }
        Ok(is_open)
    }
}
