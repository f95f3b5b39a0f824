//! `headroom subject get | put | delete`: what is configured for one subject.

use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use clap::Subcommand;
use serde_json::json;

use crate::app::Core;
use crate::config::Config;
use crate::domain::Profile;
use crate::quota::Expected;
use crate::quota::SubjectView;

use super::core::actor;
use super::core::on_core;
use super::core::parse_subject;
use super::examples;
use super::output::Failure;
use super::output::Table;
use super::output::print_line;
use super::output::print_tables;

/// What to do with a subject's profile.
#[derive(Debug, Subcommand)]
pub(super) enum SubjectCommand {
    /// Print a subject's profile and its version
    #[command(after_help = examples::SUBJECT_GET)]
    Get {
        /// A path such as `user:u_1` or `org:acme/user:u_1`
        subject: String,
    },
    /// Give a subject a profile, in JSON: plan, limits, features, `time_zone`, `anchor_day`, blocked
    #[command(after_help = examples::SUBJECT_PUT)]
    Put {
        /// A path such as `user:u_1` or `org:acme/user:u_1`
        subject: String,
        /// The file to read instead of the standard input
        #[arg(long)]
        file: Option<PathBuf>,
        #[command(flatten)]
        write: WriteArguments,
    },
    /// Take a subject's profile away; its counters stay
    #[command(after_help = examples::SUBJECT_DELETE)]
    Delete {
        /// A path such as `user:u_1` or `org:acme/user:u_1`
        subject: String,
        #[command(flatten)]
        write: WriteArguments,
    },
}

/// What a write is based on, and why.
#[derive(Debug, Args)]
pub(super) struct WriteArguments {
    /// Fail unless this version is in force; 0 when nothing is
    #[arg(long, value_name = "VERSION")]
    expect: Option<u64>,
    /// Why, for the audit log
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl WriteArguments {
    fn expected(&self) -> Expected {
        self.expect.map_or(Expected::Any, Expected::Version)
    }
}

pub(super) async fn run(config: &Config, command: &SubjectCommand) -> Result<ExitCode, Failure> {
    match command {
        SubjectCommand::Get { subject } => {
            let subject = parse_subject(subject)?;
            let get = async |core: &Core| print(&core.quota.subject(&subject).await?);
            on_core(config, get).await
        }
        SubjectCommand::Put { subject, file, write } => {
            let (subject, actor) = (parse_subject(subject)?, actor(write.reason.as_ref())?);
            let profile = read(file.as_ref())?;
            on_core(config, async |core| {
                let put = core.quota.put_subject(&subject, profile, write.expected(), &actor);
                print(&put.await?)
            })
            .await
        }
        SubjectCommand::Delete { subject, write } => {
            let (subject, actor) = (parse_subject(subject)?, actor(write.reason.as_ref())?);
            on_core(config, async |core| {
                core.quota.delete_subject(&subject, write.expected(), &actor).await?;
                print_line("deleted")
            })
            .await
        }
    }
}

fn read(file: Option<&PathBuf>) -> Result<Profile, Failure> {
    let mut text = String::new();
    let input: Box<dyn Read> = match file {
        Some(path) => Box::new(
            std::fs::File::open(path)
                .map_err(|error| format!("--file {} cannot be read: {error}", path.display()))?,
        ),
        None => Box::new(std::io::stdin()),
    };
    // One byte more than is allowed is enough to be refused.
    input.take(Profile::BYTES_MAX as u64 + 1).read_to_string(&mut text)?;
    Ok(Profile::parse(&text)?)
}

fn print(view: &SubjectView) -> Result<ExitCode, Failure> {
    let value = json!({
        "subject": view.subject.as_str(),
        "version": view.version,
        "created_at": view.created_at,
        "profile": view.profile,
    });
    let created_at = view.created_at.map_or_else(|| "never".to_owned(), |at| at.to_rfc3339());
    let row = |name: &str, cell: String| vec![name.to_owned(), cell];
    let rows = vec![
        row("version", view.version.to_string()),
        row("created at", created_at),
        row("profile", view.profile.to_json()),
    ];
    print_tables(&value, &[Table { header: &[view.subject.as_str(), ""], rows }])
}
