//! The state of a subject's limits.

use std::collections::BTreeMap;

use chrono::DateTime;
use chrono::Utc;

use crate::counters::OperationKind;
use crate::counters::Outcome;
use crate::domain::Calendar;
use crate::domain::Decision;
use crate::domain::LimitState;
use crate::domain::Line;
use crate::domain::Sheet;
use crate::domain::Subject;
use crate::domain::Units;

use super::Quota;
use super::decide::Told;
use super::decide::states;
use super::error::QuotaError;
use super::order::RequestContext;
use super::profiles::LevelProfiles;
use super::resolve::Charge;
use super::resolve::Edition;
use super::settle::Measure;
use super::settle::Measured;
use super::settle::Settled;

/// The state of a subject's limits at one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Whose.
    pub subject: Subject,
    /// The plan that the limits come from.
    pub plan: String,
    /// Every limit of every level, root first; `violated` says that it would refuse one unit more.
    pub limits: Vec<LimitState>,
    /// Every feature of the catalogue: whether the subject has it.
    pub features: BTreeMap<String, bool>,
    /// Where the subject can get more.
    pub upgrade_url: Option<String>,
    /// Whether a level's profile refuses every request.
    pub is_blocked: bool,
    /// The calendar that the days, weeks and months of the last level follow.
    pub calendar: Calendar,
    /// When an admin last cleared counters of the subject.
    pub last_reset_at: Option<DateTime<Utc>>,
    /// When Redis looked, in Unix milliseconds.
    pub decided_at_ms: i64,
}

/// Every limit of every level.
pub(super) struct Everything<'a>(pub(super) &'a Subject);

impl Measure for Everything<'_> {
    fn measure(
        &self,
        edition: &Edition,
        profiles: &LevelProfiles,
        at: DateTime<Utc>,
    ) -> Result<Measured, QuotaError> {
        let resolved = edition.resolve(self.0, profiles, Charge::Everything, at)?;
        Ok(Measured { sheet: resolved.sheet.clone(), resolved: Some(resolved) })
    }
}

impl Usage {
    /// Whether every limit of the metric would accept one unit more, and nobody blocked the subject. A metric without
    /// limits has room.
    #[must_use]
    pub fn has_room(&self, metric: &str) -> bool {
        let mut of_metric = self.limits.iter().filter(|state| state.metric.as_str() == metric);
        !self.is_blocked && of_metric.all(|state| !state.violated)
    }
}

/// The states of a sheet's lines, with those marked that would not accept one unit more.
fn with_room(sheet: &Sheet, states: Vec<LimitState>) -> Vec<LimitState> {
    states.into_iter().zip(&sheet.lines).map(|(state, line)| marked(state, line)).collect()
}

fn marked(state: LimitState, line: &Line) -> LimitState {
    let room = line.limit.ceiling().map(|units| units.saturating_add(state.carried.get()));
    let is_spent = room.is_some_and(|room| state.taken() >= room);
    LimitState { violated: is_spent && state.granted == Units::ZERO, ..state }
}

/// The states of those limits that a subject has, which a metric that nothing limits is not among.
fn of_limits(subject: &Subject, sheet: &Sheet, states: &[LimitState]) -> Vec<LimitState> {
    let of = |line: &Line| {
        let is_of_line = |state: &&LimitState| {
            state.metric == line.limit.metric
                && state.period == line.limit.period
                && *state.subject == *subject.level(line.depth)
        };
        states.iter().find(is_of_line).map(|state| marked(state.clone(), line))
    };
    sheet.lines.iter().filter_map(of).collect()
}

impl Quota {
    /// What an accepted decision says of the subject's usage, without a look at the counters: of the limits that were
    /// charged, as they were then. Which of them would refuse one unit more follows from the limits that this node knows.
    #[must_use]
    pub fn usage_after(&self, subject: &Subject, decision: &Decision) -> Usage {
        let at = DateTime::from_timestamp_millis(decision.decided_at_ms).unwrap_or_default();
        let profiles = self.profiles.of(subject);
        let resolved = self.edition().resolve(subject, &profiles, Charge::Everything, at).ok();
        let limits = resolved.as_ref().map_or_else(
            || decision.limits.clone(),
            |resolved| of_limits(subject, &resolved.sheet.sheet, &decision.limits),
        );
        Usage {
            subject: subject.clone(),
            plan: decision.plan.clone(),
            limits,
            features: BTreeMap::new(),
            upgrade_url: decision.upgrade_url.clone(),
            is_blocked: false,
            calendar: resolved.map_or(Calendar::UTC, |resolved| resolved.calendar),
            last_reset_at: None,
            decided_at_ms: decision.decided_at_ms,
        }
    }

    /// The state of every limit of every level of the subject. Writes nothing but counters that were missing in Redis.
    ///
    /// # Errors
    ///
    /// [`QuotaError::NoPlan`] when the subject has none, [`QuotaError::Unavailable`] when a store is away.
    pub async fn usage(&self, subject: &Subject) -> Result<Usage, QuotaError> {
        let context = RequestContext::default();
        let operation = self.operation(OperationKind::Check, subject, &context);
        let settled = self.settle_on(Box::new(operation), &Everything(subject)).await?;
        let Settled { operation, outcome, resolved, edition } = settled;
        let (Outcome::Decided { used, more, reset_at_ms, now_ms, .. }, Some(resolved)) =
            (outcome, resolved)
        else {
            return Err(QuotaError::Internal("a look ended in another's outcome".into()));
        };
        let last_reset_at =
            (reset_at_ms > 0).then(|| DateTime::from_timestamp_millis(reset_at_ms)).flatten();
        let features = edition.catalogue.features.iter();
        Ok(Usage {
            subject: subject.clone(),
            plan: operation.sheet.sheet.plan.clone(),
            limits: with_room(
                &operation.sheet.sheet,
                states(&operation, &Told { used, more }, false),
            ),
            features: features.map(|it| (it.clone(), resolved.features.contains(it))).collect(),
            upgrade_url: resolved.upgrade_url.clone(),
            is_blocked: resolved.block.is_some(),
            calendar: resolved.calendar,
            last_reset_at,
            decided_at_ms: now_ms,
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::domain::Amount;

    use super::*;

    fn line(depth: u8, metric: &str, period: &str) -> Line {
        let limit = format!(r#"{{ "metric": "{metric}", "period": "{period}", "max": 2 }}"#);
        let limit = serde_json::from_str(&limit).unwrap();
        Line::at(depth, limit, Amount::ZERO, DateTime::UNIX_EPOCH, &Calendar::UTC)
    }

    /// Guards that each limit shows its own count: another metric's, period's or level's is none of it.
    #[test]
    fn each_limit_of_an_answer_has_its_own_state() {
        let subject = Subject::parse("org:a/user:u_1").unwrap();
        let own = line(2, "messages", "day");
        let others =
            [line(2, "tokens", "day"), line(2, "messages", "week"), line(1, "messages", "day")];
        let sheet = Sheet { depth: 2, lines: vec![own.clone()], ..Sheet::default() };
        let state = |line: &Line, used: u64| LimitState {
            subject: subject.level(line.depth).into(),
            metric: line.limit.metric.clone(),
            period: line.limit.period,
            window: line.window,
            sliding: false,
            max: line.limit.max,
            mode: line.limit.mode,
            warning_percent: 80,
            critical_percent: 95,
            used: Units::new(used).unwrap(),
            reserved: Units::ZERO,
            carried: Units::ZERO,
            granted: Units::ZERO,
            violated: false,
            would_deny: false,
        };
        let mut states: Vec<LimitState> = others.iter().map(|line| state(line, 9)).collect();

        assert_eq!(of_limits(&subject, &sheet, &states), []);
        states.push(state(&own, 2));
        let found = of_limits(&subject, &sheet, &states);

        let found: Vec<_> = found.iter().map(|it| (it.used.get(), it.violated)).collect();
        assert_eq!(found, [(2, true)]);
    }
}
