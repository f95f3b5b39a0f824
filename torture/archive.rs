//! Postgres, which can be killed, stopped for a while, and taken back to a copy of itself.

use std::path::Path;
use std::path::PathBuf;

use headroom::background::Supervisor;
use headroom::embedded::PostgresOptions;
use headroom::embedded::PostgresServer;
use headroom::ledger::Ledger;
use tokio_postgres::Client;
use tokio_postgres::NoTls;

use crate::Failure;
use crate::processes::copy;

/// The server and where it is.
pub(crate) struct Archive {
    pub(crate) server: PostgresServer,
    files: PathBuf,
    kept: PathBuf,
}

impl Archive {
    /// The files of a Postgres that has the schema and nothing else, for others to start on.
    pub(crate) async fn template(dir: &Path, shards: u16) -> Result<PathBuf, Failure> {
        let mut archive = Self::start(dir, None).await?;
        Ledger::migrate(&archive.url(), shards).await?;
        archive.server.stop().await?;
        Ok(archive.files)
    }

    /// Starts on a copy of such files, or without any.
    pub(crate) async fn start(dir: &Path, template: Option<&Path>) -> Result<Self, Failure> {
        let folder = dir.join("postgres");
        let files = folder.join("postgres");
        std::fs::create_dir_all(&folder)?;
        if let Some(template) = template {
            copy(template, &files).await?;
        }
        let options = PostgresOptions { dir: folder, ..PostgresOptions::default() };
        let server = PostgresServer::start(options).await?;
        Ok(Self { server, files, kept: dir.join("postgres-kept") })
    }

    pub(crate) fn url(&self) -> String {
        self.server.url("headroom")
    }

    /// A client past all networks.
    pub(crate) async fn connect(&self) -> Result<Client, Failure> {
        let (client, connection) = tokio_postgres::connect(&self.url(), NoTls).await?;
        Supervisor::new().spawn("postgres", async {
            // It ends with the client, or with the server that is killed.
            let _ = connection.await;
        });
        Ok(client)
    }

    pub(crate) async fn crash(&mut self) -> Result<(), Failure> {
        self.server.kill().await?;
        Ok(self.server.restart().await?)
    }

    /// Puts the files aside. Postgres is away for a moment.
    pub(crate) async fn keep(&mut self) -> Result<(), Failure> {
        self.server.stop().await?;
        copy(&self.files, &self.kept).await?;
        Ok(self.server.restart().await?)
    }

    /// Starts on the files that were put aside.
    pub(crate) async fn restore(&mut self) -> Result<(), Failure> {
        self.server.stop().await?;
        copy(&self.kept, &self.files).await?;
        Ok(self.server.restart().await?)
    }

    /// What recoveries have written: it is nowhere else.
    pub(crate) async fn recoveries(&self) -> Result<(i64, i64), Failure> {
        let client = self.connect().await?;
        let sql = "SELECT count(*), coalesce(sum(lost_at_most), 0)::bigint FROM incidents";
        let row = client.query_one(sql, &[]).await?;
        Ok((row.try_get(0)?, row.try_get(1)?))
    }
}
