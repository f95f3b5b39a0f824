//! The state of a level as Redis holds it, read and written without the product.

use redis::aio::MultiplexedConnection;
use rmp::decode;
use rmp::encode;

/// One level's state: what `lua/lib/prelude.lua` says beside `E_EPOCH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The epoch in which it was loaded.
    pub epoch: i64,
    /// The version of its profile.
    pub version: i64,
    /// The seq of its last event.
    pub last: i64,
    /// The cursor at its load.
    pub base: i64,
    /// When it was touched, in Unix seconds.
    pub touched_s: i64,
    /// When it was last cleared, in Unix milliseconds.
    pub reset_at_ms: i64,
    /// Its counters by their names, in the order in which they stand there.
    pub counters: Vec<(String, i64)>,
}

impl State {
    /// The state under the key; `None` when the level is not loaded.
    pub async fn read(redis: &MultiplexedConnection, key: &str) -> Option<Self> {
        let mut command = redis::cmd("GET");
        let bytes: Option<Vec<u8>> =
            command.arg(key).query_async(&mut redis.clone()).await.unwrap();
        bytes.map(|bytes| Self::decode(&bytes))
    }

    /// Puts the state under the key, in place of what is there.
    pub async fn write(&self, redis: &MultiplexedConnection, key: &str) {
        let mut command = redis::cmd("SET");
        command.arg(key).arg(self.encode()).arg("KEEPTTL");
        command.exec_async(&mut redis.clone()).await.unwrap();
    }

    /// The names of the counters, sorted.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.counters.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names
    }

    /// What the counter holds; `None` when it is not there.
    pub fn used(&self, name: &str) -> Option<i64> {
        self.counters.iter().find(|(known, _)| known == name).map(|(_, used)| *used)
    }

    fn decode(mut bytes: &[u8]) -> Self {
        let bytes = &mut bytes;
        let [epoch, version, last, base, touched_s, reset_at_ms] =
            std::array::from_fn(|_| decode::read_int(bytes).unwrap());
        let length = decode::read_str_len(bytes).unwrap() as usize;
        let (names, rest) = bytes.split_at(length);
        *bytes = rest;
        let names = std::str::from_utf8(names).unwrap();
        assert!(names.is_empty() || names.ends_with(' '), "a space behind each: {names:?}");
        let counters = names.split_terminator(' ').map(|name| {
            let used = decode::read_int(bytes).unwrap();
            (name.to_owned(), used)
        });
        let counters = counters.collect();
        assert!(bytes.is_empty(), "more counts than names");
        Self { epoch, version, last, base, touched_s, reset_at_ms, counters }
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let head =
            [self.epoch, self.version, self.last, self.base, self.touched_s, self.reset_at_ms];
        for value in head {
            encode::write_sint(&mut bytes, value).unwrap();
        }
        let names: String = self.counters.iter().flat_map(|(name, _)| [name, " "]).collect();
        encode::write_str(&mut bytes, &names).unwrap();
        for (_, used) in &self.counters {
            encode::write_sint(&mut bytes, *used).unwrap();
        }
        bytes
    }
}
