//! A link to one server: one multiplexed connection, made anew when it breaks.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use redis::AsyncConnectionConfig;
use redis::Client;
use redis::ConnectionInfo;
use redis::RedisResult;
use redis::Value;
use redis::aio::MultiplexedConnection;
use tokio::sync::Mutex;

use super::error::is_demoted;
use super::error::is_lost;
use super::error::plain;
use super::line::Line;
use super::line::Request;

/// A connection and its number.
#[derive(Clone)]
pub(super) struct Linked {
    pub(super) connection: MultiplexedConnection,
    /// Grows with each connection of the node. Another number than before means that the server, or another one in its
    /// place, may have lost something meanwhile.
    pub(super) generation: u64,
}

/// Hands out clones of one connection.
pub(super) struct Link {
    info: ConnectionInfo,
    config: AsyncConnectionConfig,
    current: Mutex<Option<Linked>>,
    generations: Arc<AtomicU64>,
}

impl Link {
    pub(super) fn new(
        info: ConnectionInfo,
        config: AsyncConnectionConfig,
        generations: Arc<AtomicU64>,
    ) -> Self {
        Self { info, config, current: Mutex::new(None), generations }
    }

    /// The connection, made now when there is none. Waits at most the connect time-out.
    pub(super) async fn get(&self) -> RedisResult<Linked> {
        let mut current = self.current.lock().await;
        if let Some(linked) = current.as_ref() {
            return Ok(linked.clone());
        }
        let client = Client::open(self.info.clone())?;
        let connection = client.get_multiplexed_async_connection_with_config(&self.config).await?;
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

    /// Sends one request. `is_asking` follows a redirection for this request alone.
    pub(super) async fn send(&self, request: &impl Request, is_asking: bool) -> RedisResult<Value> {
        let Linked { connection, generation } = self.get().await?;
        let mut line = Line { connection, is_asking };
        match request.send(&mut line).await.map_err(plain) {
            Err(error) => {
                if is_lost(&error) || is_demoted(&error) {
                    self.give_up(generation).await;
                }
                Err(error)
            }
            answer => answer,
        }
    }
}
