//! Where the servers are installed.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use crate::config::process_env;

use super::error::EmbeddedError;

/// Where Debian installs each version of Postgres.
const POSTGRES_ROOT: &str = "/usr/lib/postgresql";

/// The folders in which programs are looked for, in order.
#[derive(Clone, Debug)]
pub struct Search {
    folders: Vec<PathBuf>,
}

/// The programs of one Postgres version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresPrograms {
    /// The program that makes a data folder.
    pub initdb: PathBuf,
    /// The server.
    pub postgres: PathBuf,
}

impl Search {
    /// `PATH`, then Debian's folders for Postgres, the newest version first.
    #[must_use]
    pub fn system() -> Self {
        let path = process_env()
            .into_iter()
            .find_map(|(name, value)| (name == "PATH").then_some(value))
            .unwrap_or_default();
        let mut folders: Vec<PathBuf> =
            std::env::split_paths(&path).filter(|folder| folder.is_absolute()).collect();
        folders.extend(versions_newest_first(Path::new(POSTGRES_ROOT)));
        Self { folders }
    }

    /// These folders only.
    #[must_use]
    pub fn in_folders(folders: Vec<PathBuf>) -> Self {
        Self { folders }
    }

    /// The path of `redis-server`.
    ///
    /// # Errors
    ///
    /// [`EmbeddedError::BinaryMissing`] names the package to install.
    pub fn redis_server(&self) -> Result<PathBuf, EmbeddedError> {
        self.find("redis-server")
            .ok_or(EmbeddedError::BinaryMissing { binary: "redis-server", package: "redis-server" })
    }

    /// The paths of `initdb` and `postgres`, from one folder so that their versions agree.
    ///
    /// # Errors
    ///
    /// [`EmbeddedError::BinaryMissing`] names the package to install.
    pub fn postgres(&self) -> Result<PostgresPrograms, EmbeddedError> {
        self.folders
            .iter()
            .map(|folder| PostgresPrograms {
                initdb: folder.join("initdb"),
                postgres: folder.join("postgres"),
            })
            .find(|programs| programs.initdb.is_file() && programs.postgres.is_file())
            .ok_or(EmbeddedError::BinaryMissing { binary: "postgres", package: "postgresql" })
    }

    /// The path of `setpriv`, which only Linux has.
    pub(super) fn setpriv(&self) -> Option<PathBuf> {
        self.find("setpriv")
    }

    fn find(&self, name: &str) -> Option<PathBuf> {
        self.folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file())
    }
}

fn versions_newest_first(root: &Path) -> Vec<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir(root)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    versions.sort();
    versions.into_iter().rev().map(|(_, folder)| folder).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_with_both_programs_is_taken() {
        let root = tempfile::tempdir().unwrap();
        for file in [
            "9/bin/initdb",
            "9/bin/postgres",
            "15/bin/initdb",
            "15/bin/postgres",
            "16/bin/postgres",
            "x/bin/initdb",
        ] {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }

        let found = Search::in_folders(versions_newest_first(root.path())).postgres();

        assert_eq!(found.unwrap().postgres, root.path().join("15/bin/postgres"));
    }
}
