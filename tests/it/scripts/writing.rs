//! Which keys the scripts touch, and in which order they write.

use std::collections::BTreeSet;

use headroom::counters::Idempotency;
use headroom::counters::Operation;
use headroom::counters::Settlement;
use tokio::io::AsyncBufReadExt;
use tokio::io::AsyncWriteExt;
use tokio::io::BufReader;
use tokio::net::TcpStream;

use crate::support::lanes::Lanes;

/// What a script of Redis called: commands in lower case, each with its arguments.
struct Trace {
    /// The keys that the call declared.
    declared: BTreeSet<String>,
    /// What it did.
    commands: Vec<Vec<String>>,
}

/// Watches Redis with `MONITOR` while `act` runs, and answers one trace a script call.
async fn watch(lanes: &Lanes, act: impl Future<Output = ()>) -> Vec<Trace> {
    let stream = TcpStream::connect(("127.0.0.1", lanes.redis.port())).await.unwrap();
    let mut stream = BufReader::new(stream);
    stream.write_all(b"MONITOR\r\n").await.unwrap();
    let mut line = Vec::new();
    stream.read_until(b'\n', &mut line).await.unwrap();
    assert_eq!(line, b"+OK\r\n");
    act.await;
    let mut connection = lanes.connection.clone();
    let _: String = redis::cmd("ECHO").arg("the-end").query_async(&mut connection).await.unwrap();
    let mut traces: Vec<Trace> = Vec::new();
    loop {
        line.clear();
        stream.read_until(b'\n', &mut line).await.unwrap();
        let text = String::from_utf8_lossy(&line);
        let parts = parts(&text);
        let name = parts[0].to_ascii_lowercase();
        if text.contains(" lua] ") {
            traces.last_mut().unwrap().commands.push(parts);
        } else if name.starts_with("eval") {
            let count: usize = parts[2].parse().unwrap();
            let declared = parts[3..3 + count].iter().cloned().collect();
            traces.push(Trace { declared, commands: Vec::new() });
        } else if name == "echo" {
            return traces;
        }
    }
}

/// The quoted parts of a line of `MONITOR`, still escaped.
fn parts(line: &str) -> Vec<String> {
    let (mut parts, mut part, mut is_escaped) = (Vec::new(), None::<String>, false);
    for letter in line.chars() {
        match (&mut part, letter) {
            (None, '"') => part = Some(String::new()),
            (None, _) => {}
            (Some(_), '"') if !is_escaped => parts.extend(part.take()),
            (Some(text), letter) => {
                is_escaped = letter == '\\' && !is_escaped;
                text.push(letter);
            }
        }
    }
    parts
}

/// The keys of a command that the scripts use.
fn keys_of(command: &[String]) -> &[String] {
    match command[0].to_ascii_lowercase().as_str() {
        "time" => &[],
        "mget" => &command[1..],
        _ => &command[1..2],
    }
}

/// Everything that the scripts do to a shard: load, consume, check, replay, refusal, window, settle, fence, open.
async fn everything(lanes: &Lanes) {
    let levels = ["org:acme", "org:acme/user:u_1"];
    lanes.load(&levels, 0).await;
    let charged = |max| vec![lanes.line(1, "messages", max), lanes.line(2, "messages", Some(9))];
    let keyed = || {
        let order = Lanes::consume(levels[1], charged(Some(9)));
        let idempotency = Some(Idempotency { key_hash: [7; 16], fingerprint: [1; 8] });
        Operation { idempotency, ..order }
    };
    for order in [keyed(), keyed(), Lanes::consume(levels[1], charged(Some(0)))] {
        lanes.submit(order).await;
    }
    lanes.submit(Lanes::check(levels[1], charged(None))).await;
    lanes.submit(Operation { since_seq: Some(0), ..keyed() }).await;
    let forget = [levels[0].to_owned()];
    let order = Settlement { shard: 0, epoch: 1, cursor_seq: 1, trim_seq: 1, forget: &forget };
    assert_eq!(lanes.counters.settle(&order).await.unwrap(), None);
    lanes.open(&lanes.counters, 2).await;
}

/// Guards the rule that every key is in `KEYS`: whatever a script does, it touches no key that its call does not
/// declare, and all keys of a call have one hash tag.
#[tokio::test]
async fn the_scripts_touch_only_the_keys_that_are_declared() {
    let lanes = Lanes::start().await;

    let traces = Box::pin(watch(&lanes, everything(&lanes))).await;

    assert!(traces.len() >= 9, "{}", traces.len());
    for trace in &traces {
        assert!(
            trace.declared.iter().all(|key| key.starts_with("hr:{0}:")),
            "{:?}",
            trace.declared
        );
        for command in &trace.commands {
            let undeclared = keys_of(command).iter().find(|key| !trace.declared.contains(*key));
            assert_eq!(undeclared, None, "{command:?}");
        }
    }
}

/// Guards promise 3: the event is the first thing that a consume writes, so that no counter can be ahead of the outbox;
/// what comes after cannot fail.
#[tokio::test]
async fn the_event_is_written_before_anything_else() {
    const READS: [&str; 5] = ["time", "hmget", "mget", "xrange", "hget"];
    let lanes = Lanes::start().await;
    lanes.load(&["user:u_1"], 0).await;
    let order = Lanes::consume("user:u_1", vec![lanes.line(1, "messages", Some(9))]);
    let idempotency = Some(Idempotency { key_hash: [7; 16], fingerprint: [1; 8] });
    let order = Operation { idempotency, ..order };

    let traces = watch(&lanes, async {
        lanes.submit(order).await;
    })
    .await;

    let trace = traces.into_iter().rfind(|trace| !trace.commands.is_empty()).unwrap();
    let names = trace.commands.iter().map(|command| command[0].to_ascii_lowercase());
    let writes: Vec<String> = names.filter(|name| !READS.contains(&name.as_str())).collect();
    assert_eq!(writes, ["xadd", "set", "hset", "hset", "set"]);
}
