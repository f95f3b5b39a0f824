//! What a Redis holds, to be put back later: a failover to a replica that lags, in an instant.

use redis::aio::MultiplexedConnection;

/// Every key and its value.
#[derive(Debug, PartialEq, Eq)]
pub struct Image(Vec<(Vec<u8>, Vec<u8>)>);

impl Image {
    /// Everything that Redis holds now.
    pub async fn take(redis: &mut MultiplexedConnection) -> Self {
        let mut keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query_async(redis).await.unwrap();
        keys.sort_unstable();
        let mut pairs = Vec::new();
        for key in keys {
            let value: Vec<u8> = redis::cmd("DUMP").arg(&key).query_async(redis).await.unwrap();
            pairs.push((key, value));
        }
        Self(pairs)
    }

    /// Makes Redis hold this and nothing else. Times to live are not kept.
    pub async fn put_back(&self, redis: &mut MultiplexedConnection) {
        let mut pipe = redis::pipe();
        pipe.atomic().cmd("FLUSHDB");
        for (key, value) in &self.0 {
            pipe.cmd("RESTORE").arg(key).arg(0).arg(value);
        }
        pipe.exec_async(redis).await.unwrap();
    }
}
