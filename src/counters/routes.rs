//! Which server decides for a shard now.
//!
//! What is known is used until a server shows that it may be wrong: by a redirection, by refusing writes, by not answering.
//! Then somebody who knows is asked, by one caller for all, and not again before [`LOOK_PAUSE`].

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use std::time::Instant;

use redis::ConnectionInfo;
use redis::RedisError;

use super::cluster;
use super::error::CountersError;
use super::error::Redirect;
use super::error::may_be_replaced;
use super::error::redirect;
use super::link::Link;
use super::opener::Opener;
use super::place::Address;
use super::place::Place;
use super::place::RedisOptions;
use super::place::connection_info;
use super::sentinel::Sentinels;
use super::server::Server;

/// The pause between two looks for who decides.
const LOOK_PAUSE: Duration = Duration::from_millis(100);
/// Those who may know are asked in turn; so many of them, when they do not answer, fit into the connect time-out.
pub(super) const SILENT_MAX: u32 = 3;

/// Who knows which server decides.
enum Guide {
    /// There is one server, wherever its address leads.
    Nobody,
    Sentinels(Sentinels),
    /// The servers of the cluster themselves, of which these are always known.
    Cluster(Vec<Address>),
}

/// The servers, and which of them decides for which shard.
pub(super) struct Routes {
    guide: Guide,
    /// What opens every server but for its address.
    login: ConnectionInfo,
    options: RedisOptions,
    generations: Arc<AtomicU64>,
    /// One a shard; `None` while it is not known.
    primaries: RwLock<Vec<Option<Arc<Server>>>>,
    servers: Mutex<HashMap<Address, Arc<Server>>>,
    look: tokio::sync::Mutex<Look>,
}

/// The last look.
#[derive(Default)]
pub(super) struct Look {
    at: Option<Instant>,
    /// Who is asked first the next time.
    pub(super) next: usize,
    /// The failovers that the last sentinel to be believed knew of.
    pub(super) epoch: u64,
    /// The servers that the cluster told of.
    pub(super) known: Vec<Address>,
}

impl Routes {
    /// Prepares the ways to the shards, without connecting.
    pub(super) fn new(options: &RedisOptions, shards: u16) -> Result<Self, CountersError> {
        let generations = Arc::new(AtomicU64::new(0));
        let (guide, login) = match &options.place {
            Place::Single(url) => (Guide::Nobody, connection_info(url)?),
            Place::Sentinel { urls, primary, login } => {
                let link = |url: &String| {
                    let info = connection_info(url)?;
                    let opener = Opener::new(info, options, 1);
                    Ok(Link::new(opener, generations.clone()))
                };
                let links = urls.iter().map(link).collect::<Result<_, CountersError>>()?;
                (Guide::Sentinels(Sentinels::new(links, primary)), connection_info(login)?)
            }
            Place::Cluster(urls) => cluster_guide(urls)?,
            Place::InProcess(_) => (Guide::Nobody, connection_info("redis://in-process")?),
        };
        let single = matches!(guide, Guide::Nobody)
            .then(|| Arc::new(Server::new(&login, options, &generations)));
        Ok(Self {
            guide,
            login,
            options: options.clone(),
            generations,
            primaries: RwLock::new(vec![single; usize::from(shards)]),
            servers: Mutex::default(),
            look: tokio::sync::Mutex::default(),
        })
    }

    /// Whether shards may move from server to server over connections that stay open.
    pub(super) const fn is_cluster(&self) -> bool {
        matches!(self.guide, Guide::Cluster(_))
    }

    /// The server that decides for the shard. Waits at most the connect time-out.
    ///
    /// # Errors
    ///
    /// [`CountersError::Unavailable`] when nobody who answers knows it.
    pub(super) async fn primary(&self, shard: u16) -> Result<Arc<Server>, CountersError> {
        if let Some(server) = self.known(shard) {
            return Ok(server);
        }
        let mut look = self.look.lock().await;
        if let Some(server) = self.known(shard) {
            return Ok(server);
        }
        if look.at.is_some_and(|at| at.elapsed() < LOOK_PAUSE) {
            return Err(CountersError::away(None));
        }
        self.find(&mut look).await?;
        self.known(shard).ok_or(CountersError::away(None))
    }

    /// Asks the sentinels whether the primary is still the same: connections to one that was replaced may stay open for
    /// seconds, and what is written over them is lost. A cluster tells by itself.
    ///
    /// # Errors
    ///
    /// As [`Routes::primary`]; what was known before stays.
    pub(super) async fn follow(&self) -> Result<(), CountersError> {
        match self.guide {
            Guide::Sentinels(_) => self.find(&mut *self.look.lock().await).await,
            Guide::Nobody | Guide::Cluster(_) => Ok(()),
        }
    }

    async fn find(&self, look: &mut Look) -> Result<(), CountersError> {
        look.at = Some(Instant::now());
        let found = tokio::time::timeout(self.options.connect_timeout, self.look(look)).await;
        self.put(found.map_err(|_| CountersError::away(None))?.map_err(CountersError::away)?);
        Ok(())
    }

    /// All servers that decide, each once.
    ///
    /// # Errors
    ///
    /// As [`Routes::primary`].
    pub(super) async fn primaries(&self) -> Result<Vec<Arc<Server>>, CountersError> {
        let mut servers: Vec<Arc<Server>> = Vec::new();
        for shard in 0..self.shard_count() {
            let server = self.primary(shard).await?;
            if !servers.iter().any(|known| Arc::ptr_eq(known, &server)) {
                servers.push(server);
            }
        }
        Ok(servers)
    }

    /// Takes in what a server answered in place of deciding. The server to ask for this once, when there is one.
    pub(super) fn learn(
        &self,
        shard: u16,
        server: &Arc<Server>,
        error: &RedisError,
    ) -> Option<Arc<Server>> {
        let address = |text| Address::parse(text, server.address.as_ref());
        match redirect(error) {
            _ if !self.is_cluster() && !may_be_replaced(error) => {}
            Some(Redirect::Ask(text)) => return address(text).map(|to| self.server_at(&to)),
            Some(Redirect::Moved(text)) => {
                let to = address(text).map(|to| self.server_at(&to));
                tracing::debug!(shard, to = text, "a shard has moved");
                self.write(|primaries| primaries[usize::from(shard)] = to);
            }
            None if may_be_replaced(error) => self.suspect(server),
            None => {}
        }
        None
    }

    /// Asks anew who decides before the server is used again.
    fn suspect(&self, server: &Arc<Server>) {
        if matches!(self.guide, Guide::Nobody) {
            return;
        }
        self.write(|primaries| {
            for known in primaries.iter_mut() {
                known.take_if(|known| Arc::ptr_eq(known, server));
            }
        });
    }

    async fn look(&self, look: &mut Look) -> Result<Vec<Option<Arc<Server>>>, Option<RedisError>> {
        let (wait, shards) = (self.options.connect_timeout / SILENT_MAX, self.shard_count());
        match &self.guide {
            Guide::Nobody => Err(None),
            Guide::Sentinels(sentinels) => {
                let found =
                    sentinels.primary(look, wait, |address| self.server_at(address)).await?;
                Ok(vec![Some(found); usize::from(shards)])
            }
            Guide::Cluster(seeds) => {
                let map =
                    cluster::map(look, seeds, wait, |address| self.server_at(address)).await?;
                let owner = |shard| Some(self.server_at(map.owner(shard)?));
                Ok((0..shards).map(owner).collect())
            }
        }
    }

    /// The server at the address, which keeps its connections for as long as it is known.
    fn server_at(&self, address: &Address) -> Arc<Server> {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = servers.get(address) {
            return server.clone();
        }
        let info = address.info(&self.login);
        let server = Arc::new(Server::new(&info, &self.options, &self.generations));
        servers.insert(address.clone(), server.clone());
        server
    }

    /// Takes in what a look found, and drops the servers that decide nothing any more.
    fn put(&self, found: Vec<Option<Arc<Server>>>) {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        servers.retain(|_, server| found.iter().flatten().any(|used| Arc::ptr_eq(used, server)));
        drop(servers);
        let mut replaced = 0;
        self.write(|primaries| {
            let address = |server: &Option<Arc<Server>>| server.as_ref()?.address.clone();
            let pairs = primaries.iter().zip(&found);
            replaced = pairs.filter(|(old, new)| address(old) != address(new)).count();
            *primaries = found;
        });
        if replaced > 0 {
            tracing::info!(shards = replaced, "redis has other servers decide");
        }
    }

    fn known(&self, shard: u16) -> Option<Arc<Server>> {
        let primaries = self.primaries.read().unwrap_or_else(PoisonError::into_inner);
        primaries.get(usize::from(shard))?.clone()
    }

    fn shard_count(&self) -> u16 {
        let primaries = self.primaries.read().unwrap_or_else(PoisonError::into_inner);
        u16::try_from(primaries.len()).unwrap_or(u16::MAX)
    }

    /// Nothing that holds the lock can panic, so a poisoned one is as good.
    fn write(&self, change: impl FnOnce(&mut Vec<Option<Arc<Server>>>)) {
        change(&mut self.primaries.write().unwrap_or_else(PoisonError::into_inner));
    }
}

fn cluster_guide(urls: &[String]) -> Result<(Guide, ConnectionInfo), CountersError> {
    let infos = urls.iter().map(|url| connection_info(url)).collect::<Result<Vec<_>, _>>()?;
    let seeds: Vec<Address> = infos.iter().filter_map(Address::of_info).collect();
    let login = infos.into_iter().next();
    let login = login.ok_or_else(|| CountersError::Unfit("a cluster without a url".to_owned()))?;
    if login.redis_settings().db() != 0 {
        return Err(CountersError::Unfit("a cluster has the database 0 alone".to_owned()));
    }
    Ok((Guide::Cluster(seeds), login))
}
