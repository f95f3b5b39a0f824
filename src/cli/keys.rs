//! `headroom keys create | list | revoke`.

use std::process::ExitCode;

use chrono::DateTime;
use chrono::Utc;
use clap::Subcommand;
use serde_json::json;

use crate::app::ledger_options;
use crate::clock::Clock;
use crate::config::Config;
use crate::domain::Permission;
use crate::domain::Permissions;
use crate::ledger::Ledger;
use crate::quota::KeyRequest;
use crate::quota::KeyRing;

use super::examples;
use super::output::Failure;
use super::output::print_line;
use super::output::print_table;

/// What to do with API keys.
#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// Make a key; its text is printed once and stored nowhere
    #[command(after_help = examples::KEYS_CREATE)]
    Create {
        /// What the key is for
        #[arg(long)]
        name: String,
        /// What it allows: check, consume, read, admin
        #[arg(long, value_delimiter = ',', required = true)]
        permissions: Vec<String>,
        /// Fence the key into this subject and what lies below it
        #[arg(long, value_name = "SUBJECT")]
        subject_prefix: Option<String>,
        /// When it stops working, RFC 3339
        #[arg(long, value_name = "TIME")]
        expires_at: Option<DateTime<Utc>>,
    },
    /// List all keys, without their texts
    #[command(after_help = examples::KEYS_LIST)]
    List,
    /// Revoke a key; every node refuses it within seconds
    #[command(after_help = examples::KEYS_REVOKE)]
    Revoke {
        /// The part between `hr_live_` and the next `_`
        id: String,
    },
}

pub(super) async fn run(config: &Config, command: KeysCommand) -> Result<ExitCode, Failure> {
    let ledger = Ledger::connect(&ledger_options(config))?;
    match command {
        KeysCommand::Create { name, permissions, subject_prefix, expires_at } => {
            let permissions = parse_permissions(&permissions)?;
            let request = KeyRequest { name, permissions, subject_prefix, expires_at };
            let key =
                KeyRing::create(&ledger, request, super::ACTOR, Clock::system().now()).await?;
            print_line(key.reveal())
        }
        KeysCommand::List => list(&ledger).await,
        KeysCommand::Revoke { id } => {
            if KeyRing::revoke(&ledger, &id, super::ACTOR).await? {
                return print_line("revoked");
            }
            Err("there is no key in force with that id".into())
        }
    }
}

fn parse_permissions(names: &[String]) -> Result<Permissions, Failure> {
    let parsed = names.iter().map(|name| {
        Permission::named(name).ok_or_else(|| {
            format!("--permissions: {name:?} is none of check, consume, read, admin").into()
        })
    });
    parsed.collect()
}

async fn list(ledger: &Ledger) -> Result<ExitCode, Failure> {
    let keys = KeyRing::list(ledger).await?;
    let value: Vec<_> = keys
        .iter()
        .map(|key| {
            json!({
                "id": key.id,
                "name": key.name,
                "permissions": key.permissions,
                "subject_prefix": key.subject_prefix,
                "created_at": key.created_at,
                "expires_at": key.expires_at,
                "revoked_at": key.revoked_at,
            })
        })
        .collect();
    let time = |at: Option<DateTime<Utc>>| at.map_or_else(String::new, |at| at.to_rfc3339());
    let rows: Vec<Vec<String>> = keys
        .iter()
        .map(|key| {
            let permissions = key.permissions.join(",");
            let prefix = key.subject_prefix.clone().unwrap_or_default();
            let (expires_at, revoked_at) = (time(key.expires_at), time(key.revoked_at));
            vec![key.id.clone(), key.name.clone(), permissions, prefix, expires_at, revoked_at]
        })
        .collect();
    print_table(
        &value,
        &["id", "name", "permissions", "subject prefix", "expires", "revoked"],
        &rows,
    )
}
