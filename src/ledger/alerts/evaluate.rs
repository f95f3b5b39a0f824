//! Looking at the rules that are due, one at a time over all nodes.

use serde_json::json;
use uuid::Uuid;

use crate::domain::AlertKind;
use crate::domain::AlertRule;
use crate::domain::Signal;

use super::super::Ledger;
use super::super::convert::signed;
use super::super::error::LedgerError;
use super::super::feed;
use super::super::restraints;
use super::super::restraints::RestraintChange;
use super::super::subjects;
use super::super::tx::Tx;
use super::super::tx::column;
use super::baselines;
use super::read_rule;

/// Subjects that a rule fires for at once; those with the highest values first.
const FOUND_MAX: i64 = 1_000;
/// The same for a rule that slows or blocks them; it goes on with the others the next time.
const RESTRAINED_MAX: i64 = 100;

const TAKE_RULE: &str = "-- take_alert_rule
SELECT name, kind, threshold, window_s, cooldown_s, subject, enabled, action, channels
FROM alert_rules WHERE enabled AND next_at <= now()
ORDER BY next_at LIMIT 1 FOR UPDATE SKIP LOCKED";

// For a rule whose look failed: it must not keep the others.
const POSTPONE_RULE: &str = "-- postpone_alert_rule
UPDATE alert_rules SET next_at = now() + interval '1 minute' WHERE name = $1";

// However much there is to look at, a rule takes a twentieth of the time.
const RULE_LOOKED_AT: &str = "-- alert_rule_looked_at
UPDATE alert_rules
SET next_at = now() + greatest(interval '5 seconds', 20 * (clock_timestamp() - now()))
WHERE name = $1";

// Each answers subject and value, for a window of $1 seconds and values from $2 on.

// The most in one minute, of those that the window touches.
const DENIAL_RATE: &str = "SELECT subject, max(denials) AS value
    FROM denial_minutes
    WHERE minute > now() - make_interval(secs => $1::bigint) - interval '1 minute'
    GROUP BY subject HAVING max(denials) >= $2::bigint";

const CONCURRENT: &str = "SELECT subject, max(at_once) AS value
    FROM (
        SELECT subject, count(*) AS at_once FROM message_logs
        WHERE occurred_at > now() - make_interval(secs => $1::bigint)
            AND kind IN ('consume', 'reserve')
        GROUP BY subject, occurred_at HAVING count(*) >= $2::bigint
    ) AS moment GROUP BY subject";

const BYPASS: &str = "SELECT subject, count(*) AS value
    FROM message_logs
    WHERE occurred_at > now() - make_interval(secs => $1::bigint)
        AND (kind = 'set' OR kind = 'commit' AND late)
    GROUP BY subject HAVING count(*) >= $2::bigint";

// The window is a day and the week before it, whatever the rule says. The week is summed up beforehand.
const SPIKE: &str = "SELECT today.subject, max(today.units * 7 / before.units) AS value
    FROM (
        SELECT subject, metric, sum(units)::bigint AS units FROM usage_days
        WHERE day = (now() AT TIME ZONE 'UTC')::date GROUP BY subject, metric
    ) AS today
    JOIN usage_baselines AS before USING (subject, metric)
    WHERE $1::bigint > 0 AND today.units * 7 / before.units >= $2::bigint
    GROUP BY today.subject";

const NEAR_LIMIT: &str = "SELECT subject, count(*) AS value
    FROM crossings
    WHERE crossed_at > now() - make_interval(secs => $1::bigint)
        AND level IN ('critical', 'limit')
    GROUP BY subject HAVING count(*) >= $2::bigint";

/// Finds, leaves out whom the rule is silent about, and writes down the rest, in one statement.
fn fire_sql(kind: AlertKind) -> String {
    let found = match kind {
        AlertKind::DenialRate => DENIAL_RATE,
        AlertKind::Concurrent => CONCURRENT,
        AlertKind::Bypass => BYPASS,
        AlertKind::Spike => SPIKE,
        AlertKind::NearLimit => NEAR_LIMIT,
    };
    format!(
        "-- fire_{}
WITH found AS (
    SELECT found.subject, found.value FROM ({found}) AS found
    WHERE ($3::text IS NULL OR found.subject = $3 OR starts_with(found.subject, $3 || '/'))
        AND NOT EXISTS (
            SELECT FROM alert_states AS state
            WHERE state.rule = $4 AND state.subject = found.subject
                AND state.fired_at > now() - make_interval(secs => $5::bigint)
        )
    ORDER BY found.value DESC, found.subject LIMIT $6::bigint
), fired AS (
    INSERT INTO alert_states (rule, subject, fired_at)
    SELECT $4, subject, now() FROM found
    ON CONFLICT (rule, subject) DO UPDATE SET fired_at = now()
    WHERE alert_states.fired_at <= now() - make_interval(secs => $5::bigint)
    RETURNING subject
)
SELECT found.subject, found.value FROM found JOIN fired ON fired.subject = found.subject
ORDER BY found.value DESC, found.subject",
        kind.as_str()
    )
}

const INSERT_ALERTS: &str = "-- insert_alerts
INSERT INTO alerts (alert_id, rule, kind, subject, value, threshold)
SELECT alert.id, $3, $4, alert.subject, alert.value, $5
FROM unnest($1::uuid[], $2::text[], $6::bigint[]) AS alert (id, subject, value)";

/// What a look at a rule came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evaluated {
    /// Subjects that it fired for.
    pub fired: u64,
    /// Those of them that were slowed or blocked.
    pub restrained: Vec<RestraintChange>,
}

impl Ledger {
    /// Looks at the next rule that is due, if any, writes down and tells of what it finds, and does what the rule says. `None`
    /// when no rule is due. A look that fails changes nothing, and its rule is due again in a minute.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like, when no rule can be taken; inside, why the look at one failed.
    pub async fn evaluate_rule(
        &self,
    ) -> Result<Option<Result<Evaluated, LedgerError>>, LedgerError> {
        let tx = self.begin().await?;
        let rules = tx.rows(TAKE_RULE, &[]).await?;
        let Some(rule) = rules.first().map(read_rule).transpose()? else {
            tx.roll_back().await;
            return Ok(None);
        };
        let outcome = evaluate(&tx, &rule).await;
        let ended = tx.end(outcome).await;
        if ended.is_err() {
            self.connection().await?.execute(POSTPONE_RULE, &[&rule.name]).await?;
        }
        Ok(Some(ended))
    }
}

async fn evaluate(tx: &Tx, rule: &AlertRule) -> Result<Evaluated, LedgerError> {
    let (window_s, threshold) = (signed(rule.window_s)?, signed(rule.threshold)?);
    let cooldown_s = signed(rule.cooldown_s)?;
    let most = if rule.action.is_some() { RESTRAINED_MAX } else { FOUND_MAX };
    if rule.kind == AlertKind::Spike {
        baselines::bring_up_to_date(tx).await?;
    }
    let sql = fire_sql(rule.kind);
    let rows = tx
        .rows(&sql, &[&window_s, &threshold, &rule.subject, &rule.name, &cooldown_s, &most])
        .await?;
    let found: Vec<(String, i64)> = rows
        .iter()
        .map(|row| Ok((column(row, "subject")?, column(row, "value")?)))
        .collect::<Result<_, LedgerError>>()?;
    if !found.is_empty() {
        write(tx, rule, threshold, &found).await?;
    }
    let restrained = restrain(tx, rule, &found).await?;
    tx.execute(RULE_LOOKED_AT, &[&rule.name]).await?;
    Ok(Evaluated { fired: found.len() as u64, restrained })
}

/// Does to the subjects that were found what the rule says.
async fn restrain(
    tx: &Tx,
    rule: &AlertRule,
    found: &[(String, i64)],
) -> Result<Vec<RestraintChange>, LedgerError> {
    let Some(action) = rule.action.as_ref().filter(|_| !found.is_empty()) else {
        return Ok(Vec::new());
    };
    subjects::lock_versions(tx).await?;
    let mut changes = Vec::new();
    for (subject, value) in found {
        let reason = format!("{} {value}, from {}", rule.kind.as_str(), rule.threshold);
        changes.extend(restraints::put(tx, subject, &rule.name, action, &reason).await?);
    }
    Ok(changes)
}

async fn write(
    tx: &Tx,
    rule: &AlertRule,
    threshold: i64,
    found: &[(String, i64)],
) -> Result<(), LedgerError> {
    let ids: Vec<Uuid> = found.iter().map(|_| Uuid::now_v7()).collect();
    let subjects: Vec<&str> = found.iter().map(|(subject, _)| subject.as_str()).collect();
    let values: Vec<i64> = found.iter().map(|(_, value)| *value).collect();
    let kind = rule.kind.as_str();
    tx.execute(INSERT_ALERTS, &[&ids, &subjects, &rule.name, &kind, &threshold, &values]).await?;
    let signals: Vec<Signal> = ids
        .iter()
        .zip(found)
        .map(|(id, (subject, value))| {
            let data = json!({
                "rule": rule.name,
                "kind": kind,
                "value": value,
                "threshold": threshold,
                "window_s": rule.window_s,
                "channels": rule.channels,
            });
            Signal::new(*id, rule.kind.signal(), Some(subject.clone()), data)
        })
        .collect();
    feed::add(tx, &[], &signals).await
}
