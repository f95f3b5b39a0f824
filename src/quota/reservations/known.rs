//! A hold that Redis does not know: as Postgres has it, else as its id tells of it.

use chrono::DateTime;

use crate::counters::Held;
use crate::counters::HoldEnd;
use crate::counters::KnownHold;
use crate::counters::OperationKind;
use crate::counters::PackedSheet;
use crate::domain::Amount;
use crate::domain::EventKind;
use crate::domain::Grant;
use crate::domain::GrantLine;
use crate::domain::Limit;
use crate::domain::Line;
use crate::domain::Period;
use crate::domain::Sheet;
use crate::domain::Subject;
use crate::domain::Units;
use crate::domain::event::Delta;
use crate::ledger::ReservationRow;
use crate::ledger::ReservationState;

use super::ReservationId;
use super::ends::Asked;
use crate::quota::Quota;
use crate::quota::error::QuotaError;
use crate::quota::event_ledger::EventLedger;
use crate::quota::identity;
use crate::quota::order::RequestContext;
use crate::quota::resolve;

impl<L: EventLedger> Quota<L> {
    /// What to tell Redis of a hold that it does not know. Postgres has every event of earlier epochs, and Redis every
    /// hold of its own, so a hold that neither knows was lost with Redis: it holds nothing, and its commit counts.
    ///
    /// # Errors
    ///
    /// [`QuotaError::ReservationEnded`] when it has, [`QuotaError::UnknownReservation`] when that is no longer known, and
    /// [`QuotaError::Unavailable`] when Postgres is away.
    pub(super) async fn known_hold(&self, id: &ReservationId) -> Result<PackedSheet, QuotaError> {
        // Its record alone may be gone, as when a clock went a day ahead: what ended it may be on its way.
        let shard = id.subject.shard(self.shard_count());
        self.flush_now(shard).await?;
        let cursor = self.ledger.cursor(shard).await.map_err(QuotaError::of_ledger)?;
        let row = self.ledger.reservation(id.event_id).await.map_err(QuotaError::of_ledger)?;
        let row = row.map(still_open).transpose()?;
        let is_expired = match &row {
            Some(row) => row.state == ReservationState::Expired,
            None => self.has_expired_unknown(id).await?,
        };
        self.learn_profiles(&id.subject).await?;
        let sheet = self.sheet_of(id, row.as_ref());
        let until_s = row.as_ref().map_or(id.until_s, |it| it.until.timestamp());
        let known = KnownHold {
            epoch: cursor.epoch,
            seq: cursor.seq,
            until_s,
            amount: id.amount.into(),
            is_expired,
            held: row.as_ref().map_or(Held::Nothing, |row| held_of(&sheet.sheet, &row.lines)),
            grants: row.as_ref().map_or_else(Vec::new, |row| grants_of(&sheet.sheet, &row.lines)),
            sheet: &sheet,
        };
        Ok(PackedSheet::hold(id.subject.depth(), Some(&known)))
    }

    /// Looks at nothing, by which this node hears of profiles that others have changed.
    async fn learn_profiles(&self, subject: &Subject) -> Result<(), QuotaError> {
        let look = self.operation(OperationKind::Check, subject, &RequestContext::default());
        self.settle_on(Box::new(look), &Asked(resolve::nothing(subject.depth()))).await?;
        Ok(())
    }

    /// Whether the log says that a hold has expired whose beginning it does not have. One that is older than what is kept may have
    /// ended in any way: it is unknown.
    async fn has_expired_unknown(&self, id: &ReservationId) -> Result<bool, QuotaError> {
        for what in ["late", "end"] {
            let event = identity::of_settling(what, id.event_id);
            let Some(event) = self.ledger.event(event).await.map_err(QuotaError::of_ledger)? else {
                continue;
            };
            let end = match event.kind {
                EventKind::Expire => return Ok(true),
                EventKind::Release => HoldEnd::Released,
                _ => HoldEnd::Committed,
            };
            let amount = event.amount.and_then(|units| Units::new(units).ok());
            return Err(QuotaError::ReservationEnded {
                end,
                amount: amount.unwrap_or(Units::ZERO),
            });
        }
        let is_gone = self.ledger.is_no_longer_kept(id.event_id).await;
        if is_gone.map_err(QuotaError::of_ledger)? {
            return Err(QuotaError::UnknownReservation);
        }
        Ok(false)
    }

    /// What the hold was measured against: its windows are those of its time, its limits those in force now, and whatever
    /// else it held.
    fn sheet_of(&self, id: &ReservationId, row: Option<&ReservationRow>) -> PackedSheet {
        let at = DateTime::from_timestamp(id.at_s, 0).unwrap_or_else(|| self.counters.redis_now());
        let profiles = self.profiles.of(&id.subject);
        let resolved = self.edition().resolve_ask(&id.subject, &profiles, &id.ask, at);
        let mut sheet = resolved.map_or_else(
            |_| Sheet { depth: id.subject.depth(), ..Sheet::default() },
            |resolved| resolved.sheet.sheet.clone(),
        );
        let held = row.iter().flat_map(|row| &row.lines).filter(|delta| delta.grant.is_none());
        for delta in held {
            if !sheet.lines.iter().any(|line| is_of(line, delta)) {
                sheet.lines.push(line_of(delta, id.amount));
            }
        }
        if let Some(row) = row {
            sheet.plan.clone_from(&row.plan);
        }
        PackedSheet::charge(Sheet { rolling: Vec::new(), until_s: None, ..sheet })
    }
}

/// The reservation, unless it has ended in a way that nothing can follow.
fn still_open(row: ReservationRow) -> Result<ReservationRow, QuotaError> {
    let end = match row.state {
        ReservationState::Open | ReservationState::Expired => return Ok(row),
        ReservationState::Committed => HoldEnd::Committed,
        ReservationState::Released => HoldEnd::Released,
        ReservationState::Late => HoldEnd::CommittedLate,
    };
    let amount = row.committed.and_then(|units| Units::new(units).ok()).unwrap_or(Units::ZERO);
    Err(QuotaError::ReservationEnded { end, amount })
}

fn is_of(line: &Line, delta: &Delta) -> bool {
    (line.depth, line.limit.period, line.limit.sliding, line.window.start_s)
        == (delta.depth, delta.period, is_slice(delta), delta.window.start_s)
        && line.limit.metric == delta.metric
}

/// Whether a delta is of a sliding limit.
fn is_slice(delta: &Delta) -> bool {
    delta.period.slice_s() == Some(delta.window.seconds())
}

/// A line for units that are held of a limit that is gone.
fn line_of(delta: &Delta, amount: Amount) -> Line {
    let weight = delta.units.unsigned_abs() / u64::from(amount.get()).max(1);
    let limit = Limit::new(delta.metric.clone(), delta.period, None);
    Line {
        depth: delta.depth,
        limit: Limit { sliding: is_slice(delta), ..limit },
        window: delta.window,
        weight: Amount::new(weight).unwrap_or(Amount::MAX),
        earlier_s: Vec::new(),
    }
}

/// What is held of each line. Of minutes and hours Redis alone has it: what it counts now is held by others.
fn held_of(sheet: &Sheet, lines: &[Delta]) -> Held {
    let is_kept = |delta: &Delta| !matches!(delta.period, Period::Minute | Period::Hour);
    let held = |line: &Line| {
        let kept = lines.iter().filter(|delta| delta.grant.is_none() && is_kept(delta));
        let own = kept.filter(|delta| is_of(line, delta));
        own.map(|delta| delta.units.unsigned_abs()).sum()
    };
    Held::Units(sheet.lines.iter().map(held).collect())
}

/// What is held of grants. Of one that is gone nothing else can be charged.
fn grants_of(sheet: &Sheet, lines: &[Delta]) -> Vec<(GrantLine, u64)> {
    let of_grants = lines.iter().filter_map(|delta| {
        let units = delta.units.unsigned_abs();
        let id = delta.grant?;
        if let Some(known) = sheet.grants.iter().find(|line| line.grant.id == id) {
            return Some((known.clone(), units));
        }
        let grant = Grant {
            id,
            metric: delta.metric.clone(),
            amount: Units::new(units).ok()?,
            expires_s: Some(delta.window.end_s),
            period: None,
        };
        Some((GrantLine { depth: delta.depth, grant }, units))
    });
    of_grants.collect()
}

#[cfg(test)]
mod tests {
    use super::grants_of;
    use super::is_of;
    use super::line_of;
    use crate::domain::Amount;
    use crate::domain::Grant;
    use crate::domain::GrantLine;
    use crate::domain::Metric;
    use crate::domain::Period;
    use crate::domain::Sheet;
    use crate::domain::Tally;
    use crate::domain::Units;
    use crate::domain::Window;
    use crate::domain::event::Delta;

    fn held(grant: Option<u64>, units: i64) -> Delta {
        Delta {
            depth: 2,
            metric: Metric::new("tokens").unwrap(),
            period: Period::Day,
            window: Window { start_s: 86_400, end_s: 172_800 },
            grant,
            tally: Tally::Held { until_s: 90_000 },
            units,
            after: None,
            limit: None,
        }
    }

    #[test]
    fn a_line_of_a_limit_that_is_gone_weighs_what_a_unit_took() {
        let delta = held(None, -35);

        let line = line_of(&delta, Amount::new(7).unwrap());

        assert_eq!((line.depth, line.weight.get(), line.window), (2, 5, delta.window));
        assert_eq!((line.limit.period, line.limit.max), (Period::Day, None));
    }

    #[test]
    fn units_that_are_held_of_a_grant_are_of_that_grant_also_when_it_is_gone() {
        let tokens = Metric::new("tokens").unwrap();
        let line = |id, amount, expires_s| GrantLine {
            depth: 2,
            grant: Grant {
                id,
                metric: tokens.clone(),
                amount: Units::new(amount).unwrap(),
                expires_s,
                period: None,
            },
        };
        let sheet = Sheet {
            plan: "p".to_owned(),
            depth: 2,
            lines: Vec::new(),
            grants: vec![line(1, 10, None), line(2, 20, None)],
            rolling: Vec::new(),
            until_s: None,
        };

        let found = grants_of(&sheet, &[held(Some(2), 6), held(None, 9), held(Some(3), 4)]);

        assert_eq!(found, [(line(2, 20, None), 6), (line(3, 4, Some(172_800)), 4)]);
    }

    /// Guards a hold of a trailing minute: its units are of a slice, which is shorter than the minute.
    #[test]
    fn units_of_a_slice_are_of_a_sliding_limit() {
        let slice_s = Period::Minute.slice_s().unwrap();
        let of = |seconds| Delta {
            period: Period::Minute,
            window: Window { start_s: 60, end_s: 60 + seconds },
            ..held(None, 5)
        };
        let line = |seconds| line_of(&of(seconds), Amount::new(5).unwrap());

        assert!(line(slice_s).limit.sliding && !line(60).limit.sliding);
        assert!(is_of(&line(slice_s), &of(slice_s)) && !is_of(&line(60), &of(slice_s)));
    }
}
