//! What the consume script answers, decoded.

use uuid::Uuid;

use crate::domain::Metric;
use crate::domain::Mode;
use crate::domain::Units;
use crate::domain::Window;

use super::error::CountersError;
use super::group::Code;
use super::operation::Again;
use super::operation::Operation;
use super::operation::OperationKind;
use super::operation::Outcome;
use super::operation::StoredAnswer;
use super::operation::StoredLine;
use super::operation::coded_mode;
use super::operation::read_field;
use super::pack::Unpacker;

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
    let count = input.array()?;
    if code == Code::Ok && count != operations.len() {
        return Err(CountersError::malformed("a list of results"));
    }
    let mut results = Vec::with_capacity(count);
    for operation in operations.iter().take(count) {
        results.push(read_result(&mut input, operation, now_ms)?);
    }
    Ok(GroupReply { code, epoch, seq, now_ms, results })
}

fn read_result(
    input: &mut Unpacker<'_>,
    operation: &Operation,
    now_ms: i64,
) -> Result<GroupResult, CountersError> {
    let length = input.array()?;
    let outcome = input.count()?;
    Ok(match outcome {
        1 if operation.kind == OperationKind::Reset => {
            let seq = input.count()?;
            Ok((Outcome::Cleared { lines: read_cleared(input.bytes()?)?, now_ms }, Some(seq)))
        }
        0 | 1 => Ok(read_decided(input, operation, outcome == 1, length - 2, now_ms)?),
        2 => Ok((Outcome::Replayed(read_record(input.bytes()?)?), None)),
        3 => Ok((Outcome::Mismatch, None)),
        4 | 5 => {
            input.count()?;
            let what = if outcome == 4 { Again::Load } else { Again::Stale };
            Ok((Outcome::Again(what), None))
        }
        6 => Ok((Outcome::Again(Again::WrongWindow(now_ms)), None)),
        7 => Err(CountersError::Unavailable { ambiguous: true, source: None }),
        8 => Err(CountersError::OutboxFull),
        _ => return Err(CountersError::malformed("an outcome")),
    })
}

fn read_decided(
    input: &mut Unpacker<'_>,
    operation: &Operation,
    accepted: bool,
    lines: usize,
    now_ms: i64,
) -> Result<(Outcome, Option<u64>), CountersError> {
    let extra = input.int()?;
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

/// A record is a fingerprint of 8 bytes and { event id, request id, now, sheet, used … }.
fn read_record(bytes: &[u8]) -> Result<StoredAnswer, CountersError> {
    let mut input = Unpacker::new(bytes.get(8..).unwrap_or_default());
    input.array()?;
    let event_id =
        Uuid::from_slice(input.bytes()?).map_err(|_| CountersError::malformed("an event id"))?;
    let request_id = input.text()?.to_owned();
    let now_ms = input.int()?;
    let (plan, mut lines) = read_sheet(&mut Unpacker::new(input.bytes()?))?;
    for line in &mut lines {
        line.used = read_units(&mut input)?;
    }
    Ok(StoredAnswer { event_id, request_id, now_ms, plan, lines })
}

fn read_cleared(bytes: &[u8]) -> Result<Vec<StoredLine>, CountersError> {
    Ok(read_sheet(&mut Unpacker::new(bytes))?.1)
}

/// The plan and the lines of a packed sheet; what was used is not in it.
pub(super) fn read_sheet(
    input: &mut Unpacker<'_>,
) -> Result<(String, Vec<StoredLine>), CountersError> {
    input.array()?;
    let (_start_ms, _end_ms) = (input.int()?, input.int()?);
    let plan = input.text()?.to_owned();
    let count = input.array()?;
    let mut lines = Vec::with_capacity(count);
    for _ in 0..count {
        lines.push(read_line(input)?);
    }
    Ok((plan, lines))
}

fn read_line(input: &mut Unpacker<'_>) -> Result<StoredLine, CountersError> {
    let malformed = || CountersError::malformed("a line of a sheet");
    let length = input.array()?;
    let depth = u8::try_from(input.count()?).map_err(|_| malformed())?;
    let (metric, period, start_s) = read_field(input.text()?).ok_or_else(malformed)?;
    let metric = Metric::new(metric).map_err(|_| malformed())?;
    let units = input.int()?;
    let ceiling = input.int()?;
    let window = Window { start_s, end_s: input.int()? };
    let (mode, max) = if length == 7 {
        (coded_mode(input.count()?).ok_or_else(malformed)?, input.int()?)
    } else {
        (Mode::Hard, ceiling)
    };
    let max = u64::try_from(max).ok().and_then(|max| Units::new(max).ok());
    Ok(StoredLine { depth, metric, period, window, units, max, mode, used: Units::ZERO })
}
