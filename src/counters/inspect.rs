//! Looking at the state of subjects, for `headroom verify` and the drift auditor.

use super::Counters;
use super::error::CountersError;
use super::field::Field;
use super::keys;
use super::outbox::Range;
use super::pack::Unpacker;

/// The state of one level as Redis has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectState {
    /// The level's path.
    pub path: String,
    /// The epoch in which it was loaded.
    pub epoch: u64,
    /// The version of its profile.
    pub profile_version: u64,
    /// Its counters, each with its count.
    pub counters: Vec<(Field, i64)>,
}

impl Counters {
    /// One page of subject paths of a shard, and the cursor of the next page (0 is the end). Redis looks at about `keys_max`
    /// of all its keys for it.
    ///
    /// # Errors
    ///
    /// [`CountersError::Unavailable`] when Redis is away.
    pub async fn scan_subjects(
        &self,
        shard: u16,
        cursor: u64,
        keys_max: u32,
    ) -> Result<(u64, Vec<String>), CountersError> {
        let mut pipe = redis::pipe();
        // No key is in a scan: this one makes a server of a cluster say that the shard has moved.
        pipe.cmd("EXISTS").arg(keys::meta(shard)).ignore();
        pipe.cmd("SCAN").arg(cursor).arg("MATCH").arg(keys::subject_pattern(shard)).arg("COUNT");
        pipe.arg(keys_max.max(1));
        let ((next, found),): ((u64, Vec<String>),) = self.query(shard, &pipe).await?;
        let paths = found.iter().filter_map(|key| keys::level_of(key)).map(str::to_owned);
        Ok((next, paths.collect()))
    }

    /// The states of subjects and the outbox entries after a cursor, its epoch and place, at most `entries_max`, in one
    /// `MULTI`: a consistent picture even under load. Subjects that are not loaded are left out.
    ///
    /// # Errors
    ///
    /// [`CountersError::Unavailable`] when Redis is away.
    pub async fn inspect(
        &self,
        shard: u16,
        paths: &[String],
        (epoch, after_seq): (u64, u64),
        entries_max: u32,
    ) -> Result<(Vec<SubjectState>, super::OutboxPage), CountersError> {
        let mut pipe = redis::pipe();
        pipe.atomic();
        for path in paths {
            pipe.cmd("GET").arg(keys::subject(shard, path));
        }
        pipe.cmd("HMGET").arg(keys::meta(shard)).arg(&["epoch", "seq", "floor", "fence"]);
        pipe.cmd("XRANGE").arg(keys::outbox(shard)).arg(format!("({epoch}-{after_seq}")).arg(epoch);
        pipe.arg("COUNT").arg(entries_max);
        let mut answers: Vec<redis::Value> = self.query(shard, &pipe).await?;
        let malformed = |_| CountersError::malformed("a picture of subjects");
        let range = answers.pop().unwrap_or(redis::Value::Nil);
        let range: Range = redis::from_redis_value(range).map_err(malformed)?;
        let meta = answers.pop().unwrap_or(redis::Value::Nil);
        let meta: Vec<Option<String>> = redis::from_redis_value(meta).map_err(malformed)?;
        let mut states = Vec::new();
        for (path, answer) in paths.iter().zip(answers) {
            let bytes: Option<Vec<u8>> = redis::from_redis_value(answer).map_err(malformed)?;
            states.extend(bytes.map(|bytes| read_state(path, &bytes)).transpose()?);
        }
        Ok((states, super::outbox::page(&meta, &range)?))
    }
}

/// A state is the values that `lua/lib/prelude.lua` lists beside `E_EPOCH`.
fn read_state(path: &str, bytes: &[u8]) -> Result<SubjectState, CountersError> {
    let mut input = Unpacker::new(bytes);
    let (epoch, profile_version) = (input.count()?, input.count()?);
    let (_last, _base, _touched_s, _reset_at_ms) =
        (input.count()?, input.count()?, input.int()?, input.int()?);
    let mut counters = Vec::new();
    for name in input.text()?.split_ascii_whitespace() {
        let count = input.int()?;
        let field =
            Field::parse(name).ok_or_else(|| CountersError::malformed("a counter's name"))?;
        counters.push((field, count));
    }
    Ok(SubjectState { path: path.to_owned(), epoch, profile_version, counters })
}
