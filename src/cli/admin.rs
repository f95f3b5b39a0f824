//! `headroom migrate` and `headroom verify`.

use std::process::ExitCode;

use serde_json::json;

use crate::config::Config;
use crate::ledger::Ledger;

use super::core::on_core;
use super::output::Failure;
use super::output::print_table;
use super::progress::Progress;

pub(super) async fn migrate(config: &Config) -> Result<ExitCode, Failure> {
    let report =
        Ledger::migrate(config.postgres.migration_url().expose(), config.quota.shards).await?;
    let value = json!({ "applied": report.applied, "shards": report.settings.shards });
    let rows: Vec<Vec<String>> = report.applied.iter().map(|name| vec![name.clone()]).collect();
    print_table(&value, &["applied now"], &rows)
}

pub(super) async fn verify(config: &Config) -> Result<ExitCode, Failure> {
    let report = on_core(config, async |core| {
        let progress = Progress::bar("verify", core.quota.verify_steps());
        Ok(core.quota.verify_with(&|| progress.step()).await?)
    })
    .await?;
    let mut rows: Vec<Vec<String>> = Vec::new();
    for check in &report.checks {
        let verdict = if check.broken == 0 { "holds" } else { "BROKEN" };
        let cells = [check.name, verdict, &check.examined.to_string(), check.about];
        rows.push(cells.map(str::to_owned).to_vec());
        let failures = check.failures.iter().map(|failure| vec![String::new(), failure.clone()]);
        rows.extend(failures);
    }
    print_table(&report, &["", "verdict", "examined", "what must hold"], &rows)?;
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
