//! The account that Postgres runs as, because it refuses to run as root.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::chown;
use std::path::Path;

use super::error::EmbeddedError;

/// An account of this machine without special rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    name: String,
    uid: u32,
    gid: u32,
}

impl Account {
    /// The account for Postgres: none when this process does not run as root and Postgres
    /// can run as the same user, else `postgres`, else `nobody`.
    pub(super) fn for_postgres() -> Result<Option<Self>, EmbeddedError> {
        if !is_root() {
            return Ok(None);
        }
        let passwd = Path::new("/etc/passwd");
        let text = fs::read_to_string(passwd).map_err(EmbeddedError::folder(passwd))?;
        ["postgres", "nobody"]
            .into_iter()
            .find_map(|name| Self::named(name, &text))
            .map(Some)
            .ok_or(EmbeddedError::AccountMissing)
    }

    fn named(name: &str, passwd: &str) -> Option<Self> {
        passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            let is_named = fields.next()? == name;
            let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
            is_named.then(|| Self { name: name.to_owned(), uid, gid })
        })
    }

    /// The options of `setpriv` that become this account.
    pub(super) fn setpriv_options(&self) -> [String; 5] {
        [
            "--reuid".to_owned(),
            self.uid.to_string(),
            "--regid".to_owned(),
            self.gid.to_string(),
            "--init-groups".to_owned(),
        ]
    }

    /// The account's name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Gives `path` to this account.
    pub(super) fn take(&self, path: &Path) -> Result<(), EmbeddedError> {
        chown(path, Some(self.uid), Some(self.gid)).map_err(EmbeddedError::folder(path))
    }

    /// Whether this account may walk down to `folder`, which is absolute. Supplementary groups
    /// are passed over: at worst the data is kept elsewhere without need.
    pub(super) fn can_reach(&self, folder: &Path) -> Result<bool, EmbeddedError> {
        for ancestor in folder.ancestors() {
            let found = fs::metadata(ancestor).map_err(EmbeddedError::folder(ancestor))?;
            let bit = if found.uid() == self.uid {
                0o100
            } else if found.gid() == self.gid {
                0o010
            } else {
                0o001
            };
            if found.mode() & bit == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Whether this process runs as root. Its own entry in `/proc` belongs to its effective user;
/// a system without `/proc` counts as an ordinary user.
fn is_root() -> bool {
    let own: io::Result<fs::Metadata> = fs::metadata("/proc/self");
    own.is_ok_and(|own| own.uid() == 0)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\nbad line\nnobody:x:65534:65533:n:/:/bin/false\n";

    #[test]
    fn an_account_is_read_from_the_password_file() {
        let account = Account::named("nobody", PASSWD).unwrap();

        assert_eq!((account.uid, account.gid), (65_534, 65_533));
        assert_eq!(Account::named("postgres", PASSWD), None);
    }

    #[test]
    fn a_closed_folder_cannot_be_reached_by_others() {
        let account = Account::named("nobody", PASSWD).unwrap();
        let closed = tempfile::tempdir().unwrap();
        let folder = closed.path().join("below");
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(closed.path(), Permissions::from_mode(0o700)).unwrap();

        assert!(!account.can_reach(&folder).unwrap());
        fs::set_permissions(closed.path(), Permissions::from_mode(0o711)).unwrap();
        assert!(account.can_reach(&folder).unwrap());
    }
}
