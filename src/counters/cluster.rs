//! A cluster: which server has which slots?

use std::sync::Arc;
use std::time::Duration;

use redis::RedisError;
use redis::RedisResult;
use redis::Value;

use super::keys;
use super::place::Address;
use super::routes::Look;
use super::server::Server;

/// Servers that are remembered of a cluster, to be asked where the slots are.
const KNOWN_MAX: usize = 64;

/// Where the slots are, by one of the servers.
pub(super) struct SlotMap {
    /// The first slot, the last one, and who has them.
    ranges: Vec<(u16, u16, Address)>,
    servers: Vec<Address>,
}

impl SlotMap {
    /// The server that has the shard's slot.
    pub(super) fn owner(&self, shard: u16) -> Option<&Address> {
        let slot = keys::slot(shard);
        let range = self.ranges.iter().find(|(first, last, _)| (*first..=*last).contains(&slot));
        range.map(|(_, _, address)| address)
    }

    /// Reads what `CLUSTER SLOTS` answers: for each range its ends, its primary and its replicas.
    fn read(ranges: Vec<Vec<Value>>, told_by: Option<&Address>) -> RedisResult<Self> {
        let mut map = Self { ranges: Vec::new(), servers: Vec::new() };
        for range in ranges {
            let mut parts = range.into_iter();
            let mut number = || redis::from_redis_value(parts.next().unwrap_or(Value::Nil));
            let (first, last): (u16, u16) = (number()?, number()?);
            let servers = parts.map(|part| read_server(part, told_by));
            let servers: Vec<_> = servers.collect::<RedisResult<_>>()?;
            let mut servers = servers.into_iter().flatten().peekable();
            map.ranges.extend(servers.peek().map(|primary| (first, last, primary.clone())));
            map.servers.extend(servers);
        }
        map.servers.sort_unstable_by(|a, b| (&a.host, a.port).cmp(&(&b.host, b.port)));
        map.servers.dedup();
        map.servers.truncate(KNOWN_MAX);
        Ok(map)
    }
}

/// A server is its host, its port, and more. Without a host it is where its teller is.
fn read_server(server: Value, told_by: Option<&Address>) -> RedisResult<Option<Address>> {
    let mut parts = redis::from_redis_value::<Vec<Value>>(server)?.into_iter();
    let host: Option<String> = redis::from_redis_value(parts.next().unwrap_or(Value::Nil))?;
    let port: u16 = redis::from_redis_value(parts.next().unwrap_or(Value::Nil))?;
    Ok(Address::of(host.as_deref().unwrap_or_default(), port, told_by))
}

/// Where the slots are, by the first server that answers. They are asked in turn, each at most for `wait`: those that are
/// known, then `seeds`. The next look begins with the next, so that none that is cut off from the others is asked for good.
///
/// # Errors
///
/// What the last one answered; nothing when it was silent.
pub(super) async fn map(
    look: &mut Look,
    seeds: &[Address],
    wait: Duration,
    server_at: impl Fn(&Address) -> Arc<Server> + Send + Sync,
) -> Result<SlotMap, Option<RedisError>> {
    let unknown = seeds.iter().filter(|seed| !look.known.contains(seed));
    let all: Vec<Address> = look.known.iter().chain(unknown).cloned().collect();
    let mut last = None;
    for _ in 0..all.len() {
        let server = server_at(&all[look.next % all.len()]);
        look.next = look.next.wrapping_add(1);
        match tokio::time::timeout(wait, told_by(&server)).await {
            Ok(Ok(map)) => {
                look.known.clone_from(&map.servers);
                return Ok(map);
            }
            Ok(Err(error)) => last = Some(error),
            Err(_silent) => last = None,
        }
    }
    Err(last)
}

async fn told_by(server: &Server) -> RedisResult<SlotMap> {
    let mut question = redis::cmd("CLUSTER");
    question.arg("SLOTS");
    SlotMap::read(server.ask(&question).await?, server.address.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn range(first: i64, last: i64, servers: &[(Value, i64)]) -> Vec<Value> {
        let server = |(host, port): &(Value, i64)| {
            Value::Array(vec![host.clone(), Value::Int(*port), text("an id")])
        };
        let ends = [Value::Int(first), Value::Int(last)];
        ends.into_iter().chain(servers.iter().map(server)).collect()
    }

    #[test]
    fn a_shard_is_where_its_slot_is() {
        let told_by = Address { host: "own".to_owned(), port: 1 };
        let ranges = vec![
            range(0, 5_460, &[(text("a"), 7), (text("b"), 8)]),
            range(5_461, 10_922, &[(Value::Nil, 9)]),
        ];

        let map = SlotMap::read(ranges, Some(&told_by)).unwrap();

        let owner = |shard| map.owner(shard).map(|it| (it.host.as_str(), it.port));
        // The slots of 0, 2 and 3 are 13907, 5649 and 1584.
        assert_eq!((owner(0), owner(2), owner(3)), (None, Some(("own", 9)), Some(("a", 7))));
        assert_eq!(map.servers.len(), 3);
    }

    #[test]
    fn an_answer_that_is_none_is_an_error() {
        assert!(SlotMap::read(vec![vec![text("x")]], None).is_err());
    }
}
