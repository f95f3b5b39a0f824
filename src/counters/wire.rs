//! What carries requests to a server and its answers back.

use std::io;
use std::pin::Pin;
use std::sync::Arc;

use redis::Cmd;
use redis::Parser;
use redis::Pipeline;
use redis::RedisFuture;
use redis::RedisResult;
use redis::Value;
use redis::aio::ConnectionLike;
use redis::aio::MultiplexedConnection;

/// What a server in this process answers, some time.
pub type Answer<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

/// A server in this process, in place of one behind a network: a simulation answers each request when it likes, or never.
#[doc(hidden)]
pub trait InProcess: Send + Sync {
    /// A new connection, by its number.
    fn open(&self) -> Answer<u64>;

    /// What the server answers to commands, both as they go over the wire.
    fn exchange(&self, connection: u64, commands: Vec<u8>) -> Answer<Vec<u8>>;
}

/// A connection; clones share it.
#[derive(Clone)]
pub(super) enum Wire {
    Network(MultiplexedConnection),
    InProcess(Arc<dyn InProcess>, u64),
}

impl ConnectionLike for Wire {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Network(connection) => connection.req_packed_command(command),
            Self::InProcess(server, connection) => {
                let answer = server.exchange(*connection, command.get_packed_command());
                Box::pin(async { redis::parse_redis_value(&answer.await?)?.extract_error() })
            }
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Network(connection) => connection.req_packed_commands(pipeline, offset, count),
            Self::InProcess(server, connection) => {
                let answer = server.exchange(*connection, pipeline.get_packed_pipeline());
                Box::pin(async move { values(&answer.await?, offset, count) })
            }
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Network(connection) => connection.get_db(),
            Self::InProcess(..) => 0,
        }
    }
}

/// So many of the values after the first `offset`.
fn values(mut bytes: &[u8], offset: usize, count: usize) -> RedisResult<Vec<Value>> {
    let mut parser = Parser::new();
    let all = (0..offset + count).map(|_| parser.parse_value(&mut bytes));
    Ok(all.collect::<RedisResult<Vec<_>>>()?.split_off(offset))
}
