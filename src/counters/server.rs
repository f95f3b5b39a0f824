//! One Redis server.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use redis::Cmd;
use redis::ConnectionInfo;
use redis::FromRedisValue;
use redis::RedisResult;

use super::link::Link;
use super::opener::Opener;
use super::place::Address;
use super::place::RedisOptions;

/// Connections for flushes, loads and administration. They share each: a large answer delays what is behind it.
const BACKGROUND_LINKS: usize = 8;

/// One Redis server: a connection for decisions, and some for everything else.
pub(super) struct Server {
    /// Where it listens; `None` for a socket.
    pub(super) address: Option<Address>,
    /// The connection of the lanes.
    pub(super) link: Arc<Link>,
    background: Vec<Arc<Link>>,
}

impl Server {
    /// A server, without connecting.
    pub(super) fn new(
        info: &ConnectionInfo,
        options: &RedisOptions,
        generations: &Arc<AtomicU64>,
    ) -> Self {
        let opener = Opener::new(info.clone(), options, BACKGROUND_LINKS + 1);
        let link = || Arc::new(Link::new(opener.clone(), generations.clone()));
        Self {
            address: Address::of_info(info),
            link: link(),
            background: (0..BACKGROUND_LINKS).map(|_| link()).collect(),
        }
    }

    /// The background connection that the fewest use now.
    pub(super) fn background(&self) -> Arc<Link> {
        let idlest = self.background.iter().min_by_key(|link| Arc::strong_count(link));
        idlest.unwrap_or(&self.link).clone()
    }

    /// Asks the server about itself.
    pub(super) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        let answer = self.background().send(command, false).await?;
        Ok(redis::from_redis_value(answer)?)
    }
}
