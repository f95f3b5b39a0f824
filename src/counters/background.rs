//! Everything but decisions: over connections of its own, to the server that decides for the shard.

use std::sync::Arc;
use std::time::Duration;

use redis::Cmd;
use redis::FromRedisValue;
use redis::RedisError;
use redis::Value;

use super::Counters;
use super::error::CountersError;
use super::error::is_broken;
use super::error::is_demoted;
use super::error::is_in_two_places;
use super::error::redirect;
use super::line::Request;
use super::server::Server;

/// Attempts at a request that a redirection or a broken connection kept from being answered.
const ATTEMPTS_MAX: usize = 6;
/// The pause before another attempt.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

impl Counters {
    /// Sends what is about one shard, again when it was redirected or its connection had ended: what is asked here can be
    /// repeated.
    pub(super) async fn query<T: FromRedisValue>(
        &self,
        shard: u16,
        request: &impl Request,
    ) -> Result<T, CountersError> {
        let mut asked: Option<Arc<Server>> = None;
        let mut last = CountersError::away(None);
        for _ in 0..ATTEMPTS_MAX {
            let is_asking = asked.is_some();
            let server = match asked.take() {
                Some(server) => server,
                None => self.lanes.routes.primary(shard).await?,
            };
            let error = match server.background().send(request, is_asking).await {
                Ok(answer) => return read(answer),
                Err(error) => error,
            };
            asked = self.lanes.routes.learn(shard, &server, &error);
            let is_worth_another = is_worth_another(&error);
            last = CountersError::of(error);
            if !is_worth_another {
                break;
            }
            if asked.is_none() {
                self.lanes.clock.pause(RETRY_PAUSE).await;
            }
        }
        Err(last)
    }

    /// Asks every server that decides, at once.
    pub(super) async fn ask_all<T: FromRedisValue>(
        &self,
        command: &Cmd,
    ) -> Result<Vec<Result<T, CountersError>>, CountersError> {
        let servers = self.lanes.routes.primaries().await?;
        let asked = servers.iter().map(async |server| server.ask(command).await);
        let answers = futures_util::future::join_all(asked).await;
        Ok(answers.into_iter().map(|answer| answer.map_err(CountersError::of)).collect())
    }
}

fn is_worth_another(error: &RedisError) -> bool {
    redirect(error).is_some() || is_in_two_places(error) || is_demoted(error) || is_broken(error)
}

fn read<T: FromRedisValue>(answer: Value) -> Result<T, CountersError> {
    redis::from_redis_value(answer).map_err(|error| CountersError::of(error.into()))
}
