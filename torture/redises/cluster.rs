//! A cluster: three primaries, each with a replica.

use std::time::Duration;
use std::time::Instant;

use headroom::counters::keys;
use tokio::time::sleep;

use super::Member;
use crate::Failure;

pub(super) const MEMBERS: usize = 6;
pub(super) const PRIMARIES: usize = 3;
pub(super) const SETTINGS: [&str; 6] = [
    "--cluster-enabled",
    "yes",
    "--cluster-node-timeout",
    "1000",
    "--cluster-replica-validity-factor",
    "0",
];
/// The slots of the primaries. Those of the shards 1 and 0 are 9,842 and 13,907.
const SLOTS: [(&str, &str); PRIMARIES] = [("0", "9999"), ("10000", "16382"), ("16383", "16383")];
/// How far the port on which the servers talk among themselves is from the other.
const BUS: u16 = 10_000;
const JOIN_WITHIN: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(50);
/// Keys of a slot; far more than a run has.
const KEYS_MAX: usize = 100_000;

/// The settings of a server that is known by another port than its own.
pub(super) const fn announce(port: &str) -> [&str; 4] {
    ["--cluster-announce-ip", "127.0.0.1", "--cluster-announce-port", port]
}

/// Introduces everybody, and waits until all know all and replicas have their copies.
pub(super) async fn join(members: &[Member]) -> Result<(), Failure> {
    for (number, (first, last)) in SLOTS.iter().enumerate() {
        let epoch = (number + 1).to_string();
        members[number].tell(&["CLUSTER", "ADDSLOTSRANGE", first, last]).await?;
        members[number].tell(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]).await?;
    }
    for (number, member) in members.iter().enumerate() {
        let (port, bus) = (member.known_port().to_string(), (member.port() + BUS).to_string());
        for other in &members[..number] {
            other.tell(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]).await?;
        }
    }
    let began_at = Instant::now();
    for (number, replica) in members.iter().enumerate().skip(PRIMARIES) {
        let primary = id(&members[number % PRIMARIES]).await?;
        // Until the replica has heard of its primary.
        while replica.tell(&["CLUSTER", "REPLICATE", &primary]).await.is_err() {
            wait(began_at).await?;
        }
    }
    while !is_whole(members).await.unwrap_or(false) {
        wait(began_at).await?;
    }
    Ok(())
}

async fn wait(began_at: Instant) -> Result<(), Failure> {
    sleep(POLL).await;
    if began_at.elapsed() > JOIN_WITHIN { Err("no cluster comes about".into()) } else { Ok(()) }
}

async fn is_whole(members: &[Member]) -> Result<bool, Failure> {
    for (number, member) in members.iter().enumerate() {
        let info: String = member.ask(&["CLUSTER", "INFO"]).await?;
        let link: String = member.ask(&["INFO", "replication"]).await?;
        let nodes: String = member.ask(&["CLUSTER", "NODES"]).await?;
        let is_linked = number < PRIMARIES || link.contains("master_link_status:up");
        let is_known = nodes.matches("slave").count() == members.len() - PRIMARIES
            && !nodes.contains("handshake")
            && !nodes.contains("disconnected");
        if !info.contains("cluster_state:ok") || !is_linked || !is_known {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn id(member: &Member) -> Result<String, Failure> {
    member.ask(&["CLUSTER", "MYID"]).await
}

/// Moves the slot of a shard, key by key, as `redis-cli --cluster reshard` does. `false` when there is nowhere to move it.
pub(super) async fn move_shard(
    members: &[Member],
    shard: u16,
    from: usize,
    pick: u64,
) -> Result<bool, Failure> {
    let Some(to) = other_primary(members, from, pick).await else { return Ok(false) };
    let slot = keys::slot(shard).to_string();
    let (from, to) = (&members[from], &members[to]);
    let (old, new) = (id(from).await?, id(to).await?);
    to.tell(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &old]).await?;
    from.tell(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &new]).await?;
    let port = to.port().to_string();
    let mut connection = from.connect().await?;
    for _ in 0..KEYS_MAX {
        let words = ["CLUSTER", "GETKEYSINSLOT", &slot, "1"];
        let keys: Vec<Vec<u8>> = from.ask(&words).await?;
        let Some(key) = keys.first() else { break };
        let mut migrate = redis::cmd("MIGRATE");
        migrate.arg("127.0.0.1").arg(&port).arg("").arg(0).arg(2_000).arg("KEYS").arg(key);
        migrate.exec_async(&mut connection).await?;
    }
    for member in [to, from] {
        member.tell(&["CLUSTER", "SETSLOT", &slot, "NODE", &new]).await?;
    }
    Ok(true)
}

/// Another server that is a primary now.
async fn other_primary(members: &[Member], from: usize, pick: u64) -> Option<usize> {
    let mut primaries = Vec::new();
    for (number, member) in members.iter().enumerate().filter(|(number, _)| *number != from) {
        let info: String = member.ask(&["INFO", "replication"]).await.unwrap_or_default();
        if info.contains("role:master") {
            primaries.push(number);
        }
    }
    let place = usize::try_from(pick % primaries.len().max(1) as u64).ok()?;
    primaries.get(place).copied()
}
