//! Sentinels: who is the primary?

use std::collections::HashMap;
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

    /// The primary by the first sentinel that is not behind what another one said before, and that names one which agrees.
    /// They are asked in turn, each at most for `wait`; the next look begins with the next. When all of them are behind, they
    /// were set up anew, and the newest counts.
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
        let (mut last, mut behind) = (None, Vec::new());
        for _ in 0..self.links.len() {
            let link = &self.links[look.next % self.links.len()];
            look.next = look.next.wrapping_add(1);
            match tokio::time::timeout(wait, self.named_by(link, &server_at)).await {
                Ok(Ok((epoch, server))) if epoch >= look.epoch => {
                    look.epoch = epoch;
                    return Ok(server);
                }
                Ok(Ok(named)) => behind.push(named),
                Ok(Err(error)) => last = Some(error),
                Err(_silent) => last = None,
            }
        }
        let is_anew = behind.len() == self.links.len();
        let newest = behind.into_iter().max_by_key(|(epoch, _)| *epoch);
        let (epoch, server) = newest.filter(|_| is_anew).ok_or(last)?;
        look.epoch = epoch;
        Ok(server)
    }

    /// The primary that the sentinel names, and how many failovers it knows of. The primary is asked itself, too.
    async fn named_by(
        &self,
        link: &Link,
        server_at: &(impl Fn(&Address) -> Arc<Server> + Send + Sync),
    ) -> RedisResult<(u64, Arc<Server>)> {
        let mut questions = redis::pipe();
        questions.cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(&self.primary);
        questions.cmd("SENTINEL").arg("MASTER").arg(&self.primary);
        let answers = link.send(&questions, false).await?;
        let (address, facts): (Option<(String, u16)>, HashMap<String, String>) =
            redis::from_redis_value(answers)?;
        let epoch = facts.get("config-epoch").and_then(|text| text.parse().ok()).unwrap_or(0);
        let address = address.and_then(|(host, port)| Address::of(&host, port, None));
        let refused = |why| (ErrorKind::MasterNameNotFoundBySentinel, why);
        let unknown = || refused("the sentinel does not know the primary");
        let server = server_at(&address.ok_or_else(unknown)?);
        let role: Vec<Value> = server.ask(&redis::cmd("ROLE")).await?;
        let role = role.into_iter().next().map(redis::from_redis_value::<String>).transpose()?;
        if role.as_deref() == Some("master") {
            return Ok((epoch, server));
        }
        Err(refused("the server that the sentinel names is no primary").into())
    }
}
