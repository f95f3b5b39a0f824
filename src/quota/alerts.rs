//! Alerts: the rules, what they found, and what that says of a subject.

use std::collections::BTreeMap;

use crate::domain::AlertKind;
use crate::domain::AlertRule;
use crate::domain::RuleAction;
use crate::domain::Subject;
use crate::domain::risk_of;
use crate::ledger::Action;
use crate::ledger::AlertRow;
use crate::ledger::Evaluated;
use crate::ledger::RestraintChange;
use crate::telemetry::names;

use super::Quota;
use super::actor::Actor;
use super::error::QuotaError;
use super::profiles::level_profile;

/// Alerts and risks of one answer.
const ALERTS_MAX: u32 = 100;
/// Rules that are looked at in one call.
const RULES_MAX: usize = 100;

/// Rules, what they found, and who is at risk.
#[derive(Clone, Debug)]
pub struct AlertsView {
    /// By name.
    pub rules: Vec<AlertRule>,
    /// The latest 100, the newest first.
    pub alerts: Vec<AlertRow>,
    /// The 100 subjects at the highest risk, from 1 to 100, by the alerts of the last day.
    pub risks: Vec<(String, u64)>,
}

impl Quota {
    /// The rules, what they found, and who is at risk.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when Postgres is away.
    pub async fn alerts(&self) -> Result<AlertsView, QuotaError> {
        let rules = self.ledger.alert_rules().await.map_err(QuotaError::of_ledger)?;
        let alerts = self.ledger.alerts(ALERTS_MAX).await.map_err(QuotaError::of_ledger)?;
        let counts = self.ledger.alert_counts().await.map_err(QuotaError::of_ledger)?;
        Ok(AlertsView { rules, alerts, risks: risks(counts) })
    }

    /// Puts a rule in place of the one of its name; it is looked at within five seconds.
    ///
    /// # Errors
    ///
    /// [`QuotaError::UnknownMetric`] and [`QuotaError::UnknownWebhook`] when the rule names one, [`QuotaError::TooManyRules`], and
    /// [`QuotaError::Unavailable`] when Postgres is away.
    pub async fn put_alert_rule(&self, rule: &AlertRule, actor: &Actor) -> Result<(), QuotaError> {
        if let Some(RuleAction::Slow { metric, .. }) = &rule.action
            && !self.has_metric(metric)
        {
            return Err(QuotaError::UnknownMetric);
        }
        for id in rule.channels.iter().flatten() {
            self.webhook(*id).await?;
        }
        let act = actor.act(Action::RulePut, &rule.name);
        let put = self.ledger.put_alert_rule(rule, &act).await.map_err(QuotaError::of_ledger)?;
        put.then_some(()).ok_or(QuotaError::TooManyRules)
    }

    /// Takes a rule away; what it found stays, and so does what it put on subjects, until its time has passed.
    ///
    /// # Errors
    ///
    /// [`QuotaError::UnknownRule`], and [`QuotaError::Unavailable`] when Postgres is away.
    pub async fn delete_alert_rule(&self, name: &str, actor: &Actor) -> Result<(), QuotaError> {
        let act = actor.act(Action::RuleDelete, name);
        let deleted = self.ledger.delete_alert_rule(name, &act).await;
        deleted.map_err(QuotaError::of_ledger)?.then_some(()).ok_or(QuotaError::UnknownRule)
    }

    /// Looks at all rules that are due; each is looked at by one node. What they put on subjects is in force when this
    /// returns, and what has ended is not.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when a store is away, or why the look at a rule failed; the others were looked at. When it is
    /// Redis that is away, what is in Postgres comes into force when it is back.
    pub async fn evaluate_alerts(&self) -> Result<(), QuotaError> {
        let ended = self.ledger.end_due_restraints().await.map_err(QuotaError::of_ledger)?;
        self.bring_changes_into_force(ended).await?;
        let mut failed = None;
        for _ in 0..RULES_MAX {
            let evaluated = self.ledger.evaluate_rule().await.map_err(QuotaError::of_ledger)?;
            match evaluated {
                None => break,
                Some(Ok(Evaluated { fired, restrained })) => {
                    metrics::counter!(names::ALERTS_TOTAL).increment(fired);
                    self.bring_changes_into_force(restrained).await?;
                }
                Some(Err(error)) => failed = failed.or(Some(QuotaError::of_ledger(error))),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Ends what rules have put on a subject, whenever it was to end.
    ///
    /// # Errors
    ///
    /// As [`Quota::evaluate_alerts`].
    pub async fn lift_restraints(
        &self,
        subject: &Subject,
        actor: &Actor,
    ) -> Result<(), QuotaError> {
        let act = actor.act(Action::RestraintEnd, subject.as_str());
        let lifted = self.ledger.lift_restraints(subject.as_str(), &act).await;
        self.bring_changes_into_force(lifted.map_err(QuotaError::of_ledger)?).await
    }

    async fn bring_changes_into_force(
        &self,
        changes: impl IntoIterator<Item = RestraintChange>,
    ) -> Result<(), QuotaError> {
        for RestraintChange { subject, version, for_nodes } in changes {
            self.bring_into_force(level_profile(&subject, version, for_nodes)).await?;
        }
        Ok(())
    }
}

fn risks(counts: Vec<(String, AlertKind, u64)>) -> Vec<(String, u64)> {
    let mut by_subject: BTreeMap<String, Vec<(AlertKind, u64)>> = BTreeMap::new();
    for (subject, kind, count) in counts {
        by_subject.entry(subject).or_default().push((kind, count));
    }
    let scored = by_subject.into_iter().map(|(subject, counts)| (subject, risk_of(counts)));
    let mut risks: Vec<_> = scored.filter(|(_, risk)| *risk > 0).collect();
    risks.sort_by_key(|(_, risk)| std::cmp::Reverse(*risk));
    risks.truncate(ALERTS_MAX as usize);
    risks
}

#[cfg(test)]
mod tests {
    use super::risks;
    use crate::domain::AlertKind;

    #[test]
    fn subjects_at_risk_come_with_the_most_first_and_without_those_that_are_not() {
        let count = |subject: &str, kind, count| (subject.to_owned(), kind, count);
        let counts = vec![
            count("user:calm", AlertKind::NearLimit, 7),
            count("user:fast", AlertKind::Spike, 1),
            count("user:odd", AlertKind::Bypass, 1),
            count("user:fast", AlertKind::DenialRate, 2),
        ];

        let found = risks(counts);

        assert_eq!(found, [("user:fast".to_owned(), 50), ("user:odd".to_owned(), 40)]);
    }
}
