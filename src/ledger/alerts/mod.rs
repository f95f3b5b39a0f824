//! The tables `alert_rules`, `alert_states` and `alerts`: rules about what happens, and what they found.

mod baselines;
mod evaluate;

pub use evaluate::Evaluated;

use chrono::DateTime;
use chrono::Utc;
use serde_json::json;
use tokio_postgres::Row;
use tokio_postgres::types::Json;
use uuid::Uuid;

use crate::domain::AlertKind;
use crate::domain::AlertRule;
use crate::domain::RuleAction;

use super::Ledger;
use super::audit_log;
use super::audit_log::Act;
use super::convert::signed;
use super::convert::unsigned;
use super::error::LedgerError;
use super::tx::Params;
use super::tx::Tx;
use super::tx::column;

/// Rules that an installation has at most.
const RULES_MAX: i64 = 100;

const RULES: &str = "-- alert_rules
SELECT name, kind, threshold, window_s, cooldown_s, subject, enabled, action, channels
FROM alert_rules ORDER BY name LIMIT $1";

const RULE: &str = "-- alert_rule
SELECT name, kind, threshold, window_s, cooldown_s, subject, enabled, action, channels
FROM alert_rules WHERE name = $1 FOR UPDATE";

const PUT_RULE: &str = "-- put_alert_rule
INSERT INTO alert_rules (
    name, kind, threshold, window_s, cooldown_s, subject, enabled, action, channels
)
SELECT $1, $2, $3, $4, $5, $6, $7, $9, $10
WHERE (SELECT count(*) FROM alert_rules WHERE name <> $1) < $8
ON CONFLICT (name) DO UPDATE SET
    kind = excluded.kind, threshold = excluded.threshold, window_s = excluded.window_s,
    cooldown_s = excluded.cooldown_s, subject = excluded.subject, enabled = excluded.enabled,
    action = excluded.action, channels = excluded.channels, next_at = now()";

const DELETE_RULE: &str = "-- delete_alert_rule
DELETE FROM alert_rules WHERE name = $1";

const ALERTS: &str = "-- alerts
SELECT alert_id, rule, kind, subject, value, threshold, fired_at
FROM alerts ORDER BY fired_at DESC, alert_id DESC LIMIT $1";

const RISKS: &str = "-- risks
SELECT subject, kind, count(*) AS alerts FROM alerts
WHERE fired_at > now() - interval '1 day'
GROUP BY subject, kind ORDER BY subject LIMIT 10000";

/// What a rule found.
#[derive(Clone, Debug)]
pub struct AlertRow {
    /// Its id.
    pub id: Uuid,
    /// The rule.
    pub rule: String,
    /// What the rule looks for.
    pub kind: String,
    /// About whom.
    pub subject: String,
    /// What was found.
    pub value: u64,
    /// From which value the rule fired.
    pub threshold: u64,
    /// When.
    pub fired_at: DateTime<Utc>,
}

impl Ledger {
    /// All rules, by name.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn alert_rules(&self) -> Result<Vec<AlertRule>, LedgerError> {
        let rows = self.connection().await?.rows(RULES, &[&RULES_MAX]).await?;
        rows.iter().map(read_rule).collect()
    }

    /// Keeps a rule, in place of the one of its name, and records the act. Answers `false` when there are too many.
    ///
    /// # Errors
    ///
    /// [`LedgerError::BadData`] when a column does not take it.
    pub async fn put_alert_rule(
        &self,
        rule: &AlertRule,
        act: &Act<'_>,
    ) -> Result<bool, LedgerError> {
        let tx = self.begin().await?;
        let outcome = put(&tx, rule, act).await;
        tx.end(outcome).await
    }

    /// Takes a rule away, and records the act. Answers `false` when there is none.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn delete_alert_rule(&self, name: &str, act: &Act<'_>) -> Result<bool, LedgerError> {
        let tx = self.begin().await?;
        let outcome = delete(&tx, name, act).await;
        tx.end(outcome).await
    }

    /// The latest alerts, the newest first; at most `limit`.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn alerts(&self, limit: u32) -> Result<Vec<AlertRow>, LedgerError> {
        let rows = self.connection().await?.rows(ALERTS, &[&i64::from(limit)]).await?;
        rows.iter().map(read_alert).collect()
    }

    /// How many alerts of each kind subjects had in the last day, by subject.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn alert_counts(&self) -> Result<Vec<(String, AlertKind, u64)>, LedgerError> {
        let rows = self.connection().await?.rows(RISKS, &[]).await?;
        let count = |row: &Row| {
            let alerts = unsigned(column(row, "alerts")?)?;
            Ok((column(row, "subject")?, read_kind(row)?, alerts))
        };
        rows.iter().map(count).collect()
    }
}

async fn put(tx: &Tx, rule: &AlertRule, act: &Act<'_>) -> Result<bool, LedgerError> {
    let before = text_of(tx, &rule.name).await?;
    let (threshold, window_s) = (signed(rule.threshold)?, signed(rule.window_s)?);
    let params: Params<'_> = &[
        &rule.name,
        &rule.kind.as_str(),
        &threshold,
        &window_s,
        &signed(rule.cooldown_s)?,
        &rule.subject,
        &rule.enabled,
        &RULES_MAX,
        &rule.action.as_ref().map(Json),
        &rule.channels,
    ];
    if tx.execute(PUT_RULE, params).await? == 0 {
        return Ok(false);
    }
    let after = json!(rule).to_string();
    audit_log::insert(tx, act, before.as_deref(), Some(&after)).await?;
    Ok(true)
}

async fn delete(tx: &Tx, name: &str, act: &Act<'_>) -> Result<bool, LedgerError> {
    let Some(before) = text_of(tx, name).await? else { return Ok(false) };
    tx.execute(DELETE_RULE, &[&name]).await?;
    audit_log::insert(tx, act, Some(&before), None).await?;
    Ok(true)
}

/// The rule of that name as the audit log has it.
async fn text_of(tx: &Tx, name: &str) -> Result<Option<String>, LedgerError> {
    let rows = tx.rows(RULE, &[&name]).await?;
    let rule = rows.first().map(read_rule).transpose()?;
    Ok(rule.map(|rule| json!(rule).to_string()))
}

fn read_kind(row: &Row) -> Result<AlertKind, LedgerError> {
    let unknown = || LedgerError::Internal("a rule of a kind that this version cannot name".into());
    AlertKind::named(&column::<String>(row, "kind")?).ok_or_else(unknown)
}

fn read_rule(row: &Row) -> Result<AlertRule, LedgerError> {
    Ok(AlertRule {
        name: column(row, "name")?,
        kind: read_kind(row)?,
        threshold: unsigned(column(row, "threshold")?)?,
        window_s: unsigned(column(row, "window_s")?)?,
        cooldown_s: unsigned(column(row, "cooldown_s")?)?,
        subject: column(row, "subject")?,
        enabled: column(row, "enabled")?,
        action: column::<Option<Json<RuleAction>>>(row, "action")?.map(|action| action.0),
        channels: column(row, "channels")?,
    })
}

fn read_alert(row: &Row) -> Result<AlertRow, LedgerError> {
    Ok(AlertRow {
        id: column(row, "alert_id")?,
        rule: column(row, "rule")?,
        kind: column(row, "kind")?,
        subject: column(row, "subject")?,
        value: unsigned(column(row, "value")?)?,
        threshold: unsigned(column(row, "threshold")?)?,
        fired_at: column(row, "fired_at")?,
    })
}
