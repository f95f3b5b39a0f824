//! A lane's way to the server that decides for its shard.

use std::sync::Arc;
use std::time::Duration;

use redis::RedisError;

use super::error::CountersError;
use super::error::is_demoted;
use super::error::is_lost;
use super::lane::Lane;
use super::line::Line;
use super::probe;
use super::reply::GroupReply;
use super::server::Server;
use super::wire::Wire;

/// How long a lane may have been silent and still trust its server of a cluster, over a connection that stayed open. It may
/// have been replaced, and have replaced its successor since.
const SILENCE_MAX: Duration = Duration::from_secs(1);

/// A server, and a connection to it.
pub(super) struct Way {
    server: Arc<Server>,
    connection: Wire,
    pub(super) generation: u64,
    is_asking: bool,
}

impl Way {
    pub(super) fn line(&self) -> Line {
        Line { connection: self.connection.clone(), is_asking: self.is_asking }
    }
}

impl Lane {
    /// The way of the next attempt. Waits at most the connect time-out for each of who decides and its connection.
    pub(super) async fn way(&mut self) -> Result<Way, CountersError> {
        let (routes, shard) = (&self.parts.routes, self.shard.number);
        let is_asking = self.asked.is_some();
        let server = match self.asked.take() {
            Some(server) => server,
            None => routes.primary(shard).await?,
        };
        match server.link.get().await {
            Ok(linked) => {
                let (connection, generation) = (linked.connection, linked.generation);
                Ok(Way { server, connection, generation, is_asking })
            }
            Err(error) => {
                routes.learn(shard, &server, &error);
                Err(CountersError::away(Some(error)))
            }
        }
    }

    /// Learns from an answer that was none: gives the connection up, or the server.
    pub(super) async fn lose(&mut self, way: &Way, error: &RedisError) {
        if is_lost(error) || is_demoted(error) {
            way.server.link.give_up(way.generation).await;
        }
        self.asked = self.parts.routes.learn(self.shard.number, &way.server, error);
    }

    /// After a new connection: whether the last event that was acknowledged to this node is gone. Losing any suffix of
    /// the history loses that event too, even when other nodes have moved the seq on since.
    pub(super) async fn rolled_back_meanwhile(
        &mut self,
        way: &Way,
    ) -> Result<Option<GroupReply>, CountersError> {
        let is_silent = self.parts.routes.is_cluster() && self.answered_at.elapsed() > SILENCE_MAX;
        if way.generation == self.generation && !is_silent {
            return Ok(None);
        }
        let (shard, sight) = (self.shard.number, self.shard.sight());
        let found = probe::probe(&self.parts.scripts, &mut way.line(), shard, sight).await;
        match found {
            Ok(true) => {
                self.generation = way.generation;
                Ok(None)
            }
            Ok(false) => Ok(Some(GroupReply::rollback())),
            // Nothing was decided yet.
            Err(CountersError::Unavailable { source, .. }) => {
                if let Some(error) = &source {
                    self.lose(way, error).await;
                }
                Err(CountersError::away(source))
            }
            Err(other) => {
                way.server.link.give_up(way.generation).await;
                Err(other)
            }
        }
    }
}
