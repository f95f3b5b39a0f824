//! Setting the counters of missing subjects.

use crate::domain::Subject;

use super::Counters;
use super::error::CountersError;
use super::field::Field;
use super::group::CHAIN_MAX;
use super::group::Code;
use super::keys;
use super::line::Call;
use super::operation::Fault;
use super::outbox::fault_of;
use super::pack::Packer;
use super::pack::Unpacker;

/// What one Postgres snapshot holds of the levels to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The shard's epoch.
    pub epoch: u64,
    /// The cursor: events up to it are in the counters.
    pub cursor_seq: u64,
    /// Counters of windows that ended by then were left out; Unix milliseconds.
    pub ended_after_ms: i64,
    /// The version of the newest profile that is in it.
    pub profile_version: u64,
    /// One a level to load.
    pub levels: Vec<LevelBase>,
}

/// What Postgres holds of one level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LevelBase {
    /// The level's path.
    pub path: String,
    /// The version of its profile; 0 when nothing is configured.
    pub profile_version: u64,
    /// Its profile, JSON text; empty when nothing is configured.
    pub profile: String,
    /// When an admin last cleared it; Unix milliseconds, 0 is never.
    pub reset_at_ms: i64,
    /// Its counters, each with its count.
    pub counters: Vec<(Field, i64)>,
}

/// What became of a load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadOutcome {
    /// Every level is there now, or after a repair is as it should be; so many were set by this call.
    Loaded(usize),
    /// The levels are there now but for those at these places, which have too many pending events; the flusher has to
    /// catch up first.
    LoadedBut(usize, Vec<usize>),
    /// The outbox was trimmed past the snapshot, or Redis' clock is behind it: read Postgres again.
    ReadAgain,
    /// The shard cannot serve.
    Fault(Fault),
}

impl Counters {
    /// Sets the counters of levels that are missing: the snapshot plus the outbox after its cursor.
    ///
    /// # Errors
    ///
    /// [`CountersError::Unavailable`] when Redis is away; loading again is safe.
    pub async fn load(
        &self,
        shard: u16,
        snapshot: &Snapshot,
    ) -> Result<LoadOutcome, CountersError> {
        self.set(shard, snapshot, false).await
    }

    /// Sets the counters of levels that are there anew, as [`Counters::load`] does. Those of minutes and hours, which Redis
    /// alone keeps, stay as they are.
    ///
    /// # Errors
    ///
    /// [`CountersError::Unavailable`] when Redis is away; repairing again is safe.
    pub async fn repair(
        &self,
        shard: u16,
        snapshot: &Snapshot,
    ) -> Result<LoadOutcome, CountersError> {
        self.set(shard, snapshot, true).await
    }

    async fn set(
        &self,
        shard: u16,
        snapshot: &Snapshot,
        is_repair: bool,
    ) -> Result<LoadOutcome, CountersError> {
        let mut keys = vec![keys::meta(shard), keys::outbox(shard), keys::pending(shard)];
        for level in &snapshot.levels {
            keys.extend([keys::subject(shard, &level.path), keys::profile(shard, &level.path)]);
        }
        let arguments = self.pack_load(snapshot, is_repair);
        let script = &self.lanes.scripts.load;
        let call = Call { script, keys: &keys, arguments: &arguments };
        let bytes: Vec<u8> = self.query(shard, &call).await?;
        let mut input = Unpacker::new(&bytes);
        input.array()?;
        let code = Code::read(input.count()?)?;
        let (epoch, _seq, now_ms) = (input.count()?, input.count()?, input.int()?);
        if code == Code::WrongClock {
            self.set_clock_delta_ms(now_ms - self.lanes.clock.now_ms());
        }
        if matches!(code, Code::Behind | Code::WrongClock) {
            return Ok(LoadOutcome::ReadAgain);
        }
        // Another node recovered the shard between the snapshot and now.
        if code == Code::OtherEpoch && epoch > snapshot.epoch {
            self.saw_epoch(shard, epoch);
            return Ok(LoadOutcome::ReadAgain);
        }
        if let Some(kind) = fault_of(code) {
            let (epoch, seq) = (snapshot.epoch, snapshot.cursor_seq);
            return Ok(LoadOutcome::Fault(Fault { kind, epoch, seq }));
        }
        let count = input.array()?;
        let results = (0..count).map(|_| input.count()).collect::<Result<Vec<_>, _>>()?;
        let places = |wanted: u64| {
            let found = results.iter().enumerate().filter(move |(_, result)| **result == wanted);
            found.map(|(place, _)| place)
        };
        let (set, left_out) = (places(1).count(), places(2).collect::<Vec<_>>());
        Ok(if left_out.is_empty() {
            LoadOutcome::Loaded(set)
        } else {
            LoadOutcome::LoadedBut(set, left_out)
        })
    }

    /// The head, and one argument a level.
    fn pack_load(&self, snapshot: &Snapshot, is_repair: bool) -> Vec<Vec<u8>> {
        let mut head = Packer::default();
        head.array(8).count(snapshot.epoch).count(snapshot.cursor_seq).int(snapshot.ended_after_ms);
        head.int(self.lanes.clock.offset_ms());
        head.count(self.lanes.options.idle_ttl.as_secs()).count(CHAIN_MAX);
        head.count(snapshot.profile_version).count(is_repair.into());
        std::iter::once(head.finish()).chain(snapshot.levels.iter().map(pack_level)).collect()
    }
}

fn pack_level(level: &LevelBase) -> Vec<u8> {
    let depth = level.path.split('/').take(Subject::LEVELS_MAX).count();
    let mut packer = Packer::default();
    packer.array(4 + 2 * level.counters.len()).count(depth as u64);
    packer.count(level.profile_version).text(&level.profile).int(level.reset_at_ms);
    for (field, count) in &level.counters {
        packer.text(&field.to_string()).int(*count);
    }
    packer.finish()
}
