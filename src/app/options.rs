//! What the configuration means to each part.

use std::time::Duration;

use crate::config::Config;
use crate::config::RedisConfig;
use crate::config::StoreAway;
use crate::config::TransfersConfig;
use crate::counters::GroupOptions;
use crate::counters::Place;
use crate::counters::RedisOptions;
use crate::domain::GrantSource;
use crate::domain::Units;
use crate::ledger::LedgerOptions;
use crate::quota::Guards;
use crate::quota::QuotaOptions;
use crate::quota::TransferPolicy;

/// How Postgres is reached.
#[must_use]
pub fn ledger_options(config: &Config) -> LedgerOptions {
    LedgerOptions {
        url: config.postgres.url.expose().to_owned(),
        pool_max: config.postgres.pool_max,
        connect_timeout_ms: config.postgres.connect_timeout_ms,
        statement_timeout_ms: config.postgres.statement_timeout_ms,
    }
}

pub(super) fn redis_options(config: &Config) -> RedisOptions {
    RedisOptions {
        place: place(&config.redis),
        connect_timeout: config.redis.connect_timeout(),
        response_timeout: config.redis.response_timeout(),
    }
}

fn place(config: &RedisConfig) -> Place {
    if !config.cluster_urls.is_empty() {
        return Place::Cluster(config.cluster_login_urls());
    }
    let login = config.login_url();
    if config.sentinel_urls.is_empty() {
        return Place::Single(login);
    }
    let urls = config.sentinel_urls.iter().map(str::to_owned).collect();
    Place::Sentinel { urls, primary: config.sentinel_primary.clone(), login }
}

pub(super) const fn group_options(config: &Config) -> GroupOptions {
    GroupOptions {
        group_max: config.quota.group_max,
        idempotency_ttl: Duration::from_secs(config.quota.idempotency_ttl_s),
        idle_ttl: Duration::from_secs(config.quota.subject_idle_ttl_s),
        outbox_events_max: config.quota.outbox_events_max,
    }
}

fn transfer_policy(config: &TransfersConfig) -> TransferPolicy {
    let daily_max = Units::new(config.daily_max).ok().filter(|most| *most > Units::ZERO);
    TransferPolicy {
        sources: config.sources().filter_map(GrantSource::named).collect(),
        amount_min: Units::new(config.amount_min).unwrap_or(Units::MAX),
        daily_max,
        giver_rest: config.giver_rest(),
        receiver_rest: config.receiver_rest(),
    }
}

pub(super) fn quota_options(config: &Config, guards: Guards) -> QuotaOptions {
    QuotaOptions {
        request_timeout: config.server.request_timeout(),
        store_away: match config.quota.store_away {
            StoreAway::Closed => crate::domain::StoreAway::Closed,
            StoreAway::Open => crate::domain::StoreAway::Open,
        },
        batch_events_max: config.flusher.batch_events_max,
        outbox_events_max: config.quota.outbox_events_max,
        trim_lag: Duration::from_secs(config.flusher.trim_lag_s),
        trim_bytes_max: config.flusher.trim_bytes_max,
        idempotency_ttl: Duration::from_secs(config.quota.idempotency_ttl_s),
        feed_keep: config.feed.keep(),
        transfers: transfer_policy(&config.transfers),
        guards,
    }
}
