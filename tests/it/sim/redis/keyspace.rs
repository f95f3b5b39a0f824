//! Keys and their values.

use std::collections::BTreeMap;

/// A place in a stream.
pub type StreamId = (u64, u64);

/// A stream: its entries, each with its fields in order, and the highest id that was ever given.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    pub entries: BTreeMap<StreamId, Vec<Vec<u8>>>,
    pub last: StreamId,
}

/// A value. Fields of a hash are in the order in which they were first set, as in a small hash of Redis.
#[derive(Clone, Debug)]
pub enum Value {
    Text(Vec<u8>),
    Hash(Vec<(Vec<u8>, Vec<u8>)>),
    Stream(Stream),
}

#[derive(Clone, Debug)]
pub struct Kept {
    pub value: Value,
    /// When it goes by itself, in Unix milliseconds.
    pub until_ms: Option<i64>,
}

/// Everything that a server holds, and its time.
#[derive(Clone, Debug)]
pub struct Keyspace {
    keys: BTreeMap<Vec<u8>, Kept>,
    pub now_ms: i64,
    /// How many places streams have given, in all.
    pub events: u64,
}

impl Keyspace {
    pub fn new(now_ms: i64) -> Self {
        Self { keys: BTreeMap::new(), now_ms, events: 0 }
    }

    /// The names of all keys.
    pub fn names(&self) -> Vec<Vec<u8>> {
        self.keys.keys().cloned().collect()
    }

    pub fn get(&mut self, key: &[u8]) -> Option<&mut Kept> {
        let now_ms = self.now_ms;
        if self.keys.get(key).is_some_and(|kept| kept.until_ms.is_some_and(|at| at <= now_ms)) {
            self.keys.remove(key);
        }
        self.keys.get_mut(key)
    }

    pub fn text(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        match &self.get(key)?.value {
            Value::Text(bytes) => Some(bytes.clone()),
            other => panic!("{} is {other:?}", String::from_utf8_lossy(key)),
        }
    }

    pub fn hash(&mut self, key: &[u8]) -> Option<&mut Vec<(Vec<u8>, Vec<u8>)>> {
        match &mut self.get(key)?.value {
            Value::Hash(fields) => Some(fields),
            other => panic!("{} is {other:?}", String::from_utf8_lossy(key)),
        }
    }

    pub fn stream(&mut self, key: &[u8]) -> Option<&mut Stream> {
        match &mut self.get(key)?.value {
            Value::Stream(stream) => Some(stream),
            other => panic!("{} is {other:?}", String::from_utf8_lossy(key)),
        }
    }

    pub fn put(&mut self, key: &[u8], value: Value, until_ms: Option<i64>) {
        self.keys.insert(key.to_vec(), Kept { value, until_ms });
    }

    pub fn remove(&mut self, key: &[u8]) -> bool {
        self.get(key).is_some() && self.keys.remove(key).is_some()
    }
}
