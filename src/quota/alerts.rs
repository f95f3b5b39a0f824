//! Alerts: the rules, what they found, and what that says of a subject.

use std::collections::BTreeMap;

use crate::domain::AlertKind;
use crate::domain::AlertRule;
use crate::domain::risk_of;
use crate::ledger::AlertRow;
use crate::telemetry::names;

use super::Quota;
use super::error::QuotaError;

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
    /// [`QuotaError::TooManyRules`], and [`QuotaError::Unavailable`] when Postgres is away.
    pub async fn put_alert_rule(&self, rule: &AlertRule) -> Result<(), QuotaError> {
        let put = self.ledger.put_alert_rule(rule).await.map_err(QuotaError::of_ledger)?;
        put.then_some(()).ok_or(QuotaError::TooManyRules)
    }

    /// Takes a rule away; what it found stays.
    ///
    /// # Errors
    ///
    /// [`QuotaError::UnknownRule`], and [`QuotaError::Unavailable`] when Postgres is away.
    pub async fn delete_alert_rule(&self, name: &str) -> Result<(), QuotaError> {
        let deleted = self.ledger.delete_alert_rule(name).await.map_err(QuotaError::of_ledger)?;
        deleted.then_some(()).ok_or(QuotaError::UnknownRule)
    }

    /// Looks at all rules that are due; each is looked at by one node.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when Postgres is away.
    pub async fn evaluate_alerts(&self) -> Result<(), QuotaError> {
        for _ in 0..RULES_MAX {
            let fired = self.ledger.evaluate_rule().await.map_err(QuotaError::of_ledger)?;
            let Some(fired) = fired else { break };
            metrics::counter!(names::ALERTS_TOTAL).increment(fired);
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
