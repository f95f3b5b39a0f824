//! The command line: one binary, a subcommand a task.

mod admin;
mod archive;
mod audit;
mod catalogue;
mod core;
mod dev;
mod examples;
mod grants;
mod keys;
mod output;
mod person;
mod progress;
mod recompute;
mod repair;
mod reservations;
mod reset;
mod serve;
mod subject;
mod top;
mod usage;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::CommandFactory;
use clap::Parser;
use clap::Subcommand;

use crate::config::Config;
use crate::config::process_env;

use self::output::Failure;

/// Who the audit log says it was.
const ACTOR: &str = "cli";

/// A Redis-first quota service: exact limits in one round trip, every unit in Postgres once.
#[derive(Debug, Parser)]
#[command(name = "headroom", version, about, after_help = examples::ALL)]
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
    #[command(after_help = examples::SERVE)]
    Serve,
    /// Serve with a private Redis and Postgres, a demo catalogue and two keys
    #[command(after_help = examples::DEV)]
    Dev(dev::DevArguments),
    /// Bring the schema of Postgres up to date
    #[command(after_help = examples::MIGRATE)]
    Migrate,
    /// Print the settings in force, with secrets hidden
    #[command(after_help = examples::CHECK_CONFIG)]
    CheckConfig,
    /// Make, list and revoke API keys
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Make a file the catalogue in force, and print what changes
    #[command(after_help = examples::APPLY)]
    Apply(catalogue::ApplyArguments),
    /// Print the newest catalogue as TOML, for `apply`
    #[command(after_help = examples::EXPORT)]
    Export,
    /// Print, put and delete what is configured for a subject
    #[command(subcommand)]
    Subject(subject::SubjectCommand),
    /// Print the state of a subject's limits and features
    #[command(after_help = examples::USAGE)]
    Usage {
        /// A path such as `user:u_1` or `org:acme/user:u_1`
        subject: String,
    },
    /// Set a counter of something that is counted elsewhere
    #[command(after_help = examples::SET)]
    Set(usage::SetArguments),
    /// Clear counters in their current windows: a subject's, or with `/**` those of all below it too
    #[command(after_help = examples::RESET)]
    Reset(reset::ResetArguments),
    /// Give a subject bonus units, or raise a limit for a while
    #[command(after_help = examples::GRANT)]
    Grant(grants::GrantArguments),
    /// Print a subject's grants, newest first
    #[command(after_help = examples::GRANTS)]
    Grants {
        /// A path such as `user:u_1` or `org:acme/user:u_1`
        subject: String,
    },
    /// Take a grant back; what was used of it stays used
    #[command(after_help = examples::GRANT_REVOKE)]
    GrantRevoke(grants::RevokeArguments),
    /// Move units of one subject's grants to another
    #[command(after_help = examples::TRANSFER)]
    Transfer(grants::TransferArguments),
    /// Print a subject's open reservations, newest first
    #[command(after_help = examples::RESERVATIONS)]
    Reservations {
        /// A path such as `user:u_1` or `org:acme/user:u_1`
        subject: String,
    },
    /// Give back what a reservation holds
    #[command(after_help = examples::RELEASE)]
    Release {
        /// Its id, `rsv_…`
        reservation_id: String,
    },
    /// Give back what an event took
    #[command(after_help = examples::REFUND)]
    Refund {
        /// The `event_id` of a consume or a commit
        event_id: uuid::Uuid,
    },
    /// Compute the limits that follow usage now, and print what changes, one JSON document a line
    #[command(after_help = examples::RECOMPUTE)]
    Recompute(recompute::RecomputeArguments),
    /// Print what admins did, newest first
    #[command(after_help = examples::AUDIT)]
    Audit(audit::AuditArguments),
    /// Print all that there is about a subject and what lies below it, one JSON document a line
    #[command(after_help = examples::EXPORT_PERSON)]
    ExportPerson {
        /// A path such as `user:u_1`
        subject: String,
    },
    /// Erase a subject and all below it; levels above and totals keep their sums
    #[command(after_help = examples::ERASE_PERSON)]
    ErasePerson(person::EraseArguments),
    /// Move months of the log into Parquet files
    #[command(after_help = examples::ARCHIVE)]
    Archive(archive::ArchiveArguments),
    /// Find counters in Redis that differ from Postgres and the outbox, and make them again
    #[command(after_help = examples::REPAIR)]
    Repair(repair::RepairArguments),
    /// Read both stores and prove the invariants I1 to I8; exit code 1 when one fails
    #[command(after_help = examples::VERIFY)]
    Verify,
    /// Watch the shards, who is near a limit, and what happens, until Ctrl-C
    #[command(after_help = examples::TOP)]
    Top(top::TopArguments),
    /// Print the OpenAPI document
    #[command(after_help = examples::OPENAPI)]
    Openapi,
    /// Print a script that completes commands and arguments in a shell
    #[command(after_help = examples::COMPLETIONS)]
    Completions {
        /// bash, elvish, fish, powershell or zsh
        shell: clap_complete::Shell,
    },
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
        Command::Completions { shell } => return output::print_text(&completions(shell)?),
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
            Command::Top(top) => top::top(&config, &top).await,
            Command::CheckConfig
            | Command::Openapi
            | Command::ConfigDocs
            | Command::Completions { .. } => Ok(ExitCode::SUCCESS),
        }
    })
}

fn openapi() -> Result<String, Failure> {
    Ok(serde_json::to_string_pretty(&crate::http::openapi())?)
}

fn completions(shell: clap_complete::Shell) -> Result<String, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "headroom", &mut script);
    Ok(String::from_utf8(script)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The commands that have no commands below them, but hidden ones.
    fn leaves(command: &clap::Command, path: &str, found: &mut Vec<(String, String)>) {
        for below in command.get_subcommands().filter(|it| !it.is_hide_set()) {
            let path = format!("{path} {}", below.get_name());
            if below.has_subcommands() {
                leaves(below, &path, found);
            } else {
                let help = below.get_after_help().map(ToString::to_string);
                found.push((path, help.unwrap_or_default()));
            }
        }
    }

    /// The words of an example, up to where the shell takes over.
    fn words(example: &str) -> Vec<String> {
        let (example, _) = example.split_once(" | ").unwrap_or((example, ""));
        let (example, _) = example.split_once(" > ").unwrap_or((example, ""));
        let (example, _) = example.split_once(" < ").unwrap_or((example, ""));
        let mut words = vec![String::new()];
        let mut is_quoted = false;
        for letter in example.chars() {
            match letter {
                '\'' => is_quoted = !is_quoted,
                ' ' if !is_quoted => words.push(String::new()),
                _ => words.last_mut().unwrap().push(letter),
            }
        }
        words
    }

    #[test]
    fn every_command_has_examples_and_every_example_is_a_command() {
        let mut found = Vec::new();
        leaves(&Arguments::command(), "headroom", &mut found);
        assert!(found.len() > 30, "{found:?}");
        for (path, help) in &found {
            let examples: Vec<&str> = help.lines().skip(1).map(str::trim_start).collect();
            assert!(!examples.is_empty(), "{path} has no example");
            for example in examples {
                let called: Vec<String> =
                    words(example).into_iter().skip_while(|word| word != "headroom").collect();
                let of_path = path.split(' ').next_back().unwrap();
                assert!(called.iter().any(|word| word == of_path), "{example} is not of {path}");
                Arguments::try_parse_from(called).unwrap_or_else(|error| panic!("{error}"));
            }
        }
    }

    #[test]
    fn completions_know_every_command() {
        let script = completions(clap_complete::Shell::Bash).unwrap();
        for command in Arguments::command().get_subcommands().filter(|it| !it.is_hide_set()) {
            assert!(script.contains(command.get_name()), "{}", command.get_name());
        }
    }
}
