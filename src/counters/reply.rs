//! What the consume script answers, decoded.

use uuid::Uuid;

use crate::domain::Units;

use super::error::CountersError;
use super::group::Code;
use super::operation::Again;
use super::operation::Operation;
use super::operation::OperationKind;
use super::operation::Outcome;
use super::operation::StoredAnswer;
use super::pack::Unpacker;
use super::sheet::StoredSheet;
use super::sheet::read_sheet;

/// One result: an outcome and, when an event was accepted, its place.
pub(super) type GroupResult = Result<(Outcome, Option<u64>), CountersError>;

/// The answer to a whole call.
#[derive(Debug)]
pub(super) struct GroupReply {
    pub(super) code: Code,
    pub(super) epoch: u64,
    pub(super) seq: u64,
    pub(super) now_ms: i64,
    /// One result an operation, in order, when the code is [`Code::Ok`].
    pub(super) results: Vec<GroupResult>,
}

impl GroupReply {
    /// What a call would answer that found acknowledged events gone.
    pub(super) const fn rollback() -> Self {
        Self { code: Code::Rollback, epoch: 0, seq: 0, now_ms: 0, results: Vec::new() }
    }
}

/// Decodes the answer to a call for `operations`.
pub(super) fn read(bytes: &[u8], operations: &[&Operation]) -> Result<GroupReply, CountersError> {
    let mut input = Unpacker::new(bytes);
    input.array()?;
    let code = Code::read(input.count()?)?;
    let (epoch, seq, now_ms) = (input.count()?, input.count()?, input.int()?);
    let mut results = Vec::new();
    if code == Code::Ok {
        results.reserve(operations.len());
        for operation in operations {
            results.push(read_result(&mut input, operation, now_ms)?);
        }
    }
    Ok(GroupReply { code, epoch, seq, now_ms, results })
}

fn read_result(
    input: &mut Unpacker<'_>,
    operation: &Operation,
    now_ms: i64,
) -> Result<GroupResult, CountersError> {
    let outcome = input.count()?;
    if outcome == 2 {
        return Ok(Ok((Outcome::Replayed(read_record(input.bytes()?)?), None)));
    }
    let extra = input.int()?;
    let again = |again| Ok((Outcome::Again(again), None));
    Ok(match outcome {
        1 if operation.kind.rewrites() => {
            let lines = read_sheet(&mut Unpacker::new(input.bytes()?))?.lines;
            Ok((Outcome::Rewritten { lines, now_ms }, Some(extra.cast_unsigned())))
        }
        0 | 1 => Ok(read_decided(input, operation, outcome == 1, extra, now_ms)?),
        3 => Ok((Outcome::Mismatch, None)),
        4 => again(Again::Load),
        5 => again(Again::Stale(u8::try_from(extra).unwrap_or(1))),
        6 => again(Again::WrongWindow(now_ms)),
        7 => Err(CountersError::Unavailable { ambiguous: true, source: None }),
        8 => Err(CountersError::OutboxFull),
        _ => return Err(CountersError::malformed("an outcome")),
    })
}

fn read_decided(
    input: &mut Unpacker<'_>,
    operation: &Operation,
    accepted: bool,
    extra: i64,
    now_ms: i64,
) -> Result<(Outcome, Option<u64>), CountersError> {
    let lines = operation.sheet.sheet.lines.len();
    let mut used = Vec::with_capacity(lines);
    for _ in 0..lines {
        used.push(read_units(input)?);
    }
    let is_check = operation.kind == OperationKind::Check;
    let reset_at_ms = if is_check { extra } else { 0 };
    let seq = (accepted && !is_check).then_some(extra.cast_unsigned());
    Ok((Outcome::Decided { accepted, used, reset_at_ms, now_ms }, seq))
}

fn read_units(input: &mut Unpacker<'_>) -> Result<Units, CountersError> {
    Units::new(input.count()?).map_err(|_| CountersError::malformed("a count"))
}

/// A record is a fingerprint of 8 bytes, the event's id, and as `MessagePack` sheet, time, request id and counts.
fn read_record(bytes: &[u8]) -> Result<StoredAnswer, CountersError> {
    let malformed = || CountersError::malformed("an idempotency record");
    let event_id = bytes.get(8..24).ok_or_else(malformed)?;
    let event_id = Uuid::from_slice(event_id).map_err(|_| malformed())?;
    let mut input = Unpacker::new(&bytes[24..]);
    let StoredSheet { plan, mut lines, .. } = read_sheet(&mut input)?;
    let (now_ms, request_id) = (input.int()?, input.text()?.to_owned());
    for line in &mut lines {
        line.used = read_units(&mut input)?;
    }
    Ok(StoredAnswer { event_id, request_id, now_ms, plan, lines })
}
