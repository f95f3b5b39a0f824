//! The tables `usage_baselines` and `usage_baseline_state`: what today is compared with.

use super::super::error::LedgerError;
use super::super::tx::Tx;

// What is flushed late, and refunds, still change the days before; by little.
const LOCK_OLD_BASELINES: &str = "-- lock_old_baselines
SELECT FROM usage_baseline_state
WHERE day <> (now() AT TIME ZONE 'UTC')::date OR computed_at < now() - interval '1 hour'
FOR UPDATE";

const COMPUTE_BASELINES: &str = "-- compute_baselines
WITH week AS MATERIALIZED (
    SELECT subject, metric, sum(units)::bigint AS units FROM usage_days
    WHERE day < (now() AT TIME ZONE 'UTC')::date AND day >= (now() AT TIME ZONE 'UTC')::date - 7
    GROUP BY subject, metric HAVING sum(units) > 0
),
gone AS (
    DELETE FROM usage_baselines AS known
    WHERE NOT EXISTS (
        SELECT FROM week WHERE week.subject = known.subject AND week.metric = known.metric
    )
)
INSERT INTO usage_baselines AS known (subject, metric, units)
SELECT subject, metric, units FROM week
ON CONFLICT (subject, metric) DO UPDATE SET units = excluded.units
WHERE known.units <> excluded.units";

const BASELINES_COMPUTED: &str = "-- baselines_computed
UPDATE usage_baseline_state SET day = (now() AT TIME ZONE 'UTC')::date, computed_at = now()";

/// Sums up the seven days before today, unless somebody did so on this day and in the last hour. Cost: a pass over those days, once an
/// hour.
pub(super) async fn bring_up_to_date(tx: &Tx) -> Result<(), LedgerError> {
    if tx.rows(LOCK_OLD_BASELINES, &[]).await?.is_empty() {
        return Ok(());
    }
    tx.execute(COMPUTE_BASELINES, &[]).await?;
    tx.execute(BASELINES_COMPUTED, &[]).await?;
    Ok(())
}
