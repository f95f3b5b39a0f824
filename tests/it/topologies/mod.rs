//! Redis as a primary that sentinels name, and as a cluster: what is promised holds while servers change their roles.

mod cluster;
mod cluster_world;
mod load;
mod sentinel;
mod sentinel_world;
mod single;

use std::time::Duration;

use redis::FromRedisValue;
use redis::aio::MultiplexedConnection;

use crate::support::Options;
use crate::support::orders;

/// The password of every server here.
const PASSWORD: &str = "hun,ter@2";
/// A bound for what servers agree on among themselves.
const WITHIN: Duration = Duration::from_secs(30);

/// One user of each shard.
const SUBJECTS: [&str; 2] = ["user:u_1", "user:u_2"];

/// A limit of `max` messages, on nodes that are started when Redis is there.
fn options(max: u64) -> Options {
    let catalogue = Some(orders::messages_a_month(max));
    // The address of the app's own Redis, which is not used here.
    Options { nodes: 0, catalogue, ..Options::default() }.with("REDIS_URL", "")
}

/// Asks a server something, in words.
async fn ask<T: FromRedisValue>(
    connection: &MultiplexedConnection,
    words: &[&str],
) -> redis::RedisResult<T> {
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]).query_async(&mut connection.clone()).await
}
