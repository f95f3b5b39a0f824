//! What is asked of the script in the place of a sheet: which counters to rewrite, or which hold to end.

use crate::domain::GrantLine;
use crate::domain::Line;
use crate::domain::Metric;
use crate::domain::Period;
use crate::domain::Sheet;
use crate::domain::Units;
use crate::domain::Window;

use super::field::Field;
use super::pack::Packer;
use super::sheet::PackedSheet;
use super::sheet::columns;
use super::sheet::letter;
use super::sheet::name;

/// Which counters of a period a reset clears: those that begin in a span, and when their windows end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clearing {
    /// The period.
    pub period: Period,
    /// Whether slices of a sliding limit are meant.
    pub sliding: bool,
    /// Windows that begin at or after this, in Unix seconds.
    pub from_s: i64,
    /// The current window: what is cleared begins before its end.
    pub window: Window,
}

/// What an event took of one counter, to be given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The level.
    pub depth: u8,
    /// The counter.
    pub field: Field,
    /// Units that were taken.
    pub units: u64,
    /// The most that refunds give back in the window; `None` is no bound.
    pub refund_max: Option<Units>,
    /// First second after the window, or the second at which a grant ends.
    pub end_s: i64,
}

/// What was used in the window before one that is to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// Redis may know; Postgres was not asked.
    Unknown,
    /// Nothing was counted in it, and nothing is carried.
    Nothing,
    /// By Postgres.
    Used {
        /// Units used.
        used: i64,
        /// Units that had been carried into it.
        carried: i64,
        /// Units that are held in it still. They count when Redis has none of them.
        held: i64,
    },
}

/// A limit whose window leaves units to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roll {
    /// The limit in its new window.
    pub line: Line,
    /// The first second of the window before, in Unix seconds.
    pub before_s: i64,
    /// What was used in it.
    pub before: Before,
}

/// What a hold has of its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// Nothing: nobody remembers the hold but who has its id.
    Nothing,
    /// So many units of each line of its sheet.
    Units(Vec<u64>),
}

/// A hold as Postgres or its id tell of it.
#[derive(Clone, Debug)]
pub struct KnownHold<'a> {
    /// The shard's epoch in which it is told.
    pub epoch: u64,
    /// The place in that epoch up to which the log was read.
    pub seq: u64,
    /// Until when it holds, in Unix seconds.
    pub until_s: i64,
    /// The amount that was asked.
    pub amount: Units,
    /// Whether an event of its expiry is in the log.
    pub is_expired: bool,
    /// What it is measured against.
    pub sheet: &'a PackedSheet,
    /// What it has of the lines.
    pub held: Held,
    /// What it has of grants.
    pub grants: Vec<(GrantLine, u64)>,
}

impl PackedSheet {
    fn ask(depth: u8, bytes: Vec<u8>, current_ms: (i64, i64)) -> Self {
        let sheet = Sheet { depth, ..Sheet::default() };
        let columns = columns(&sheet, current_ms);
        Self { sheet, bytes, columns, current_ms }
    }

    /// Packs what a reset clears on the last level of a path: one metric or all.
    #[must_use]
    pub fn reset(depth: u8, metric: Option<&Metric>, clearings: &[Clearing]) -> Self {
        let windows = || clearings.iter().map(|clearing| clearing.window);
        let start_s = windows().map(|window| window.start_s).max().unwrap_or(0);
        let end_s = windows().map(|window| window.end_s).min();
        let current_ms = (start_s * 1_000, end_s.unwrap_or(Window::LIFETIME.end_s) * 1_000);
        let mut packer = Packer::default();
        packer.array(5).int(current_ms.0).int(current_ms.1);
        packer.text(metric.map_or("", Metric::as_str)).array(clearings.len());
        for clearing in clearings {
            let letter = letter(clearing.period, clearing.sliding).to_string();
            let end_s = clearing.window.end_s;
            packer.array(3).text(&letter).int(clearing.from_s).int(end_s);
        }
        packer.count(depth.into());
        Self::ask(depth, packer.finish(), current_ms)
    }

    /// Packs what a refund gives back.
    #[must_use]
    pub fn refund(depth: u8, plan: &str, taken: &[Taken]) -> Self {
        let mut packer = lines(plan, taken.len());
        for it in taken {
            let most = it.refund_max.map_or(-1, |units| units.get().cast_signed());
            packer.array(5).count(it.depth.into()).text(&it.field.to_string());
            packer.count(it.units).int(most).int(it.end_s);
        }
        packer.count(depth.into());
        Self::ask(depth, packer.finish(), Window::LIFETIME.ms())
    }

    /// Packs the limits of the last level of a path whose windows begin with what those before them left.
    #[must_use]
    pub fn roll(depth: u8, rolls: &[Roll]) -> Self {
        let mut packer = lines("", rolls.len());
        for Roll { line, before_s, before } in rolls {
            let (used, carried, held) = match *before {
                Before::Unknown => (-1, 0, 0),
                Before::Nothing => (-2, 0, 0),
                Before::Used { used, carried, held } => (used.max(0), carried, held.max(0)),
            };
            let max = line.limit.max.map_or(0, Units::get);
            packer.array(9).count(depth.into()).text(&name(line, line.window.start_s));
            packer.count(line.limit.rollover_units().get()).count(max).int(line.window.end_s);
            packer.int(held).text(&name(line, *before_s)).int(used).int(carried);
        }
        packer.count(depth.into());
        let start_s = rolls.iter().map(|roll| roll.line.window.start_s).max().unwrap_or(0);
        let end_s = rolls.iter().map(|roll| roll.line.window.end_s).min();
        let end_s = end_s.unwrap_or(Window::LIFETIME.end_s);
        Self::ask(depth, packer.finish(), (start_s * 1_000, end_s * 1_000))
    }

    /// Packs the grants of the last level of a path from which units are given away, the first first.
    #[must_use]
    pub fn give(depth: u8, grants: &[GrantLine]) -> Self {
        let mut packer = lines("", grants.len());
        for GrantLine { grant, .. } in grants {
            let field = Field::of_grant(grant.metric.as_str(), grant.id, grant.end_s());
            packer.array(5).count(depth.into()).text(&field.to_string());
            packer.count(0).count(grant.amount.get()).int(grant.end_s());
        }
        packer.count(depth.into());
        Self::ask(depth, packer.finish(), Window::LIFETIME.ms())
    }

    /// Packs the end of a hold, with the hold as it is known elsewhere, for when Redis does not know it.
    #[must_use]
    pub fn hold(depth: u8, known: Option<&KnownHold<'_>>) -> Self {
        let bytes = known.map_or_else(Vec::new, pack_hold);
        Self::ask(depth, bytes, Window::LIFETIME.ms())
    }
}

/// The beginning of a sheet of so many lines, for any time.
fn lines(plan: &str, count: usize) -> Packer {
    let (start_ms, end_ms) = Window::LIFETIME.ms();
    let mut packer = Packer::default();
    packer.array(5).int(start_ms).int(end_ms).text(plan).array(count);
    packer
}

/// A record of a hold, as `lua/lib/holds.lua` says.
fn pack_hold(hold: &KnownHold<'_>) -> Vec<u8> {
    let mut packer = Packer::default();
    packer.count(if hold.is_expired { 3 } else { 0 }).count(hold.epoch).int(hold.until_s);
    packer.count(hold.amount.get()).count(0).bytes(&hold.sheet.bytes);
    match &hold.held {
        Held::Nothing => _ = packer.count(0),
        Held::Units(units) => {
            packer.array(units.len());
            for units in units {
                packer.count(*units);
            }
        }
    }
    packer.array(hold.grants.len());
    for (GrantLine { depth, grant }, held) in &hold.grants {
        let field = Field::of_grant(grant.metric.as_str(), grant.id, grant.end_s());
        packer.array(6).count((*depth).into()).text(grant.metric.as_str());
        packer.text(&field.to_string()).count(grant.amount.get()).int(grant.end_s()).count(*held);
    }
    packer.count(hold.seq);
    packer.finish()
}
