//! A link to one server: one multiplexed connection, made anew when it breaks.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use deadpool_redis::Connection;
use redis::RedisResult;
use redis::Value;
use tokio::sync::Mutex;

use super::error::is_demoted;
use super::error::is_lost;
use super::error::plain;
use super::line::Line;
use super::line::Request;
use super::opener::Opened;
use super::opener::Opener;
use super::wire::Wire;

/// A connection and its number.
#[derive(Clone)]
pub(super) struct Linked {
    pub(super) connection: Wire,
    /// Grows with each connection of the node. Another number than before means that the server, or another one in its
    /// place, may have lost something meanwhile.
    pub(super) generation: u64,
}

/// A connection that is kept from the pool.
struct Kept {
    opened: Opened,
    generation: u64,
}

/// Hands out clones of one connection.
pub(super) struct Link {
    opener: Opener,
    current: Mutex<Option<Kept>>,
    generations: Arc<AtomicU64>,
}

impl Link {
    pub(super) fn new(opener: Opener, generations: Arc<AtomicU64>) -> Self {
        Self { opener, current: Mutex::new(None), generations }
    }

    /// The connection, made now when there is none. Waits at most the connect time-out.
    pub(super) async fn get(&self) -> RedisResult<Linked> {
        let mut current = self.current.lock().await;
        if let Some(kept) = current.as_ref() {
            let connection = kept.opened.wire.clone();
            return Ok(Linked { connection, generation: kept.generation });
        }
        let opened = self.opener.open().await?;
        let generation = self.generations.fetch_add(1, Ordering::Relaxed) + 1;
        let linked = Linked { connection: opened.wire.clone(), generation };
        *current = Some(Kept { opened, generation });
        Ok(linked)
    }

    /// Gives a broken connection up, unless another caller did already.
    pub(super) async fn give_up(&self, generation: u64) {
        let mut current = self.current.lock().await;
        if let Some(kept) = current.take_if(|kept| kept.generation == generation) {
            // Not back into the pool, which would lend it again.
            drop(kept.opened.lent.map(Connection::take));
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
