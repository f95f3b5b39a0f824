//! The commands that the service uses, by Redis' rules.

use std::ops::Bound;

use super::keyspace::Keyspace;
use super::keyspace::Stream;
use super::keyspace::StreamId;
use super::keyspace::Value;
use super::reply::Reply;

/// Does what a command says. One that the service has not used so far is a bug of the simulation.
pub fn execute(keys: &mut Keyspace, command: &[Vec<u8>]) -> Reply {
    let arguments = &command[1..];
    match command[0].as_slice() {
        b"PING" => Reply::Status("PONG"),
        b"TIME" => time(keys),
        b"GET" => Reply::maybe(keys.text(&arguments[0])),
        b"GETEX" => getex(keys, arguments),
        b"MGET" => Reply::Array(arguments.iter().map(|key| Reply::maybe(keys.text(key))).collect()),
        b"SET" => set(keys, arguments),
        b"DEL" | b"UNLINK" => {
            let gone = arguments.iter().filter(|key| keys.remove(key)).count();
            Reply::Int(i64::try_from(gone).unwrap())
        }
        b"HGET" => Reply::maybe(field(keys, &arguments[0], &arguments[1])),
        b"HMGET" => {
            let (key, names) = (&arguments[0], &arguments[1..]);
            Reply::Array(names.iter().map(|name| Reply::maybe(field(keys, key, name))).collect())
        }
        b"HGETALL" => Reply::Array(flat(keys, &arguments[0])),
        b"HSET" => hset(keys, &arguments[0], &arguments[1..]),
        b"HDEL" => hdel(keys, &arguments[0], &arguments[1..]),
        b"HSCAN" => Reply::Array(vec![Reply::text(&0), Reply::Array(flat(keys, &arguments[0]))]),
        b"XADD" => xadd(keys, &arguments[0], &arguments[1], &arguments[2..]),
        b"XRANGE" => xrange(keys, arguments),
        b"XTRIM" => xtrim(keys, arguments),
        other => panic!("the simulation has no {}", String::from_utf8_lossy(other)),
    }
}

fn time(keys: &Keyspace) -> Reply {
    let (seconds, ms) = (keys.now_ms.div_euclid(1_000), keys.now_ms.rem_euclid(1_000));
    Reply::Array(vec![Reply::text(&seconds), Reply::text(&(ms * 1_000))])
}

fn getex(keys: &mut Keyspace, arguments: &[Vec<u8>]) -> Reply {
    assert_eq!(arguments[1], b"EX");
    let until_ms = keys.now_ms + 1_000 * number(&arguments[2]);
    let Some(kept) = keys.get(&arguments[0]) else { return Reply::Null };
    kept.until_ms = Some(until_ms);
    Reply::maybe(keys.text(&arguments[0]))
}

fn set(keys: &mut Keyspace, arguments: &[Vec<u8>]) -> Reply {
    let [key, value, rest @ ..] = arguments else { panic!("SET has a key and a value") };
    let until_ms = match rest {
        [] => None,
        [how] if how == b"KEEPTTL" => keys.get(key).and_then(|kept| kept.until_ms),
        [how, seconds] if how == b"EX" => Some(keys.now_ms + 1_000 * number(seconds)),
        other => panic!("the simulation has no SET with {other:?}"),
    };
    keys.put(key, Value::Text(value.clone()), until_ms);
    Reply::Status("OK")
}

fn field(keys: &mut Keyspace, key: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    let fields = keys.hash(key)?;
    fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
}

/// Names and values in turn.
fn flat(keys: &mut Keyspace, key: &[u8]) -> Vec<Reply> {
    let fields = keys.hash(key).map(|fields| fields.clone()).unwrap_or_default();
    fields.into_iter().flat_map(|(name, value)| [Reply::Bulk(name), Reply::Bulk(value)]).collect()
}

fn hset(keys: &mut Keyspace, key: &[u8], pairs: &[Vec<u8>]) -> Reply {
    if keys.hash(key).is_none() {
        keys.put(key, Value::Hash(Vec::new()), None);
    }
    let fields = keys.hash(key).unwrap();
    let before = fields.len();
    for pair in pairs.chunks_exact(2) {
        match fields.iter_mut().find(|(known, _)| *known == pair[0]) {
            Some((_, value)) => value.clone_from(&pair[1]),
            None => fields.push((pair[0].clone(), pair[1].clone())),
        }
    }
    Reply::Int(i64::try_from(fields.len() - before).unwrap())
}

fn hdel(keys: &mut Keyspace, key: &[u8], names: &[Vec<u8>]) -> Reply {
    let Some(fields) = keys.hash(key) else { return Reply::Int(0) };
    let before = fields.len();
    fields.retain(|(name, _)| !names.contains(name));
    let gone = before - fields.len();
    if fields.is_empty() {
        keys.remove(key);
    }
    Reply::Int(i64::try_from(gone).unwrap())
}

fn xadd(keys: &mut Keyspace, key: &[u8], id: &[u8], fields: &[Vec<u8>]) -> Reply {
    let at = stream_id(id, 0);
    if keys.stream(key).is_none() {
        keys.put(key, Value::Stream(Stream::default()), None);
    }
    let stream = keys.stream(key).unwrap();
    if at <= stream.last {
        let text =
            "ERR The ID specified in XADD is equal or smaller than the target stream top item";
        return Reply::Error(text.to_owned());
    }
    let given = if at.0 == stream.last.0 { at.1 - stream.last.1 } else { at.1 };
    stream.last = at;
    stream.entries.insert(at, fields.to_vec());
    keys.events += given;
    Reply::Bulk(id.to_vec())
}

fn xrange(keys: &mut Keyspace, arguments: &[Vec<u8>]) -> Reply {
    let Some(stream) = keys.stream(&arguments[0]) else { return Reply::Array(Vec::new()) };
    let from = match arguments[1].as_slice() {
        b"-" => Bound::Unbounded,
        [b'(', id @ ..] => Bound::Excluded(stream_id(id, 0)),
        id => Bound::Included(stream_id(id, 0)),
    };
    let to = match arguments[2].as_slice() {
        b"+" => (u64::MAX, u64::MAX),
        id => stream_id(id, u64::MAX),
    };
    let count = arguments.get(4).map_or(usize::MAX, |it| usize::try_from(number(it)).unwrap());
    let is_empty = match from {
        Bound::Unbounded => false,
        Bound::Included(from) => from > to,
        Bound::Excluded(from) => from >= to,
    };
    if is_empty {
        return Reply::Array(Vec::new());
    }
    let entry = |(id, fields): (&StreamId, &Vec<Vec<u8>>)| {
        let fields = fields.iter().cloned().map(Reply::Bulk).collect();
        Reply::Array(vec![Reply::text(&format!("{}-{}", id.0, id.1)), Reply::Array(fields)])
    };
    let found = stream.entries.range((from, Bound::Included(to)));
    Reply::Array(found.take(count).map(entry).collect())
}

fn xtrim(keys: &mut Keyspace, arguments: &[Vec<u8>]) -> Reply {
    assert_eq!(arguments[1..3], [b"MINID".to_vec(), b"=".to_vec()]);
    let Some(stream) = keys.stream(&arguments[0]) else { return Reply::Int(0) };
    let kept = stream.entries.split_off(&stream_id(&arguments[3], 0));
    let gone = std::mem::replace(&mut stream.entries, kept);
    Reply::Int(i64::try_from(gone.len()).unwrap())
}

fn stream_id(text: &[u8], without_seq: u64) -> StreamId {
    let text = std::str::from_utf8(text).unwrap();
    match text.split_once('-') {
        Some((epoch, seq)) => (epoch.parse().unwrap(), seq.parse().unwrap()),
        None => (text.parse().unwrap(), without_seq),
    }
}

fn number(text: &[u8]) -> i64 {
    std::str::from_utf8(text).unwrap().parse().unwrap()
}
