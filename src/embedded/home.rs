//! Where a private Postgres keeps its data.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;

use sha2::Digest;
use sha2::Sha256;

use super::account::Account;
use super::error::EmbeddedError;

/// Where data goes that its account could not reach below the folder asked for.
const FALLBACK_ROOT: &str = "/var/lib/headroom";

/// The folders of one private Postgres.
#[derive(Clone, Debug)]
pub(super) struct Home {
    /// The folder asked for, absolute: log and lock.
    pub(super) dir: PathBuf,
    /// The folder that holds `data`, which the account can enter.
    pub(super) folder: PathBuf,
    /// Postgres' own folder, absolute; may not exist yet.
    pub(super) data: PathBuf,
}

impl Home {
    /// Finds or chooses the folders below `dir`, which is made when absent.
    ///
    /// A clone of a repository below a closed home folder cannot be entered by the account that
    /// Postgres runs as. Its data is kept below `/var/lib` then, with a link in `dir`.
    pub(super) fn open(dir: &Path, account: Option<&Account>) -> Result<Self, EmbeddedError> {
        fs::create_dir_all(dir).map_err(EmbeddedError::folder(dir))?;
        let dir = dir.canonicalize().map_err(EmbeddedError::folder(dir))?;
        let link = dir.join("postgres");
        if let Ok(data) = fs::read_link(&link) {
            return Self::at(dir, data);
        }
        let data = match account {
            Some(account) if !link.exists() && !account.can_reach(&dir)? => {
                let data = fallback(&dir);
                symlink(&data, &link).map_err(EmbeddedError::folder(&link))?;
                tracing::warn!(account = account.name(), data = %data.display(), "account cannot enter the folder, data is kept elsewhere");
                data
            }
            _ => link,
        };
        Self::at(dir, data)
    }

    fn at(dir: PathBuf, data: PathBuf) -> Result<Self, EmbeddedError> {
        let folder = data.parent().unwrap_or(&dir).to_owned();
        fs::create_dir_all(&folder).map_err(EmbeddedError::folder(&folder))?;
        Ok(Self { dir, folder, data })
    }
}

fn fallback(dir: &Path) -> PathBuf {
    let hash = Sha256::digest(dir.as_os_str().as_encoded_bytes());
    let start = hash.iter().take(8);
    let name = start.fold(String::new(), |name, byte| name + &format!("{byte:02x}"));
    Path::new(FALLBACK_ROOT).join(name).join("postgres")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_stays_below_the_folder_asked_for() {
        let folder = tempfile::tempdir().unwrap();

        let home = Home::open(folder.path(), None).unwrap();

        assert_eq!(home.data, home.dir.join("postgres"));
        assert_eq!(home.folder, home.dir);
    }

    #[test]
    fn a_link_made_earlier_is_followed() {
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let data = elsewhere.path().join("hash").join("postgres");
        symlink(&data, folder.path().join("postgres")).unwrap();

        let home = Home::open(folder.path(), None).unwrap();

        assert_eq!(home.data, data);
        assert!(home.folder.is_dir());
    }

    #[test]
    fn each_folder_has_a_fallback_of_its_own() {
        assert_eq!(fallback(Path::new("/a")), fallback(Path::new("/a")));
        assert_ne!(fallback(Path::new("/a")), fallback(Path::new("/b")));
    }
}
