//! Rollover: what the windows of limits leave to the next.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::DateTime;
use chrono::Utc;
use uuid::Uuid;

use crate::counters::Again;
use crate::counters::Before;
use crate::counters::Operation;
use crate::counters::OperationKind;
use crate::counters::Outcome;
use crate::counters::PackedSheet;
use crate::counters::Roll;
use crate::domain::Calendar;
use crate::domain::Line;
use crate::domain::Metric;
use crate::domain::Period;
use crate::domain::Subject;
use crate::ledger::Previous;
use crate::ledger::PreviousCounter;

use super::Quota;
use super::error::QuotaError;
use super::event_ledger::EventLedger;
use super::identity;
use super::order::RequestContext;
use super::profiles::LevelProfiles;
use super::resolve::Charge;
use super::resolve::Edition;
use super::settle::Measure;
use super::settle::Measured;

/// Questions to Postgres of one roll. The limits may change in between, so that others have to be asked for.
const ASKED_MAX: usize = 4;

/// A window of a level's counter: its metric, its period and its first second. Limits are told apart by it, since their order is
/// that of the catalogue and the profile, which may change at any time.
type WindowKey = (Metric, Period, i64);

fn before_key(roll: &Roll) -> WindowKey {
    (roll.line.limit.metric.clone(), roll.line.limit.period, roll.before_s)
}

impl<L: EventLedger> Quota<L> {
    /// Begins the windows of the limits of a level that roll over, with what those before them left. Nothing is carried
    /// twice: the script leaves alone what has begun, and the event's id is that of the level and its windows.
    pub(super) async fn roll(&self, operation: &Operation, depth: u8) -> Result<(), QuotaError> {
        let path = operation.subject.level(depth);
        let level = Subject::parse(path).map_err(|error| QuotaError::Internal(Box::new(error)))?;
        let (path, before) = (&operation.subject, HashMap::new());
        let mut rolling = Rolling { quota: self, path, depth, before };
        for _ in 0..=ASKED_MAX {
            let context = RequestContext {
                request_id: operation.request_id.clone(),
                made_id: None,
                trace_id: operation.trace_id.clone(),
            };
            let order = Operation {
                event_id: self.roll_id(&level, &rolling)?,
                deadline: operation.deadline,
                ..self.operation(OperationKind::Roll, &level, &context)
            };
            let settled = self.settle_on(Box::new(order), &rolling).await?;
            let Outcome::Again(Again::Before) = settled.outcome else { return Ok(()) };
            rolling.before = self.used_before(&level, &rolling).await?;
        }
        Err(QuotaError::Internal("a roll was told of the windows before in vain".into()))
    }

    /// The id of the event that begins the windows as they are now.
    fn roll_id(&self, level: &Subject, rolling: &Rolling<'_, L>) -> Result<Uuid, QuotaError> {
        let rolls = rolling.rolls(&self.edition(), self.counters.redis_now())?;
        let windows = rolls.iter().map(|roll| (roll.line.limit.name(), roll.line.window.start_s));
        Ok(identity::of_roll(level, windows))
    }

    /// What Postgres knows of the windows before, once it has every event of theirs.
    async fn used_before(
        &self,
        level: &Subject,
        rolling: &Rolling<'_, L>,
    ) -> Result<HashMap<WindowKey, Before>, QuotaError> {
        let now = self.counters.redis_now();
        let rolls = rolling.rolls(&self.edition(), now)?;
        let shard = level.shard(self.shard_count());
        self.flushed(std::iter::once(shard)).await?;
        let windows: Vec<_> = rolls.iter().map(before_key).collect();
        let previous = self.ledger.previous_counters(level.as_str(), &windows, now).await;
        let previous = previous.map_err(QuotaError::of_ledger)?;
        Ok(rolls.iter().map(|roll| (before_key(roll), before(roll, &previous))).collect())
    }
}

/// What Postgres knows of the window before: one in which nothing was counted left all of it, if the subject was known by
/// then.
fn before(roll: &Roll, previous: &Previous) -> Before {
    let limit = &roll.line.limit;
    let counted = previous.counters.iter().find(|it| {
        it.metric == limit.metric.as_str()
            && it.period == limit.period.as_str()
            && it.window_start_s == roll.before_s
    });
    let was_known = previous.created_at.is_some_and(|at| at.timestamp() <= roll.before_s);
    match counted {
        Some(PreviousCounter { used, carried, held, .. }) => {
            Before::Used { used: *used, carried: *carried, held: *held }
        }
        None if was_known => Before::Used { used: 0, carried: 0, held: 0 },
        None => Before::Nothing,
    }
}

/// The limits of a level that roll over, as they are on a path through it: by itself it may have a default plan, which the
/// path does not go by.
struct Rolling<'a, L> {
    quota: &'a Quota<L>,
    path: &'a Subject,
    depth: u8,
    /// What Postgres knows of the windows before, once it was asked.
    before: HashMap<WindowKey, Before>,
}

impl<L: EventLedger> Rolling<'_, L> {
    fn rolls(&self, edition: &Edition, at: DateTime<Utc>) -> Result<Vec<Roll>, QuotaError> {
        let profiles = self.quota.profiles.of(self.path);
        let resolved = edition.resolve(self.path, &profiles, Charge::Everything, at)?;
        let own = resolved.sheet.sheet.rolling.iter().filter(|line| line.depth == self.depth);
        let of_level = profiles.profiles().get(usize::from(self.depth) - 1).map(|it| it.calendar());
        let calendar = of_level.unwrap_or(Calendar::UTC);
        let roll = |line: &Line| {
            let last = line.window.start_at() - chrono::TimeDelta::seconds(1);
            let before_s = line.limit.period.window_at(last, &calendar).start_s;
            let mut roll = Roll { line: line.clone(), before_s, before: Before::Unknown };
            if let Some(before) = self.before.get(&before_key(&roll)) {
                roll.before = *before;
            }
            roll
        };
        Ok(own.map(roll).collect())
    }
}

impl<L: EventLedger> Measure for Rolling<'_, L> {
    fn measure(
        &self,
        edition: &Edition,
        _profiles: &LevelProfiles,
        at: DateTime<Utc>,
    ) -> Result<Measured, QuotaError> {
        let rolls = self.rolls(edition, at)?;
        let sheet = PackedSheet::roll(self.depth, &rolls);
        Ok(Measured { sheet: Arc::new(sheet), resolved: None })
    }
}

#[cfg(test)]
mod tests {
    use crate::domain::Amount;
    use crate::domain::Line;

    use super::*;

    const DAY_S: i64 = 86_400;

    fn roll() -> Roll {
        let limit = r#"{ "metric": "messages", "period": "day", "max": 10, "rollover": "20%" }"#;
        let at = DateTime::from_timestamp(5 * DAY_S, 0).unwrap();
        let limit = serde_json::from_str(limit).unwrap();
        let line = Line::at(1, limit, Amount::ZERO, at, &Calendar::UTC);
        Roll { line, before_s: 4 * DAY_S, before: Before::Unknown }
    }

    fn counter(metric: &str, period: &str, window_start_s: i64) -> PreviousCounter {
        let (metric, period) = (metric.to_owned(), period.to_owned());
        PreviousCounter { metric, period, window_start_s, used: 7, carried: 2, held: 1 }
    }

    /// What the window before left for one who was first configured at a second, by these counters.
    fn left(created_at_s: Option<i64>, counters: Vec<PreviousCounter>) -> Before {
        let created_at = created_at_s.and_then(|at_s| DateTime::from_timestamp(at_s, 0));
        before(&roll(), &Previous { created_at, counters })
    }

    /// Guards who gets a whole allowance carried: who was there before that window began, and nobody else.
    #[test]
    fn who_was_known_before_the_window_left_all_of_it() {
        assert_eq!(left(None, vec![]), Before::Nothing);
        assert_eq!(left(Some(4 * DAY_S + 1), vec![]), Before::Nothing);
        assert_eq!(left(Some(4 * DAY_S), vec![]), Before::Used { used: 0, carried: 0, held: 0 });
        assert_eq!(
            left(None, vec![counter("messages", "day", 4 * DAY_S)]),
            Before::Used { used: 7, carried: 2, held: 1 }
        );
    }

    #[test]
    fn only_the_counter_of_the_same_limit_and_window_says_what_is_left() {
        for other in [
            counter("exports", "day", 4 * DAY_S),
            counter("messages", "week", 4 * DAY_S),
            counter("messages", "day", 3 * DAY_S),
        ] {
            assert_eq!(left(None, vec![other]), Before::Nothing);
        }
    }
}
