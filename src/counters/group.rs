//! One call of the consume script for the requests of a shard that have queued.

use std::sync::Arc;
use std::time::Duration;

use super::error::CountersError;
use super::keys;
use super::operation::Operation;
use super::operation::OperationKind;
use super::operation::PackedSheet;
use super::pack::Packer;
use super::shard::Sight;

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
}

/// Collects each distinct key and sheet once.
struct Collector<'a> {
    shard: u16,
    keys: Vec<Vec<u8>>,
    sheets: Vec<&'a Arc<PackedSheet>>,
}

impl<'a> Collector<'a> {
    fn new(shard: u16) -> Self {
        let keys = [keys::meta(shard), keys::outbox(shard), keys::pending(shard)];
        Self { shard, keys: keys.into_iter().map(String::into_bytes).collect(), sheets: Vec::new() }
    }

    /// The key's place in `KEYS`, from 1. At most 64 × 5 keys: a scan is cheaper than a map.
    fn key(&mut self, key: Vec<u8>) -> usize {
        if let Some(place) = self.keys.iter().position(|known| *known == key) {
            return place + 1;
        }
        self.keys.push(key);
        self.keys.len()
    }

    /// The sheet's place in the outbox entry, from 0. A reset's sheet is its own, since the script fills it.
    fn sheet(&mut self, operation: &'a Operation) -> usize {
        let shared = operation.kind != OperationKind::Reset;
        let known =
            self.sheets.iter().position(|sheet| shared && Arc::ptr_eq(sheet, &operation.sheet));
        known.unwrap_or_else(|| {
            self.sheets.push(&operation.sheet);
            self.sheets.len() - 1
        })
    }

    fn request(&mut self, packer: &mut Packer, operation: &'a Operation, sheet: usize) {
        let record = match operation.idempotency {
            Some(it) => {
                self.key(keys::idempotency(self.shard, operation.subject.as_str(), it.key_hash))
            }
            None => 0,
        };
        let depth = operation.subject.depth();
        packer.array(6 + 2 * usize::from(depth)).int(operation.kind.code());
        packer.count(sheet as u64 + 1).count(record as u64);
        packer.bytes(operation.idempotency.as_ref().map_or(&[], |it| &it.fingerprint));
        packer.int(operation.since_seq.map_or(-1, u64::cast_signed));
        packer.text(if record > 0 { &operation.request_id } else { "" });
        for (index, level) in (1..).zip(operation.subject.levels()) {
            let place = if operation.sheet.touches(index) {
                self.key(keys::subject(self.shard, level).into_bytes())
            } else {
                0
            };
            packer.count(place as u64).count(operation.profile_version);
        }
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
    let mut collector = Collector::new(shard);
    let places: Vec<usize> = operations.iter().map(|it| collector.sheet(it)).collect();
    let mut head = Packer::with_capacity(64 + 96 * operations.len());
    head.array(9).count(sight.epoch).count(sight.seq).int(clock_offset_ms);
    head.count(options.idempotency_ttl.as_secs()).count(options.idle_ttl.as_secs());
    head.count(options.outbox_events_max).count(CHAIN_MAX);
    head.count(collector.sheets.len() as u64).array(operations.len());
    for (operation, sheet) in operations.iter().zip(&places) {
        collector.request(&mut head, operation, *sheet);
    }
    let mut arguments = Vec::with_capacity(1 + collector.sheets.len() + operations.len());
    arguments.push(head.finish());
    arguments.extend(collector.sheets.iter().map(|sheet| sheet.bytes.clone()));
    arguments.extend(operations.iter().zip(places).map(|(it, sheet)| it.pack_event(sheet)));
    GroupCall { keys: collector.keys, arguments }
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
            _ => return Err(CountersError::malformed("a code")),
        })
    }
}
