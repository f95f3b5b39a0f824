//! Opens connections to one server, at most as many as its links are.

use deadpool_redis::Connection;
use deadpool_redis::Manager;
use deadpool_redis::Pool;
use deadpool_redis::PoolError;
use redis::AsyncConnectionConfig;
use redis::ConnectionInfo;
use redis::RedisError;
use redis::RedisResult;

/// The pool of a server.
///
/// A link keeps what it takes for as long as it works, and never gives it back: a pool sends `UNWATCH` and `PING`, and waits
/// for the answer, each time it lends a connection again.
#[derive(Clone)]
pub(super) struct Opener {
    pool: RedisResult<Pool>,
}

impl Opener {
    /// Prepares for `links` links, without connecting. What is wrong with the address is told by [`Opener::open`].
    pub(super) fn new(info: ConnectionInfo, config: AsyncConnectionConfig, links: usize) -> Self {
        let unfit = |error| RedisError::from(std::io::Error::other(error));
        let pool = Manager::new_with_config(info, config)
            .and_then(|manager| Pool::builder(manager).max_size(links).build().map_err(unfit));
        Self { pool }
    }

    /// A new connection. Waits at most the connect time-out.
    pub(super) async fn open(&self) -> RedisResult<Connection> {
        let pool = self.pool.as_ref().map_err(RedisError::clone)?;
        // Boxed: seldom called, and deep enough to burden the future of every decision.
        Box::pin(pool.get()).await.map_err(|error| match error {
            PoolError::Backend(source) => source,
            other => std::io::Error::other(other).into(),
        })
    }
}
