//! Opens connections to one server, at most as many as its links are.

use std::sync::Arc;

use deadpool_redis::Connection;
use deadpool_redis::Manager;
use deadpool_redis::Pool;
use deadpool_redis::PoolError;
use redis::ConnectionInfo;
use redis::RedisError;
use redis::RedisResult;

use super::place::Place;
use super::place::RedisOptions;
use super::wire::InProcess;
use super::wire::Wire;

/// A connection, and what keeps its place in the pool.
pub(super) struct Opened {
    pub(super) wire: Wire,
    pub(super) lent: Option<Connection>,
}

/// The pool of a server, or a server that needs none.
///
/// A link keeps what it takes for as long as it works, and never gives it back: a pool sends `UNWATCH` and `PING`, and waits
/// for the answer, each time it lends a connection again.
#[derive(Clone)]
pub(super) enum Opener {
    Pool(RedisResult<Pool>),
    InProcess(Arc<dyn InProcess>),
}

impl Opener {
    /// Prepares for `links` links, without connecting. What is wrong with the address is told by [`Opener::open`].
    pub(super) fn new(info: ConnectionInfo, options: &RedisOptions, links: usize) -> Self {
        if let Place::InProcess(server) = &options.place {
            return Self::InProcess(server.clone());
        }
        let unfit = |error| RedisError::from(std::io::Error::other(error));
        let pool = Manager::new_with_config(info, options.config())
            .and_then(|manager| Pool::builder(manager).max_size(links).build().map_err(unfit));
        Self::Pool(pool)
    }

    /// A new connection. Waits at most the connect time-out.
    pub(super) async fn open(&self) -> RedisResult<Opened> {
        let pool = match self {
            Self::Pool(pool) => pool.as_ref().map_err(RedisError::clone)?,
            Self::InProcess(server) => {
                let wire = Wire::InProcess(server.clone(), server.open().await?);
                return Ok(Opened { wire, lent: None });
            }
        };
        // Boxed: seldom called, and deep enough to burden the future of every decision.
        let lent = Box::pin(pool.get()).await.map_err(|error| match error {
            PoolError::Backend(source) => source,
            other => std::io::Error::other(other).into(),
        })?;
        Ok(Opened { wire: Wire::Network((*lent).clone()), lent: Some(lent) })
    }
}
