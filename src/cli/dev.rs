//! `headroom dev`: the service with a private Redis and Postgres, a demo catalogue and two keys. Nothing to set up.

use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Deserialize;
use serde::Serialize;
use serde_json::json;

use crate::app::App;
use crate::app::Hooks;
use crate::app::ledger_options;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::SecretUrl;
use crate::domain::ApiKey;
use crate::domain::Permission;
use crate::embedded::PostgresOptions;
use crate::embedded::PostgresServer;
use crate::embedded::RedisOptions;
use crate::embedded::RedisServer;
use crate::ledger::Ledger;
use crate::quota::KeyRequest;
use crate::quota::KeyRing;

use super::output::Failure;
use super::output::print_line;
use super::serve;

/// Where `headroom dev` keeps its data and listens.
#[derive(Debug, Args)]
pub(super) struct DevArguments {
    /// The folder that holds Redis' and Postgres' data
    #[arg(long, default_value = "./.headroom", value_name = "DIR")]
    data_dir: PathBuf,
    /// The address to answer on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    listen: SocketAddr,
}

/// The secrets of a data folder, made at its first start.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Secrets {
    redis_password: String,
    postgres_password: String,
    #[serde(default)]
    admin_key: Option<String>,
    #[serde(default)]
    backend_key: Option<String>,
}

/// The private stores.
struct Stores {
    redis: RedisServer,
    postgres: PostgresServer,
}

/// Starts everything, says so in one line of JSON, and serves until SIGTERM or SIGINT.
pub(super) async fn dev(mut config: Config, arguments: &DevArguments) -> Result<ExitCode, Failure> {
    std::fs::DirBuilder::new().recursive(true).mode(0o755).create(&arguments.data_dir)?;
    let data_dir = arguments.data_dir.canonicalize()?;
    let secrets_file = data_dir.join("secrets.json");
    let mut secrets = read_secrets(&secrets_file)?;
    let mut stores = start_stores(&data_dir, &secrets).await?;
    config.server.listen = arguments.listen;
    config.redis = config.redis.with_url(stores.redis.url());
    config.postgres.url = SecretUrl::new(stores.postgres.url("headroom"));
    config.postgres.owner_url = SecretUrl::new(String::new());
    let served = serve_on(&config, &mut secrets, &secrets_file).await;
    // The service goes first, so that its last flush finds the stores.
    stores.redis.stop().await?;
    stores.postgres.stop().await?;
    served
}

async fn serve_on(
    config: &Config,
    secrets: &mut Secrets,
    secrets_file: &Path,
) -> Result<ExitCode, Failure> {
    Ledger::migrate(config.postgres.url.expose(), config.quota.shards).await?;
    let ledger = Ledger::connect(&ledger_options(config))?;
    let admin_key =
        ensure_key(&ledger, secrets.admin_key.take(), "admin", &[Permission::Admin]).await?;
    let backend = [Permission::Check, Permission::Consume, Permission::Read];
    let backend_key = ensure_key(&ledger, secrets.backend_key.take(), "backend", &backend).await?;
    secrets.admin_key = Some(admin_key.clone());
    secrets.backend_key = Some(backend_key.clone());
    write_secrets(secrets_file, secrets)?;
    let app = App::start(config, Hooks::default()).await?;
    let ready = json!({
        "url": format!("http://{}", app.address()),
        "admin_key": admin_key,
        "backend_key": backend_key,
        "redis_url": config.redis.url.expose(),
        "postgres_url": config.postgres.url.expose(),
    });
    print_line(&ready.to_string())?;
    serve::wait_for_stop().await?;
    Ok(serve::stop(app).await)
}

async fn start_stores(data_dir: &Path, secrets: &Secrets) -> Result<Stores, Failure> {
    let redis = RedisOptions {
        dir: data_dir.to_owned(),
        append_only: true,
        password: Some(secrets.redis_password.clone()),
        ..RedisOptions::default()
    };
    let postgres = PostgresOptions {
        dir: data_dir.to_owned(),
        password: Some(secrets.postgres_password.clone()),
        durable: true,
        ..PostgresOptions::default()
    };
    let (redis, postgres) =
        futures_util::future::join(RedisServer::start(redis), PostgresServer::start(postgres))
            .await;
    Ok(Stores { redis: redis?, postgres: postgres? })
}

/// The stored key when Postgres still knows it, a new one otherwise.
async fn ensure_key(
    ledger: &Ledger,
    stored: Option<String>,
    name: &str,
    permissions: &[Permission],
) -> Result<String, Failure> {
    let known = KeyRing::list(ledger).await?;
    let is_known = |text: &String| {
        let id = ApiKey::parse(text).map(|key| key.id().to_owned());
        id.is_ok_and(|id| known.iter().any(|key| key.id == id && key.revoked_at.is_none()))
    };
    if let Some(text) = stored.filter(is_known) {
        return Ok(text);
    }
    let request = KeyRequest {
        name: name.to_owned(),
        permissions: permissions.iter().copied().collect(),
        subject_prefix: None,
        expires_at: None,
    };
    let key = KeyRing::create(ledger, request, super::ACTOR, Clock::system().now()).await?;
    Ok(key.reveal().to_owned())
}

fn read_secrets(file: &Path) -> Result<Secrets, Failure> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(serde_json::from_str(&text)?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let secrets = Secrets {
                redis_password: random_hex()?,
                postgres_password: random_hex()?,
                admin_key: None,
                backend_key: None,
            };
            write_secrets(file, &secrets)?;
            Ok(secrets)
        }
        Err(error) => Err(error.into()),
    }
}

/// Readable by the owner alone, and never half written: a crash leaves the old file.
fn write_secrets(file: &Path, secrets: &Secrets) -> Result<(), Failure> {
    let draft = file.with_extension("draft");
    let mut options = std::fs::OpenOptions::new();
    let mut output = options.write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    std::io::Write::write_all(&mut output, serde_json::to_string_pretty(secrets)?.as_bytes())?;
    output.sync_all()?;
    Ok(std::fs::rename(&draft, file)?)
}

/// 32 hexadecimal digits, 128 bits of chance.
fn random_hex() -> Result<String, Failure> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}
