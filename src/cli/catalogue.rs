//! `headroom apply` and `headroom export`: the catalogue as a file.

use std::io::Read;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use crate::config::Config;
use crate::domain::Catalogue;
use crate::quota::CatalogueChange;
use crate::quota::Expected;
use crate::quota::QuotaError;

use super::core::actor;
use super::core::on_core;
use super::output::Failure;
use super::output::print_lines;
use super::output::print_text;

/// The longest file, as long as a catalogue may be in Postgres.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What `headroom apply` makes the catalogue in force.
#[derive(Debug, Args)]
pub(super) struct ApplyArguments {
    /// A catalogue in TOML, such as `headroom export` prints
    file: PathBuf,
    /// Print what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Why, for the audit log
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Fail unless this version is in force
    #[arg(long, value_name = "VERSION")]
    expect: Option<u64>,
}

/// Prints what changes, and changes it unless somebody else did meanwhile.
pub(super) async fn apply(
    config: &Config,
    arguments: &ApplyArguments,
) -> Result<ExitCode, Failure> {
    let actor = actor(arguments.reason.as_ref())?;
    let catalogue = read(&arguments.file)?;
    on_core(config, async |core| {
        let current = core.quota.newest_catalogue().await?;
        if arguments.expect.is_some_and(|version| version != current.version) {
            return Err(QuotaError::Stale { found: current.version }.into());
        }
        let changes = current.catalogue.diff(&catalogue);
        let mut version = current.version;
        let is_applied = !changes.is_empty() && !arguments.dry_run;
        if is_applied {
            let (change, expected) =
                (CatalogueChange::All(catalogue), Expected::Version(current.version));
            version = core.quota.change_catalogue(change, expected, &actor).await?.version;
        }
        let mut lines: Vec<String> = changes.iter().map(ToString::to_string).collect();
        let value = json!({ "version": version, "applied": is_applied, "changes": lines });
        lines.push(match (changes.is_empty(), arguments.dry_run) {
            (true, _) => format!("nothing changes; version {version} is in force"),
            (false, true) => format!("nothing was changed; version {version} is in force"),
            (false, false) => format!("version {version} is in force"),
        });
        print_lines(&value, &lines)
    })
    .await
}

/// Prints the newest catalogue.
pub(super) async fn export(config: &Config) -> Result<ExitCode, Failure> {
    on_core(config, async |core| {
        let newest = core.quota.newest_catalogue().await?;
        let (version, toml) = (newest.version, newest.catalogue.to_toml());
        print_text(&format!("# The catalogue, version {version}.\n\n{toml}"))
    })
    .await
}

fn read(path: &Path) -> Result<Catalogue, Failure> {
    let shown = path.display();
    let cannot = |error: std::io::Error| format!("{shown} cannot be read: {error}");
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(cannot)?;
    let length = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(cannot)?;
    if length as u64 > FILE_BYTES_MAX {
        return Err(format!("{shown} must be at most {FILE_BYTES_MAX} bytes").into());
    }
    Catalogue::parse(&text).map_err(|error| format!("{shown}: {error}").into())
}
