//! One call of the consume script for the requests of a shard that have queued.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::Subject;

use super::error::CountersError;
use super::keys;
use super::operation::Operation;
use super::operation::OperationKind;
use super::pack::Packer;
use super::shard::Sight;
use super::sheet::PackedSheet;

/// Settings of the consume script.
#[derive(Clone, Copy, Debug)]
pub struct GroupOptions {
    /// The most requests in one call, 1–64.
    pub group_max: usize,
    /// How long an idempotency record lives.
    pub idempotency_ttl: Duration,
    /// How long the counters of an idle subject stay in Redis.
    pub idle_ttl: Duration,
    /// The most events in the outbox of a shard.
    pub outbox_events_max: u64,
}

/// The most steps back through a subject's own events, for a load and for an attempt of unknown fate.
pub(super) const CHAIN_MAX: u64 = 4_096;

/// Keys and arguments of one call.
#[derive(Debug, Default)]
pub(super) struct GroupCall {
    pub(super) keys: Vec<Vec<u8>>,
    pub(super) arguments: Vec<Vec<u8>>,
    /// Whether a request needs the script with all its parts.
    pub(super) needs_whole: bool,
}

/// Collects each distinct key and sheet once.
struct Collector<'a> {
    shard: u16,
    levels: Vec<Vec<u8>>,
    records: Vec<Vec<u8>>,
    /// Each with whether it is one operation's own.
    sheets: Vec<(&'a Arc<PackedSheet>, bool)>,
}

impl<'a> Collector<'a> {
    fn new(shard: u16, operations: usize) -> Self {
        let (levels, records) = (Vec::with_capacity(operations), Vec::new());
        Self { shard, levels, records, sheets: Vec::new() }
    }

    /// The sheet's place in the outbox entry, from 0. A sheet that the script may rewrite is the operation's own.
    fn sheet(&mut self, operation: &'a Operation) -> usize {
        let is_own = operation.kind.has_own_sheet();
        let is_same = |(sheet, is_others): &(&Arc<PackedSheet>, bool)| {
            !is_own && !is_others && Arc::ptr_eq(sheet, &operation.sheet)
        };
        self.sheets.iter().position(is_same).unwrap_or_else(|| {
            self.sheets.push((&operation.sheet, is_own));
            self.sheets.len() - 1
        })
    }

    /// The places of the operation's levels among the keys of levels, from 1.
    fn levels(&mut self, operation: &Operation) -> [usize; Subject::LEVELS_MAX] {
        let mut places = [0; Subject::LEVELS_MAX];
        for (place, level) in places.iter_mut().zip(operation.subject.levels()) {
            *place = place_of(&mut self.levels, keys::subject(self.shard, level).into_bytes());
        }
        places
    }

    /// The place of the operation's record among the keys of records, from 1; 0 when it has none.
    fn record(&mut self, operation: &Operation) -> usize {
        operation.idempotency.map_or(0, |idempotency| {
            let subject = operation.subject.as_str();
            let key = keys::idempotency(self.shard, subject, idempotency.key_hash);
            place_of(&mut self.records, key)
        })
    }

    /// The place of the hold's record among the keys of records, from 1; 0 when the operation is of none.
    fn hold(&mut self, operation: &Operation) -> usize {
        operation.named_hold().map_or(0, |hold| {
            place_of(&mut self.records, keys::reservation(self.shard, hold.id.into_bytes()))
        })
    }
}

/// The key's place in the list, from 1; it is added when it is missing. At most 64 × 4 keys, and most differ in their
/// last bytes: a scan that begins there is cheaper than a map.
fn place_of(keys: &mut Vec<Vec<u8>>, key: Vec<u8>) -> usize {
    let is_same =
        |known: &Vec<u8>| known.len() == key.len() && known.iter().rev().eq(key.iter().rev());
    if let Some(place) = keys.iter().position(is_same) {
        return place + 1;
    }
    keys.push(key);
    keys.len()
}

/// Where an operation's parts are in the call.
struct Places {
    sheet: usize,
    levels: [usize; Subject::LEVELS_MAX],
    record: usize,
    hold: usize,
}

fn pack_request(head: &mut Packer, operation: &Operation, places: &Places, levels: usize) {
    head.int(operation.kind.code()).count(places.sheet as u64 + 1);
    if let Some(idempotency) = &operation.idempotency {
        head.count((levels + places.record) as u64);
        head.bytes(&idempotency.fingerprint).text(&operation.request_id);
    } else {
        head.count(0).count(0);
        // What is told of a hold names the request, with a key and without.
        let named = if operation.kind.is_of_hold() { operation.request_id.as_str() } else { "" };
        head.text(named);
    }
    head.int(operation.since_seq.map_or(-1, u64::cast_signed)).count(operation.amount.get());
    let depth = usize::from(operation.subject.depth());
    // What a hold is measured against was decided when it was made.
    let goes_by_profiles = !operation.kind.is_of_hold();
    for (place, version) in places.levels.iter().zip(operation.profile_versions).take(depth) {
        head.count(*place as u64);
        head.int(if goes_by_profiles { version.cast_signed() } else { -1 });
    }
    if let Some(hold) = operation.named_hold() {
        let is_commit = matches!(operation.kind, OperationKind::Commit | OperationKind::CommitLate);
        let extra = if is_commit { hold.is_strict.into() } else { hold.until_s };
        head.count((levels + places.hold) as u64).int(extra);
    }
}

/// Builds the call that decides `operations`, at most 64, in order.
pub(super) fn build(
    shard: u16,
    sight: Sight,
    clock_offset_ms: i64,
    options: &GroupOptions,
    operations: &[&Operation],
) -> GroupCall {
    let mut collector = Collector::new(shard, operations.len());
    let mut places = Vec::with_capacity(operations.len());
    for operation in operations {
        let (sheet, levels) = (collector.sheet(operation), collector.levels(operation));
        let (record, hold) = (collector.record(operation), collector.hold(operation));
        places.push(Places { sheet, levels, record, hold });
    }
    let levels = collector.levels.len();
    let mut head = Packer::with_capacity(64 + 96 * operations.len());
    head.count(sight.epoch).count(sight.seq).int(clock_offset_ms);
    head.count(options.idempotency_ttl.as_secs()).count(options.idle_ttl.as_secs());
    head.count(options.outbox_events_max).count(CHAIN_MAX);
    head.count(collector.sheets.len() as u64).count(operations.len() as u64).count(levels as u64);
    for (operation, places) in operations.iter().zip(&places) {
        pack_request(&mut head, operation, places, levels);
    }
    let mut keys = Vec::with_capacity(3 + levels + collector.records.len());
    keys.extend(
        [keys::meta(shard), keys::outbox(shard), keys::pending(shard)].map(String::into_bytes),
    );
    keys.append(&mut collector.levels);
    keys.append(&mut collector.records);
    let mut arguments = Vec::with_capacity(1 + 2 * collector.sheets.len() + operations.len());
    arguments.push(head.finish());
    arguments.extend(collector.sheets.iter().map(|(sheet, _)| sheet.columns.clone()));
    arguments.extend(collector.sheets.iter().map(|(sheet, _)| sheet.bytes.clone()));
    arguments.extend(operations.iter().zip(&places).map(|(it, at)| it.pack_event(at.sheet)));
    let needs_whole = operations.iter().any(|it| it.needs_whole());
    GroupCall { keys, arguments, needs_whole }
}

/// What a whole call answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    Ok,
    Uninitialised,
    Fenced,
    OtherEpoch,
    Rollback,
    Behind,
    WrongClock,
    NeedsWhole,
}

impl Code {
    pub(super) fn read(code: u64) -> Result<Self, CountersError> {
        Ok(match code {
            0 => Self::Ok,
            1 => Self::Uninitialised,
            2 => Self::Fenced,
            3 => Self::OtherEpoch,
            4 => Self::Rollback,
            5 => Self::Behind,
            6 => Self::WrongClock,
            7 => Self::NeedsWhole,
            _ => return Err(CountersError::malformed("a code")),
        })
    }
}
