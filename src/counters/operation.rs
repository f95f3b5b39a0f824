//! What a lane carries: one request to the script, and its outcome.

use std::sync::Arc;
use std::time::Instant;

use chrono::DateTime;
use chrono::Utc;
use uuid::Uuid;

use crate::domain::Line;
use crate::domain::Metric;
use crate::domain::Mode;
use crate::domain::Period;
use crate::domain::Sheet;
use crate::domain::Subject;
use crate::domain::Units;
use crate::domain::Window;

use super::pack::Packer;

/// What is asked of the script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationKind {
    /// Decide without charging; writes nothing.
    Check,
    /// Decide and charge.
    Consume,
    /// Clear counters.
    Reset,
}

impl OperationKind {
    pub(super) const fn code(self) -> i64 {
        match self {
            Self::Check => 0,
            Self::Consume => 1,
            Self::Reset => 2,
        }
    }
}

/// A sheet in the form that the script reads, made once for all requests that share it.
#[derive(Debug)]
pub struct PackedSheet {
    /// What the request is measured against; without lines for a reset.
    pub sheet: Sheet,
    pub(super) bytes: Vec<u8>,
    current_ms: (i64, i64),
    /// Bit `d - 1` is set when the level at depth `d` is touched.
    pub(super) depths: u8,
}

impl PackedSheet {
    /// Packs the sheet of a consume or a check.
    #[must_use]
    pub fn charge(sheet: Sheet) -> Self {
        let (start_ms, end_ms) = sheet.current_ms();
        let mut packer = Packer::default();
        packer.array(4).int(start_ms).int(end_ms).text(&sheet.plan).array(sheet.lines.len());
        for line in &sheet.lines {
            pack_line(&mut packer, line);
        }
        let depths = sheet.lines.iter().fold(0, |bits, line| bits | bit(line.depth));
        Self { sheet, bytes: packer.finish(), current_ms: (start_ms, end_ms), depths }
    }

    /// Packs what a reset clears on the level at `depth`: one metric or all, in the given windows.
    #[must_use]
    pub fn reset(depth: u8, metric: Option<&Metric>, windows: &[(Period, Window)]) -> Self {
        let start_s = windows.iter().map(|(_, window)| window.start_s).max().unwrap_or(0);
        let end_s = windows.iter().map(|(_, window)| window.end_s).min();
        let end_s = end_s.unwrap_or(Window::LIFETIME.end_s);
        let mut packer = Packer::default();
        packer.array(5).int(start_s * 1_000).int(end_s * 1_000);
        packer.text(metric.map_or("", Metric::as_str)).int(depth.into()).array(windows.len());
        for (period, window) in windows {
            let letter = period.letter().to_string();
            packer.array(3).text(&letter).int(window.start_s).int(window.end_s);
        }
        let sheet = Sheet { plan: String::new(), lines: Vec::new() };
        let current_ms = (start_s * 1_000, end_s * 1_000);
        Self { sheet, bytes: packer.finish(), current_ms, depths: bit(depth) }
    }

    /// Whether every window of the sheet holds the instant.
    #[must_use]
    pub fn is_current_at(&self, at: DateTime<Utc>) -> bool {
        let (start_ms, end_ms) = self.current_ms;
        (start_ms..end_ms).contains(&at.timestamp_millis())
    }

    pub(super) const fn touches(&self, depth: u8) -> bool {
        self.depths & bit(depth) != 0
    }
}

const fn bit(depth: u8) -> u8 {
    1 << (depth - 1)
}

fn pack_line(packer: &mut Packer, line: &Line) {
    let field = field(line.limit.metric.as_str(), line.limit.period, line.window.start_s);
    let ceiling = line.limit.ceiling().map_or(-1, |units| units.get().cast_signed());
    let is_hard = line.limit.mode == Mode::Hard;
    packer.array(if is_hard { 5 } else { 7 });
    packer.int(line.depth.into()).text(&field).int(line.amount.get().into());
    packer.int(ceiling).int(line.window.end_s);
    // What a hard limit's ceiling says already: the limit itself, so that a stored answer can show it.
    if !is_hard {
        packer.count(mode_code(line.limit.mode).into());
        packer.int(line.limit.max.map_or(-1, |units| units.get().cast_signed()));
    }
}

const fn mode_code(mode: Mode) -> u8 {
    match mode {
        Mode::Hard => 0,
        Mode::Soft => 1,
        Mode::Shadow => 2,
    }
}

/// The mode with that number in a packed line.
pub(super) const fn coded_mode(code: u64) -> Option<Mode> {
    match code {
        0 => Some(Mode::Hard),
        1 => Some(Mode::Soft),
        2 => Some(Mode::Shadow),
        _ => None,
    }
}

/// The name of a counter in a subject's hash: `messages:m:1793491200`.
pub(super) fn field(metric: &str, period: Period, start_s: i64) -> String {
    format!("{metric}:{}:{start_s}", period.letter())
}

/// The metric, period and start of a counter's name.
pub(super) fn read_field(field: &str) -> Option<(&str, Period, i64)> {
    let (metric, rest) = field.split_once(':')?;
    let (letter, start) = rest.split_once(':')?;
    let mut letters = letter.chars();
    let period = Period::lettered(letters.next()?)?;
    Some((metric, period, start.parse().ok()?))
}

/// What makes a repeated request known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// A hash of the operation and the caller's key; the subject is in the record's name.
    pub key_hash: [u8; 16],
    /// A hash of the payload: another payload under the same key is a mistake.
    pub fingerprint: [u8; 8],
}

/// One request to the script.
#[derive(Debug)]
pub struct Operation {
    /// What is asked.
    pub kind: OperationKind,
    /// Who is charged.
    pub subject: Subject,
    /// What it is measured against.
    pub sheet: Arc<PackedSheet>,
    /// The operation's id: the same for every attempt.
    pub event_id: Uuid,
    /// What makes a repetition known, when the caller sent a key.
    pub idempotency: Option<Idempotency>,
    /// The model that was asked for.
    pub model: Option<String>,
    /// The request's id.
    pub request_id: String,
    /// The W3C trace id, 32 hexadecimal digits.
    pub trace_id: Option<String>,
    /// The caller's metadata, JSON text.
    pub metadata: Option<String>,
    /// The version of the subject's profile that the sheet was made from.
    pub profile_version: u64,
    /// When the caller stops waiting.
    pub deadline: Instant,
    /// The seq seen before a first attempt whose fate is unknown; `None` before any such attempt.
    pub since_seq: Option<u64>,
}

impl Operation {
    /// The paths of the levels that have limits here.
    pub fn touched_levels(&self) -> impl Iterator<Item = &str> {
        let levels = (1..).zip(self.subject.levels());
        levels.filter(|(depth, _)| self.sheet.touches(*depth)).map(|(_, level)| level)
    }

    /// The request's id, unless it is the event's: an id that the service made serves for both.
    fn own_request_id(&self) -> Option<&str> {
        let is_same = Uuid::try_parse(&self.request_id).is_ok_and(|id| id == self.event_id);
        (!is_same).then_some(self.request_id.as_str())
    }

    /// The event as the outbox holds it. `sheet` is its sheet's place in the outbox entry, below 128.
    ///
    /// The layout up to the event's id is fixed, since the script reads it by byte offset: array header, sheet, kind,
    /// string header, 16 bytes of id.
    pub(super) fn pack_event(&self, sheet: usize) -> Vec<u8> {
        let kind = match self.kind {
            OperationKind::Check => return Vec::new(),
            OperationKind::Consume => crate::domain::EventKind::Consume,
            OperationKind::Reset => crate::domain::EventKind::Reset,
        };
        let mut packer = Packer::with_capacity(96);
        packer.array(8).count(sheet as u64).count(kind.code().into());
        packer.bytes(self.event_id.as_bytes()).text(self.subject.as_str());
        packer.maybe(self.model.as_deref().map(str::as_bytes));
        packer.maybe(self.own_request_id().map(str::as_bytes));
        packer.maybe(self.trace_id.as_deref().map(str::as_bytes));
        packer.maybe(self.metadata.as_deref().map(str::as_bytes));
        packer.finish()
    }
}

/// An answer that was stored under an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAnswer {
    /// The event that was accepted.
    pub event_id: Uuid,
    /// The request that was answered.
    pub request_id: String,
    /// When Redis decided, in Unix milliseconds.
    pub now_ms: i64,
    /// The plan at the time.
    pub plan: String,
    /// Each counter as the answer showed it.
    pub lines: Vec<StoredLine>,
}

/// One counter of a stored answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredLine {
    /// The level, 1 is the root.
    pub depth: u8,
    /// What was counted.
    pub metric: Metric,
    /// The limit's period.
    pub period: Period,
    /// The instance of the period.
    pub window: Window,
    /// Units added.
    pub units: i64,
    /// The limit at the time; `None` was unlimited.
    pub max: Option<Units>,
    /// What happens past the limit.
    pub mode: Mode,
    /// Units used after the decision.
    pub used: Units,
}

/// What the script made of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Decided; `used` follows the sheet's lines.
    Decided {
        /// Whether every limit holds the charge.
        accepted: bool,
        /// Units used: after the charge, or as they are for a refusal and a check.
        used: Vec<Units>,
        /// When an admin last cleared counters of the subject, for a check; Unix milliseconds, 0 is never.
        reset_at_ms: i64,
        /// When Redis decided, in Unix milliseconds.
        now_ms: i64,
    },
    /// Answered before.
    Replayed(StoredAnswer),
    /// Counters were cleared; `units` are negative.
    Cleared {
        /// What was taken back from each counter.
        lines: Vec<StoredLine>,
        /// When, in Unix milliseconds.
        now_ms: i64,
    },
    /// The idempotency key was used with another payload.
    Mismatch,
    /// Nothing was decided: do what this says, then submit the operation again.
    Again(Again),
}

/// What has to be done before an operation can be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// Load the levels of the subject.
    Load,
    /// Read the subject's profile again.
    Stale,
    /// Work the windows out again: it is this time in Redis, in Unix milliseconds.
    WrongWindow(i64),
    /// Recover the shard.
    Recover(Fault),
}

/// A fault as it was met, with what was known of the shard then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Why the shard cannot serve.
    pub kind: ShardFault,
    /// The epoch in which the fault was met: a later one has left it behind.
    pub epoch: u64,
    /// The highest place known to have been given out in that epoch.
    pub seq: u64,
}

/// Why a shard cannot serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardFault {
    /// Redis does not know the shard: it is new, or was flushed.
    Uninitialised,
    /// A recovery is under way, or was interrupted.
    Fenced,
    /// Redis is at an older epoch: a snapshot was restored.
    OlderEpoch,
    /// Redis forgot acknowledged events.
    Rollback,
    /// Events are missing from the outbox.
    Gap,
}

impl ShardFault {
    /// The name in incidents and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Uninitialised => "uninitialised",
            Self::Fenced => "fenced",
            Self::OlderEpoch => "older_epoch",
            Self::Rollback => "rollback",
            Self::Gap => "gap",
        }
    }

    /// The fault of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::Uninitialised, Self::Fenced, Self::OlderEpoch, Self::Rollback, Self::Gap];
        all.into_iter().find(|fault| fault.as_str() == name)
    }
}
