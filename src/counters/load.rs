//! Setting the counters of missing subjects.

use crate::domain::Period;
use crate::domain::Subject;

use super::Counters;
use super::error::CountersError;
use super::group::CHAIN_MAX;
use super::group::Code;
use super::keys;
use super::operation::Fault;
use super::operation::field;
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
    /// One a level to load.
    pub levels: Vec<LevelBase>,
}

/// What Postgres holds of one level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LevelBase {
    /// The level's path.
    pub path: String,
    /// The version of its profile.
    pub profile_version: u64,
    /// When an admin last cleared it; Unix milliseconds, 0 is never.
    pub reset_at_ms: i64,
    /// Its counters: metric, period, start of the window, units used.
    pub counters: Vec<(String, Period, i64, i64)>,
}

/// What became of a load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadOutcome {
    /// Every level is there now; so many were set by this call.
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
        let mut keys = vec![keys::meta(shard), keys::outbox(shard), keys::pending(shard)];
        keys.extend(snapshot.levels.iter().map(|level| keys::subject(shard, &level.path)));
        let head = self.pack_load(snapshot);
        let mut connection = self.background().await?;
        let script = &self.lanes.scripts.load;
        let answer = script.call::<Vec<u8>, _>(&mut connection, &keys, &[head]).await;
        let bytes = answer.map_err(CountersError::of)?;
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

    fn pack_load(&self, snapshot: &Snapshot) -> Vec<u8> {
        let mut head = Packer::default();
        head.array(7).count(snapshot.epoch).count(snapshot.cursor_seq).int(snapshot.ended_after_ms);
        head.int(self.lanes.clock.offset_ms());
        head.count(self.lanes.options.idle_ttl.as_secs()).count(CHAIN_MAX);
        head.array(snapshot.levels.len());
        for level in &snapshot.levels {
            let depth = level.path.split('/').take(Subject::LEVELS_MAX).count();
            head.array(3 + 2 * level.counters.len()).count(depth as u64);
            head.count(level.profile_version).int(level.reset_at_ms);
            for (metric, period, start_s, used) in &level.counters {
                head.text(&field(metric, *period, *start_s)).int(*used);
            }
        }
        head.finish()
    }
}
