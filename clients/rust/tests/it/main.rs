//! The client and the layer against the real service, through a network that loses replies.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as the tests do")]

mod client;
mod layer;
mod network;
mod service;

use std::time::Duration;

use headroom_client::Client;
use headroom_client::OnUnavailable;
use headroom_client::Policy;

use network::Network;
use service::Service;

/// Waits long, so that a busy machine changes nothing.
fn patient(on_unavailable: OnUnavailable) -> Policy {
    let (timeout, deadline) = (Duration::from_secs(30), Duration::from_mins(1));
    Policy { timeout, deadline, ..Policy::new(on_unavailable) }
}

/// A client that fails closed, behind a network of its own.
async fn connected(service: &Service) -> (Client, Network) {
    let network = Network::start(service.address()).await;
    let client = Client::new(&network.url, &service.key, patient(OnUnavailable::Closed));
    (client.unwrap(), network)
}

/// Units of a limit that are used and held.
async fn used(client: &Client, subject: &str, name: &str) -> (u64, u64) {
    let usage = client.usage(subject).await.unwrap();
    let limit = usage.limits.iter().find(|limit| limit.name == name).unwrap();
    (limit.used, limit.reserved)
}
