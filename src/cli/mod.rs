//! The command line: one binary, a subcommand a task.

mod admin;
mod archive;
mod audit;
mod catalogue;
mod core;
mod dev;
mod grants;
mod keys;
mod output;
mod person;
mod recompute;
mod repair;
mod reservations;
mod reset;
mod serve;
mod subject;
mod usage;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use clap::Subcommand;

use crate::config::Config;
use crate::config::process_env;

use self::output::Failure;

/// Who the audit log says it was.
const ACTOR: &str = "cli";

/// A Redis-first quota service: exact limits in one round trip, every unit in Postgres once.
#[derive(Debug, Parser)]
#[command(name = "headroom", version, about)]
struct Arguments {
    /// A TOML file with settings; `HEADROOM_CONFIG` names one too
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the HTTP API and flush the outbox
    Serve,
    /// Serve with a private Redis and Postgres, a demo catalogue and two keys
    Dev(dev::DevArguments),
    /// Bring the schema of Postgres up to date
    Migrate,
    /// Print the settings in force, with secrets hidden
    CheckConfig,
    /// Make, list and revoke API keys
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Make a file the catalogue in force, and print what changes
    Apply(catalogue::ApplyArguments),
    /// Print the newest catalogue as TOML, for `apply`
    Export,
    /// Print, put and delete what is configured for a subject
    #[command(subcommand)]
    Subject(subject::SubjectCommand),
    /// Print the state of a subject's limits and features
    Usage {
        /// A path such as `user:u_1` or `org:acme/user:u_1`
        subject: String,
    },
    /// Set a counter of something that is counted elsewhere
    Set(usage::SetArguments),
    /// Clear counters in their current windows: a subject's, or with `/**` those of all below it too
    Reset(reset::ResetArguments),
    /// Give a subject bonus units, or raise a limit for a while
    Grant(grants::GrantArguments),
    /// Print a subject's grants, newest first
    Grants {
        /// A path such as `user:u_1` or `org:acme/user:u_1`
        subject: String,
    },
    /// Take a grant back; what was used of it stays used
    GrantRevoke(grants::RevokeArguments),
    /// Move units of one subject's grants to another
    Transfer(grants::TransferArguments),
    /// Print a subject's open reservations, newest first
    Reservations {
        /// A path such as `user:u_1` or `org:acme/user:u_1`
        subject: String,
    },
    /// Give back what a reservation holds
    Release {
        /// Its id, `rsv_…`
        reservation_id: String,
    },
    /// Give back what an event took
    Refund {
        /// The `event_id` of a consume or a commit
        event_id: uuid::Uuid,
    },
    /// Compute the limits that follow usage now, and print what changes, one JSON document a line
    Recompute(recompute::RecomputeArguments),
    /// Print what admins did, newest first
    Audit(audit::AuditArguments),
    /// Print all that there is about a subject and what lies below it, one JSON document a line
    ExportPerson {
        /// A path such as `user:u_1`
        subject: String,
    },
    /// Erase a subject and all below it; levels above and totals keep their sums
    ErasePerson(person::EraseArguments),
    /// Move months of the log into Parquet files
    Archive(archive::ArchiveArguments),
    /// Find counters in Redis that differ from Postgres and the outbox, and make them again
    Repair(repair::RepairArguments),
    /// Read both stores and prove the invariants I1 to I8; exit code 1 when one fails
    Verify,
    /// Print the OpenAPI document
    Openapi,
    /// Print docs/CONFIG.md, made from the default settings
    #[command(hide = true)]
    ConfigDocs,
}

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(code) => code,
        Err(failure) => {
            output::complain(&failure);
            ExitCode::from(2)
        }
    }
}

fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    match arguments.command {
        Command::Openapi => return output::print_line(&openapi()?),
        Command::ConfigDocs => return output::print_text(&crate::config::markdown()),
        _ => {}
    }
    let config = Config::load(arguments.config.as_deref(), process_env())?;
    if matches!(arguments.command, Command::CheckConfig) {
        crate::app::catalogue(&config)?;
        return output::print_text(&config.shown());
    }
    let serves = matches!(arguments.command, Command::Serve | Command::Dev(_));
    crate::telemetry::init(&config.log, serves.then_some(&config.telemetry))?;
    let runtime = serve::runtime(&config)?;
    runtime.block_on(async {
        match arguments.command {
            Command::Serve => serve::serve(&config).await,
            Command::Dev(dev) => dev::dev(config, &dev).await,
            Command::Migrate => admin::migrate(&config).await,
            Command::Keys(command) => keys::run(&config, command).await,
            Command::Apply(apply) => catalogue::apply(&config, &apply).await,
            Command::Export => catalogue::export(&config).await,
            Command::Subject(command) => subject::run(&config, &command).await,
            Command::Usage { subject } => usage::usage(&config, &subject).await,
            Command::Set(set) => usage::set(&config, &set).await,
            Command::Reset(reset) => reset::reset(&config, &reset).await,
            Command::Grant(grant) => grants::grant(&config, &grant).await,
            Command::Grants { subject } => grants::grants(&config, &subject).await,
            Command::GrantRevoke(revoke) => grants::revoke(&config, &revoke).await,
            Command::Transfer(transfer) => grants::transfer(&config, &transfer).await,
            Command::Reservations { subject } => {
                reservations::reservations(&config, &subject).await
            }
            Command::Release { reservation_id } => {
                reservations::release(&config, &reservation_id).await
            }
            Command::Refund { event_id } => reservations::refund(&config, event_id).await,
            Command::Recompute(recompute) => recompute::recompute(&config, &recompute).await,
            Command::Audit(audit) => audit::audit(&config, &audit).await,
            Command::ExportPerson { subject } => person::export(&config, &subject).await,
            Command::ErasePerson(erase) => person::erase(&config, &erase).await,
            Command::Archive(archive) => archive::archive(&config, &archive).await,
            Command::Repair(repair) => repair::repair(&config, &repair).await,
            Command::Verify => admin::verify(&config).await,
            Command::CheckConfig | Command::Openapi | Command::ConfigDocs => Ok(ExitCode::SUCCESS),
        }
    })
}

fn openapi() -> Result<String, Failure> {
    Ok(serde_json::to_string_pretty(&crate::http::openapi())?)
}
