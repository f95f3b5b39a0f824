//! The connection of the decision path: one multiplexed connection, made anew when it breaks.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use redis::AsyncConnectionConfig;
use redis::Client;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use tokio::sync::Mutex;

use super::error::CountersError;

/// Where Redis is, and how long to wait for it.
#[derive(Clone)]
pub struct RedisOptions {
    /// `redis://[user:password@]host:port/[db]`. Holds a password: never shown.
    pub url: String,
    /// The longest wait for a connection.
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
    /// A client without Nagle's delay, with keepalive: redis-rs leaves both as the system has them.
    pub(super) fn client(&self) -> Result<Client, CountersError> {
        let unfit = |_| CountersError::Unfit("the url is not a redis url".to_owned());
        let info =
            redis::IntoConnectionInfo::into_connection_info(self.url.as_str()).map_err(unfit)?;
        let settings = TcpSettings::default().set_nodelay(true);
        Client::open(info.set_tcp_settings(settings)).map_err(unfit)
    }

    fn config(&self) -> AsyncConnectionConfig {
        AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect_timeout))
            .set_response_timeout(Some(self.response_timeout))
    }
}

/// A connection and its number.
#[derive(Clone)]
pub(super) struct Linked {
    pub(super) connection: MultiplexedConnection,
    /// Grows with each connection. Another number than before means that Redis may have been replaced meanwhile.
    pub(super) generation: u64,
}

/// Hands out clones of one connection.
pub(super) struct Link {
    client: Client,
    options: RedisOptions,
    current: Mutex<Option<Linked>>,
    generations: AtomicU64,
}

impl Link {
    pub(super) fn new(options: &RedisOptions) -> Result<Self, CountersError> {
        Ok(Self {
            client: options.client()?,
            options: options.clone(),
            current: Mutex::new(None),
            generations: AtomicU64::new(0),
        })
    }

    /// The connection, made now when there is none. Waits at most the connect time-out.
    pub(super) async fn get(&self) -> Result<Linked, CountersError> {
        let mut current = self.current.lock().await;
        if let Some(linked) = current.as_ref() {
            return Ok(linked.clone());
        }
        let config = self.options.config();
        let made = self.client.get_multiplexed_async_connection_with_config(&config);
        let connection = made.await.map_err(|source| CountersError::Unavailable {
            ambiguous: false,
            source: Some(source),
        })?;
        let generation = self.generations.fetch_add(1, Ordering::Relaxed) + 1;
        let linked = Linked { connection, generation };
        *current = Some(linked.clone());
        Ok(linked)
    }

    /// Gives a broken connection up, unless another caller did already.
    pub(super) async fn give_up(&self, generation: u64) {
        let mut current = self.current.lock().await;
        if current.as_ref().is_some_and(|linked| linked.generation == generation) {
            *current = None;
        }
    }
}
