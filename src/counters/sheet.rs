//! Sheets as the script and the outbox have them.

use chrono::DateTime;
use chrono::Utc;

use crate::domain::GrantLine;
use crate::domain::Limit;
use crate::domain::Line;
use crate::domain::Metric;
use crate::domain::Mode;
use crate::domain::Period;
use crate::domain::Sheet;
use crate::domain::Tally;
use crate::domain::Units;
use crate::domain::Window;
use crate::domain::event::LimitInForce;

use super::error::CountersError;
use super::field::Field;
use super::pack::Packer;
use super::pack::Unpacker;

/// A sheet in the form that the script reads, made once for all requests that share it.
#[derive(Debug)]
pub struct PackedSheet {
    /// What the request is measured against; without lines for a reset.
    pub sheet: Sheet,
    /// As the outbox has it.
    pub(super) bytes: Vec<u8>,
    /// As the script decides by it.
    pub(super) columns: Vec<u8>,
    pub(super) current_ms: (i64, i64),
}

impl PackedSheet {
    /// Packs what a consume, a check, a set or a decrement is measured against.
    #[must_use]
    pub fn charge(mut sheet: Sheet) -> Self {
        // The script goes through the lines level by level; a model's come metric by metric.
        sheet.lines.sort_by_key(|line| line.depth);
        let current_ms = sheet.current_ms();
        let mut packer = Packer::default();
        packer.array(5).int(current_ms.0).int(current_ms.1).text(&sheet.plan);
        packer.array(sheet.lines.len());
        for line in &sheet.lines {
            pack_line(&mut packer, line);
        }
        packer.count(sheet.depth.into());
        let columns = columns(&sheet, current_ms);
        Self { sheet, bytes: packer.finish(), columns, current_ms }
    }

    /// Whether more than used units counts.
    pub(super) fn has_more(&self) -> bool {
        has_more(&self.sheet)
    }

    /// Whether every window of the sheet holds the instant.
    #[must_use]
    pub fn is_current_at(&self, at: DateTime<Utc>) -> bool {
        let (start_ms, end_ms) = self.current_ms;
        (start_ms..end_ms).contains(&at.timestamp_millis())
    }
}

/// One counter of a sheet, as the outbox and stored answers have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredLine {
    /// The level, 1 is the root.
    pub depth: u8,
    /// What was counted.
    pub metric: Metric,
    /// The limit's period.
    pub period: Period,
    /// The instance of the period; of a sliding limit the slice.
    pub window: Window,
    /// The grant, when the units are of one; its window ends when it expires.
    pub grant: Option<u64>,
    /// Which count it is.
    pub tally: Tally,
    /// Whether the limit is a sliding one; a line that the script made does not tell.
    pub sliding: bool,
    /// Units added; in a stored answer those of an amount of one.
    pub units: i64,
    /// The limit at the time; `None` was unlimited.
    pub max: Option<Units>,
    /// What happens past the limit.
    pub mode: Mode,
    /// The share of the limit from which the answer warned.
    pub warning_percent: u8,
    /// The share of the limit from which the answer was critical.
    pub critical_percent: u8,
    /// Units used after the decision; 0 in the outbox, which does not have them.
    pub used: Units,
    /// The count after an admin's act, in a line that the script made for one.
    pub after: Option<i64>,
}

impl StoredLine {
    /// The limit, as far as the use of its window can reach it: what is held, carried or of a grant does not, and a shadow
    /// or a blocked one is none to come near to.
    pub(super) fn limit_in_force(&self) -> Option<LimitInForce> {
        let is_use = self.tally == Tally::Used && self.grant.is_none();
        let max =
            self.max.filter(|max| is_use && self.mode != Mode::Shadow && *max > Units::ZERO)?;
        let (warning_percent, critical_percent) = (self.warning_percent, self.critical_percent);
        Some(LimitInForce { max, warning_percent, critical_percent })
    }
}

/// How many values a line has that the script made for an admin's act: the last is the count after.
const LENGTH_AFTER_ACT: usize = 6;

/// The lines column by column, which the script reads without a table a line.
pub(super) fn columns(sheet: &Sheet, current_ms: (i64, i64)) -> Vec<u8> {
    let lines = &sheet.lines;
    let mut packer = Packer::default();
    packer.array(11).int(current_ms.0).int(current_ms.1);
    packer.count(sheet.depth.into()).count(lines.len() as u64);
    let up_to = |depth: u8| lines.iter().filter(|line| line.depth <= depth).count() as u64;
    packer.array(sheet.depth.into());
    for depth in 0..sheet.depth {
        packer.count(up_to(depth) + 1);
    }
    packer.array(sheet.depth.into());
    for depth in 1..=sheet.depth {
        packer.count(up_to(depth));
    }
    let ceiling = |line: &Line| line.limit.ceiling().unwrap_or(Units::MAX).get();
    column(&mut packer, lines, |packer, line| _ = packer.text(&name(line, line.window.start_s)));
    column(&mut packer, lines, |packer, line| _ = packer.count(line.weight.get().into()));
    column(&mut packer, lines, |packer, line| _ = packer.count(ceiling(line)));
    column(&mut packer, lines, pack_slices);
    pack_more(&mut packer, sheet);
    packer.finish()
}

/// What the script calls `C_MORE`: what counts beside used units, or false.
fn pack_more(packer: &mut Packer, sheet: &Sheet) {
    if !has_more(sheet) {
        packer.no();
        return;
    }
    packer.array(4);
    pack_grants(packer, &sheet.grants);
    pack_rolling(packer, sheet);
    let hold_max = |line: &Line| line.limit.hold_units().map_or(-1, |it| it.get().cast_signed());
    column(packer, &sheet.lines, |packer, line| _ = packer.int(hold_max(line)));
    let allowance = |line: &Line| line.limit.allowance().unwrap_or(Units::MAX).get();
    column(packer, &sheet.lines, |packer, line| _ = packer.count(allowance(line)));
}

fn has_more(sheet: &Sheet) -> bool {
    let has_hold_max = sheet.lines.iter().any(|line| line.limit.hold_max.is_some());
    has_hold_max || !sheet.grants.is_empty() || !sheet.rolling.is_empty()
}

fn pack_grants(packer: &mut Packer, grants: &[GrantLine]) {
    packer.array(grants.len());
    for GrantLine { depth, grant } in grants {
        let field = Field::of_grant(grant.metric.as_str(), grant.id, grant.end_s());
        packer.array(5).count((*depth).into()).text(grant.metric.as_str());
        packer.text(&field.to_string()).count(grant.amount.get()).int(grant.end_s());
    }
}

/// The names of the counters of rolling limits, by level.
fn pack_rolling(packer: &mut Packer, sheet: &Sheet) {
    packer.array(sheet.depth.into());
    for depth in 1..=sheet.depth {
        let of_level = || sheet.rolling.iter().filter(|line| line.depth == depth);
        packer.array(of_level().count());
        for line in of_level() {
            packer.text(&name(line, line.window.start_s));
        }
    }
}

fn column(packer: &mut Packer, lines: &[Line], pack: impl Fn(&mut Packer, &Line)) {
    packer.array(lines.len());
    for line in lines {
        pack(packer, line);
    }
}

/// The names of the counters of earlier slices, or false.
fn pack_slices(packer: &mut Packer, line: &Line) {
    if line.earlier_s.is_empty() {
        packer.no();
        return;
    }
    packer.array(line.earlier_s.len());
    for start_s in &line.earlier_s {
        packer.text(&name(line, *start_s));
    }
}

/// The name of the counter of a line whose window begins then.
pub(super) fn name(line: &Line, start_s: i64) -> String {
    let Limit { metric, period, sliding, .. } = &line.limit;
    Field::used(metric.as_str(), *period, *sliding, start_s).to_string()
}

/// What most limits have in common travels by being left out.
fn is_plain(line: &Line) -> bool {
    let limit = &line.limit;
    limit.mode == Mode::Hard
        && limit.warning_percent == Limit::WARNING_PERCENT
        && limit.critical_percent == Limit::CRITICAL_PERCENT
        && !limit.sliding
}

fn pack_line(packer: &mut Packer, line: &Line) {
    let limit = &line.limit;
    let ceiling = limit.ceiling().map_or(-1, |units| units.get().cast_signed());
    packer.array(if is_plain(line) { 5 } else { 9 + usize::from(limit.sliding) });
    packer.int(line.depth.into()).text(&name(line, line.window.start_s));
    packer.int(line.weight.get().into()).int(ceiling).int(line.window.end_s);
    if is_plain(line) {
        return;
    }
    packer.count(mode_code(limit.mode).into());
    packer.int(limit.max.map_or(-1, |units| units.get().cast_signed()));
    packer.count(limit.warning_percent.into()).count(limit.critical_percent.into());
    if limit.sliding {
        packer.count(1);
    }
}

const fn mode_code(mode: Mode) -> u8 {
    match mode {
        Mode::Hard => 0,
        Mode::Soft => 1,
        Mode::Shadow => 2,
    }
}

const fn coded_mode(code: u64) -> Option<Mode> {
    match code {
        0 => Some(Mode::Hard),
        1 => Some(Mode::Soft),
        2 => Some(Mode::Shadow),
        _ => None,
    }
}

/// The letter of a period in a counter's name; a capital one for slices.
pub(super) const fn letter(period: Period, sliding: bool) -> char {
    if sliding { period.letter().to_ascii_uppercase() } else { period.letter() }
}

/// A sheet as the outbox and stored answers have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredSheet {
    pub(super) plan: String,
    pub(super) lines: Vec<StoredLine>,
    /// Whether the lines have the units of the event, instead of those of an amount of one.
    pub(super) is_made: bool,
    /// Whether the event is a commit that came after its hold had ended.
    pub(super) late: bool,
    /// Whether the event is a commit that passed a hard limit.
    pub(super) overage: bool,
}

/// How many values a sheet has that the script made.
const LENGTH_MADE: usize = 6;

/// Reads a packed sheet.
pub(super) fn read_sheet(input: &mut Unpacker<'_>) -> Result<StoredSheet, CountersError> {
    let length = input.array()?;
    let (_start_ms, _end_ms) = (input.int()?, input.int()?);
    let plan = input.text()?.to_owned();
    let count = input.array()?;
    let mut lines = Vec::with_capacity(count);
    for _ in 0..count {
        lines.push(read_line(input)?);
    }
    let _depth = input.count()?;
    let flags = if length == LENGTH_MADE { input.count()? } else { 0 };
    let (is_made, late, overage) = (length == LENGTH_MADE, flags & 1 != 0, flags & 2 != 0);
    Ok(StoredSheet { plan, lines, is_made, late, overage })
}

fn read_line(input: &mut Unpacker<'_>) -> Result<StoredLine, CountersError> {
    let malformed = || CountersError::malformed("a line of a sheet");
    let length = input.array()?;
    let depth = u8::try_from(input.count()?).map_err(|_| malformed())?;
    let field = Field::parse(input.text()?).ok_or_else(malformed)?;
    let metric = Metric::new(&field.metric).map_err(|_| malformed())?;
    let (units, ceiling, end_s) = (input.int()?, input.int()?, input.int()?);
    let start_s = if field.grant.is_some() { Window::LIFETIME.start_s } else { field.at_s };
    let window = Window { start_s, end_s };
    let mut line = StoredLine {
        depth,
        metric,
        period: field.period,
        window,
        grant: field.grant,
        tally: field.tally,
        sliding: length >= 10,
        units,
        max: units_or_unlimited(ceiling),
        mode: Mode::Hard,
        warning_percent: Limit::WARNING_PERCENT,
        critical_percent: Limit::CRITICAL_PERCENT,
        used: Units::ZERO,
        after: None,
    };
    if length == LENGTH_AFTER_ACT {
        line.after = Some(input.int()?);
    }
    if length >= 9 {
        read_details(input, &mut line)?;
    }
    if line.sliding {
        input.count()?;
    }
    Ok(line)
}

fn read_details(input: &mut Unpacker<'_>, line: &mut StoredLine) -> Result<(), CountersError> {
    let malformed = || CountersError::malformed("a line of a sheet");
    let percent = |count: u64| u8::try_from(count).map_err(|_| malformed());
    line.mode = coded_mode(input.count()?).ok_or_else(malformed)?;
    line.max = units_or_unlimited(input.int()?);
    line.warning_percent = percent(input.count()?)?;
    line.critical_percent = percent(input.count()?)?;
    Ok(())
}

fn units_or_unlimited(count: i64) -> Option<Units> {
    u64::try_from(count).ok().and_then(|count| Units::new(count).ok())
}
