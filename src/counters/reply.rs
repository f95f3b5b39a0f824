//! What the consume script answers, decoded.

use uuid::Uuid;

use crate::domain::Units;

use super::error::CountersError;
use super::group::Code;
use super::operation::Again;
use super::operation::HoldEnd;
use super::operation::HoldTold;
use super::operation::More;
use super::operation::Operation;
use super::operation::OperationKind;
use super::operation::Outcome;
use super::operation::StoredAnswer;
use super::pack::Unpacker;
use super::sheet::StoredSheet;
use super::sheet::read_sheet;

/// Added to an outcome that is followed by more than used units.
const DETAILED: u64 = 16;

/// One result: an outcome and, when it acknowledges an event of this epoch, the event's place and id. Whoever replays an
/// answer acknowledges it, too, and may be the only one: the first answer may have been lost.
pub(super) type GroupResult = Result<(Outcome, Option<(u64, Uuid)>), CountersError>;

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
            results.push(read_result(&mut input, operation, epoch, now_ms)?);
        }
    }
    Ok(GroupReply { code, epoch, seq, now_ms, results })
}

fn read_result(
    input: &mut Unpacker<'_>,
    operation: &Operation,
    epoch: u64,
    now_ms: i64,
) -> Result<GroupResult, CountersError> {
    let code = input.count()?;
    if code == 2 {
        let answer = read_record(input.bytes()?)?;
        let event = (answer.epoch == epoch).then_some((answer.seq, answer.event_id));
        return Ok(Ok((Outcome::Replayed(answer), event)));
    }
    let (outcome, is_detailed) = (code % DETAILED, code >= DETAILED);
    let extra = input.int()?;
    let again = |again| Ok((Outcome::Again(again), None));
    let event = Some((extra.cast_unsigned(), operation.event_id));
    let depth = u8::try_from(extra).unwrap_or(1);
    Ok(match outcome {
        0 if operation.kind.has_own_sheet() => Ok((Outcome::Nothing, None)),
        1 if operation.kind.is_of_hold() => {
            let told = read_record(input.bytes()?)?;
            Ok((Outcome::HoldEnded(told), event))
        }
        1 if operation.kind.rewrites() => {
            let lines = read_sheet(&mut Unpacker::new(input.bytes()?))?.lines;
            Ok((Outcome::Rewritten { lines, now_ms }, event))
        }
        0 | 1 => {
            let decided = Decided { accepted: outcome == 1, extra, is_detailed, now_ms };
            Ok(read_decided(input, operation, decided)?)
        }
        3 => Ok((Outcome::Mismatch, None)),
        4 => again(Again::Load),
        5 => again(Again::Stale(depth)),
        6 => again(Again::WrongWindow(now_ms)),
        7 => Err(CountersError::Unavailable { ambiguous: true, source: None }),
        8 => Err(CountersError::OutboxFull),
        9 => again(Again::Hold),
        10 => {
            let end = HoldEnd::coded(extra).ok_or_else(|| CountersError::malformed("a status"))?;
            Ok((Outcome::Ended(end, read_units(input)?), None))
        }
        11 => again(Again::Roll(depth)),
        12 => again(Again::Before),
        _ => return Err(CountersError::malformed("an outcome")),
    })
}

/// A decision as far as it is read.
#[derive(Clone, Copy)]
struct Decided {
    accepted: bool,
    extra: i64,
    is_detailed: bool,
    now_ms: i64,
}

fn read_decided(
    input: &mut Unpacker<'_>,
    operation: &Operation,
    decided: Decided,
) -> Result<(Outcome, Option<(u64, Uuid)>), CountersError> {
    let Decided { accepted, extra, is_detailed, now_ms } = decided;
    let lines = operation.sheet.sheet.lines.len();
    let used = read_counts(input, lines)?;
    let more = is_detailed.then(|| read_more(input, lines)).transpose()?;
    let is_check = operation.kind == OperationKind::Check;
    let reset_at_ms = if is_check { extra } else { 0 };
    let event = (accepted && !is_check).then_some((extra.cast_unsigned(), operation.event_id));
    Ok((Outcome::Decided { accepted, used, more, reset_at_ms, now_ms }, event))
}

fn read_counts(input: &mut Unpacker<'_>, lines: usize) -> Result<Vec<Units>, CountersError> {
    let mut counts = Vec::with_capacity(lines);
    for _ in 0..lines {
        counts.push(read_units(input)?);
    }
    Ok(counts)
}

fn read_more(input: &mut Unpacker<'_>, lines: usize) -> Result<Box<More>, CountersError> {
    let (held, carried) = (read_counts(input, lines)?, read_counts(input, lines)?);
    let granted = read_counts(input, lines)?;
    let at_s = input.int()?;
    let (free_at_s, room_at_s) =
        (Some(at_s).filter(|it| *it > 0), Some(-at_s).filter(|it| *it > 0));
    Ok(Box::new(More { held, carried, granted, free_at_s, room_at_s }))
}

/// A count below zero reads as none: a reset took off what Redis lost afterwards (docs/adr/0025).
fn read_units(input: &mut Unpacker<'_>) -> Result<Units, CountersError> {
    Units::new(u64::try_from(input.int()?).unwrap_or(0))
        .map_err(|_| CountersError::malformed("a count"))
}

/// A record is a fingerprint of 8 bytes, the event's id, and as `MessagePack` sheet, time, request id, epoch, seq and counts; where
/// more than used units counted the rest of [`More`], and of a hold then its end, amount and flags.
fn read_record(bytes: &[u8]) -> Result<StoredAnswer, CountersError> {
    let malformed = || CountersError::malformed("an idempotency record");
    let event_id = bytes.get(8..24).ok_or_else(malformed)?;
    let event_id = Uuid::from_slice(event_id).map_err(|_| malformed())?;
    let mut input = Unpacker::new(&bytes[24..]);
    let StoredSheet { plan, mut lines, .. } = read_sheet(&mut input)?;
    let (now_ms, request_id) = (input.int()?, input.text()?.to_owned());
    let (epoch, seq) = (input.count()?, input.count()?);
    for line in &mut lines {
        line.used = read_units(&mut input)?;
    }
    let count = lines.len();
    let more = (!input.is_empty()).then(|| read_more(&mut input, count)).transpose()?;
    let hold = (!input.is_empty()).then(|| read_hold(&mut input)).transpose()?;
    Ok(StoredAnswer { event_id, epoch, seq, request_id, now_ms, plan, lines, more, hold })
}

fn read_hold(input: &mut Unpacker<'_>) -> Result<HoldTold, CountersError> {
    let (until_s, amount, flags) = (input.int()?, read_units(input)?, input.count()?);
    Ok(HoldTold { until_s, amount, late: flags & 1 != 0, overage: flags & 2 != 0 })
}
