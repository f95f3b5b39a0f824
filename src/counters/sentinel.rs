//! Sentinels: who is the primary?

use std::sync::Arc;
use std::time::Duration;

use redis::ErrorKind;
use redis::RedisError;
use redis::RedisResult;
use redis::Value;

use super::link::Link;
use super::place::Address;
use super::routes::Look;
use super::server::Server;

/// The sentinels, and what they call the primary.
pub(super) struct Sentinels {
    links: Vec<Link>,
    primary: String,
}

impl Sentinels {
    pub(super) fn new(links: Vec<Link>, primary: &str) -> Self {
        Self { links, primary: primary.to_owned() }
    }

    /// The primary by the first sentinel that names one which believes it, too. They are asked in turn, each at most for
    /// `wait`; the next look begins with the next, so that none that is behind is asked for good.
    ///
    /// # Errors
    ///
    /// What the last one answered; nothing when it was silent.
    pub(super) async fn primary(
        &self,
        look: &mut Look,
        wait: Duration,
        server_at: impl Fn(&Address) -> Arc<Server> + Send + Sync,
    ) -> Result<Arc<Server>, Option<RedisError>> {
        let mut last = None;
        for _ in 0..self.links.len() {
            let link = &self.links[look.next % self.links.len()];
            look.next = look.next.wrapping_add(1);
            match tokio::time::timeout(wait, self.named_by(link, &server_at)).await {
                Ok(Ok(server)) => return Ok(server),
                Ok(Err(error)) => last = Some(error),
                Err(_silent) => last = None,
            }
        }
        Err(last)
    }

    /// The primary that the sentinel names. It is asked itself, since a sentinel may be behind.
    async fn named_by(
        &self,
        link: &Link,
        server_at: &(impl Fn(&Address) -> Arc<Server> + Send + Sync),
    ) -> RedisResult<Arc<Server>> {
        let mut question = redis::cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.primary);
        let answer: Option<(String, u16)> =
            redis::from_redis_value(link.send(&question, false).await?)?;
        let address = answer.and_then(|(host, port)| Address::of(&host, port, None));
        let Some(address) = address else {
            let kind = ErrorKind::MasterNameNotFoundBySentinel;
            return Err((kind, "the sentinel does not know the primary").into());
        };
        let server = server_at(&address);
        let role: Vec<Value> = server.ask(&redis::cmd("ROLE")).await?;
        let role = role.into_iter().next().map(redis::from_redis_value::<String>).transpose()?;
        if role.as_deref() == Some("master") {
            return Ok(server);
        }
        let kind = ErrorKind::MasterNameNotFoundBySentinel;
        Err((kind, "the server that the sentinel names is no primary").into())
    }
}
