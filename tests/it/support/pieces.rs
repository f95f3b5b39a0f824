//! Parts of a node, for single steps of the protocol.

use std::time::Duration;

use headroom::counters::Counters;
use headroom::counters::GroupOptions;
use headroom::counters::GuardsOff;
use headroom::counters::RedisOptions;

use super::TestApp;

impl TestApp {
    /// Redis as a node has it, for single steps of the protocol. Its lanes do not run, so it decides nothing.
    pub fn counters(&self) -> Counters {
        let config = self.config();
        let redis = RedisOptions {
            url: config.redis.url.expose().to_owned(),
            connect_timeout: config.redis.connect_timeout(),
            response_timeout: config.redis.response_timeout(),
        };
        let options = GroupOptions {
            group_max: 64,
            idempotency_ttl: Duration::from_hours(1),
            idle_ttl: Duration::from_hours(1),
            outbox_events_max: config.quota.outbox_events_max,
        };
        let clock = self.clock.clone();
        let made =
            Counters::new(&redis, options, config.quota.shards, clock, &GuardsOff::default());
        made.unwrap().0
    }
}
