//! Where Redis is, and how long to wait for it.

use std::sync::Arc;
use std::time::Duration;

use redis::AsyncConnectionConfig;
use redis::ConnectionAddr;
use redis::ConnectionInfo;
use redis::IntoConnectionInfo;
use redis::io::tcp::TcpSettings;

use super::error::CountersError;
use super::wire::InProcess;

/// The servers, and who says which of them decides. Holds passwords: never shown.
#[derive(Clone)]
pub enum Place {
    /// One server: `redis://[user:password@]host:port/[db]` or `redis+unix:///path`.
    Single(String),
    /// The primary that sentinels name.
    Sentinel {
        /// `redis://[user:password@]host:port` of each sentinel.
        urls: Vec<String>,
        /// What they call the primary.
        primary: String,
        /// A URL whose user, password and database open the primary. Its host is not used.
        login: String,
    },
    /// A cluster: `redis://[user:password@]host:port` of some of its servers, which tell of the others. The first one's
    /// user and password open all.
    Cluster(Vec<String>),
    /// One server in this process.
    #[doc(hidden)]
    InProcess(Arc<dyn InProcess>),
}

/// Where Redis is, and how long to wait for it.
#[derive(Clone)]
pub struct RedisOptions {
    /// The servers.
    pub place: Place,
    /// The longest wait for a connection, and for who decides to be known.
    pub connect_timeout: Duration,
    /// The longest wait for an answer.
    pub response_timeout: Duration,
}

impl std::fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisOptions")
            .field("connect_timeout", &self.connect_timeout)
            .field("response_timeout", &self.response_timeout)
            .finish_non_exhaustive()
    }
}

impl RedisOptions {
    pub(super) fn config(&self) -> AsyncConnectionConfig {
        AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect_timeout))
            .set_response_timeout(Some(self.response_timeout))
    }
}

/// What opens the server behind the URL, without Nagle's delay: redis-rs leaves that as the system has it.
pub(super) fn connection_info(url: &str) -> Result<ConnectionInfo, CountersError> {
    let unfit = |_| CountersError::Unfit("the url is not a redis url".to_owned());
    let info = url.into_connection_info().map_err(unfit)?;
    Ok(info.set_tcp_settings(TcpSettings::default().set_nodelay(true)))
}

/// Where one server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
}

impl Address {
    /// Reads `host:port` as redirections have it. Without a host it is that of the server that told of it.
    pub(super) fn parse(text: &str, told_by: Option<&Self>) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        Self::of(host, port.parse().ok()?, told_by)
    }

    /// The same of a host and a port. A server that does not know its own host calls it nothing, or `?`.
    pub(super) fn of(host: &str, port: u16, told_by: Option<&Self>) -> Option<Self> {
        let host = match host {
            "" | "?" => told_by?.host.clone(),
            host => host.to_owned(),
        };
        Some(Self { host, port })
    }

    /// Where a URL leads; `None` when that is no port of a host.
    pub(super) fn of_info(info: &ConnectionInfo) -> Option<Self> {
        match info.addr() {
            ConnectionAddr::Tcp(host, port) => Some(Self { host: host.clone(), port: *port }),
            _ => None,
        }
    }

    /// What opens this server when `login` opens others of its kind.
    pub(super) fn info(&self, login: &ConnectionInfo) -> ConnectionInfo {
        login.clone().set_addr(ConnectionAddr::Tcp(self.host.clone(), self.port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_lack_its_host() {
        let told_by = Address { host: "a".to_owned(), port: 1 };
        let parse = |text| Address::parse(text, Some(&told_by)).map(|it| (it.host, it.port));

        assert_eq!(parse("10.0.0.1:6379"), Some(("10.0.0.1".to_owned(), 6379)));
        assert_eq!(parse("::1:6379"), Some(("::1".to_owned(), 6379)));
        assert_eq!(parse(":7"), Some(("a".to_owned(), 7)));
        assert_eq!(parse("?:7"), Some(("a".to_owned(), 7)));
        assert_eq!(parse("nowhere"), None);
        assert_eq!(Address::parse(":7", None), None);
    }

    #[test]
    fn passwords_are_not_shown() {
        let place = Place::Cluster(vec!["redis://:hunter2@h/".to_owned()]);
        let second = Duration::from_secs(1);
        let options = RedisOptions { place, connect_timeout: second, response_timeout: second };

        assert!(!format!("{options:?}").contains("hunter2"));
    }
}
