//! A real Redis answers what the one in memory answers.

use std::collections::BTreeMap;

use headroom::counters::keys;
use headroom::embedded::RedisOptions;
use headroom::embedded::RedisServer;
use redis::Value;
use redis::aio::ConnectionLike;
use redis::aio::MultiplexedConnection;

use super::redis::Server;
use super::redis::reply;
use super::schedule::Exchange;
use super::schedule::Product;
use super::schedule::Schedule;
use super::with_timers;
use crate::support::stores;

/// What keys hold, in the forms in which commands answer it.
type Held = BTreeMap<Vec<u8>, Value>;

/// Guards the simulation: what its Redis answered in a schedule, byte for byte, and what it held in the end is what a real
/// one answers and holds. Scripts go by the last instant that was used where that is later than the clock, so the real one
/// can be given the instants of a schedule in the year 2100.
#[tokio::test]
async fn a_real_redis_answers_the_same_and_holds_the_same() {
    let folder = stores::open_folder();
    let options = RedisOptions { dir: folder.path().to_owned(), ..RedisOptions::default() };
    let mut server = RedisServer::start(options).await.unwrap();
    let mut real = stores::connect_redis(&server).await;
    let mut exchanges = 0;
    for seed in (1..30).step_by(2) {
        let (record, simulated) = std::thread::spawn(move || recorded(seed)).join().unwrap();
        exchanges += record.len();
        for command in [&["FLUSHALL"][..], &["SCRIPT", "FLUSH"]] {
            let bytes = command.iter().map(|it| it.as_bytes().to_vec()).collect::<Vec<_>>();
            send(&mut real, &bytes).await.unwrap();
        }
        for (place, exchange) in record.iter().enumerate() {
            let answers = ask(&mut real, exchange).await;
            let simulated = values(&exchange.answer, answers.len());
            assert_eq!(answers, simulated, "seed {seed}, exchange {place}");
        }
        // Records last for a time of their own, which passes in the simulation alone.
        let mut kept = held(&mut real).await;
        kept.retain(|key, _| simulated.contains_key(key) || !is_record(key));
        assert_eq!(kept, simulated, "seed {seed}");
    }
    assert!(exchanges > 1_000, "{exchanges} exchanges");
    server.stop().await.unwrap();
}

/// All that the Redis of a schedule was asked, and what it holds in the end. Nothing was done to it but by commands.
fn recorded(seed: u64) -> (Vec<Exchange>, Held) {
    with_timers(|| {
        let mut schedule = Schedule::new(seed, false, &Product::whole());
        schedule.mix.forget = 0;
        schedule.record = Some(Vec::new());
        schedule.run();
        schedule.judge().unwrap();
        let record = schedule.record.take().unwrap();
        (record, held_in(&mut schedule.redis))
    })
}

async fn ask(real: &mut MultiplexedConnection, exchange: &Exchange) -> Vec<Result<Value, String>> {
    let now = ["HSET", &keys::meta(0), "now", &exchange.now_ms.to_string()];
    send(real, &now.map(|part| part.as_bytes().to_vec())).await.unwrap();
    let mut answers = Vec::new();
    for command in reply::commands(&exchange.commands) {
        answers.push(send(real, &command).await);
    }
    answers
}

/// An answer, or the code of an error.
async fn send(real: &mut MultiplexedConnection, command: &[Vec<u8>]) -> Result<Value, String> {
    let mut request = redis::Cmd::new();
    request.arg(command);
    plain(real.req_packed_command(&request).await)
}

/// The same of so many answers as they came over the wire.
fn values(mut bytes: &[u8], count: usize) -> Vec<Result<Value, String>> {
    let mut parser = redis::Parser::new();
    (0..count).map(|_| plain(parser.parse_value(&mut bytes))).collect()
}

fn plain(answer: redis::RedisResult<Value>) -> Result<Value, String> {
    answer
        .and_then(Value::extract_error)
        .map_err(|error| error.code().unwrap_or("no code").to_owned())
}

/// What asks for the value of a key, by the key's name.
fn question(key: &[u8]) -> Vec<Vec<u8>> {
    let name = String::from_utf8_lossy(key);
    let words: &[&[u8]] = match name.rsplit_once('}').map(|(_, rest)| rest) {
        Some(":out") => &[b"XRANGE", key, b"-", b"+"],
        Some(":meta" | ":pend") => &[b"HGETALL", key],
        _ => &[b"GET", key],
    };
    words.iter().map(|word| word.to_vec()).collect()
}

async fn held(real: &mut MultiplexedConnection) -> Held {
    let mut held = Held::new();
    let names: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query_async(real).await.unwrap();
    for name in names {
        let value = send(real, &question(&name)).await.unwrap();
        held.insert(name, in_order(value));
    }
    held
}

fn held_in(server: &mut Server) -> Held {
    let names = server.image().names();
    let answer = |name: Vec<u8>| {
        let mut request = redis::Cmd::new();
        request.arg(question(&name));
        let value = values(&server.answer(&request.get_packed_command()), 1).remove(0);
        (name, in_order(value.unwrap()))
    };
    names.into_iter().map(answer).filter(|(_, value)| *value != Value::Nil).collect()
}

/// Whether the key is that of an answer or of a hold.
fn is_record(key: &[u8]) -> bool {
    let name = String::from_utf8_lossy(key);
    name.contains("}:i:") || name.contains("}:r:")
}

/// Fields of a hash have no order, and the last instant is what this test itself has set. A load writes the counters of a state
/// in the order of a table of Lua, which is not the same in two interpreters: of texts the bytes are compared in theirs.
fn in_order(value: Value) -> Value {
    if let Value::BulkString(mut bytes) = value {
        bytes.sort_unstable();
        return Value::BulkString(bytes);
    }
    let Value::Array(items) = value else { return value };
    if items.iter().any(|item| matches!(item, Value::Array(_))) {
        return Value::Array(items);
    }
    let is_now = |pair: &&[Value]| pair[0] == Value::BulkString(b"now".to_vec());
    let mut pairs: Vec<Vec<Value>> =
        items.chunks(2).filter(|pair| !is_now(pair)).map(<[Value]>::to_vec).collect();
    pairs.sort_by_key(|pair| format!("{:?}", pair[0]));
    Value::Array(pairs.into_iter().flatten().collect())
}
