//! Why Redis gave no answer.

use redis::ErrorKind;
use redis::RedisError;
use redis::ServerErrorKind;

/// Why Redis gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum CountersError {
    /// Redis could not be reached, or answered that it does not execute commands now.
    #[error("redis is away")]
    Unavailable {
        /// Whether the command may have been executed all the same: the answer was lost, not the question.
        ambiguous: bool,
        /// What went wrong, when it was Redis or the network.
        #[source]
        source: Option<RedisError>,
    },
    /// More operations wait than the queue of a shard holds.
    #[error("the queue of the shard is full")]
    Overloaded,
    /// The lane of the shard has stopped: the service is shutting down.
    #[error("the lane has stopped")]
    Stopped,
    /// The outbox holds as many events as it may: Postgres has been away for too long.
    #[error("the outbox is full")]
    OutboxFull,
    /// Redis answered something that the scripts never answer.
    #[error("redis answered unexpectedly: {0}")]
    Protocol(String),
    /// Redis is configured in a way that would lose events.
    #[error("redis is not fit for use: {0}")]
    Unfit(String),
}

impl CountersError {
    /// No server that decides could be found or reached: nothing was executed.
    pub(super) const fn away(source: Option<RedisError>) -> Self {
        Self::Unavailable { ambiguous: false, source }
    }

    /// Sorts an error of the client by whether the command was executed: never, or perhaps.
    pub(super) fn of(error: RedisError) -> Self {
        match fate(&error) {
            Fate::NotExecuted => Self::Unavailable { ambiguous: false, source: Some(error) },
            Fate::Unknown => Self::Unavailable { ambiguous: true, source: Some(error) },
            Fate::Wrong => Self::Protocol(error.to_string()),
        }
    }

    /// Whether Redis refused because it takes no writes, as it does inside of `MULTI` with reads.
    pub(super) fn takes_no_writes(&self) -> bool {
        matches!(self, Self::Unavailable { source: Some(error), .. } if takes_no_writes(error))
    }

    /// An answer that cannot be read.
    pub(super) fn malformed(what: &str) -> Self {
        Self::Protocol(format!("{what} cannot be decoded"))
    }
}

/// What became of a command that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Redis said that it does not execute it now; the same command may be sent again.
    NotExecuted,
    /// The answer was lost; the same command may be sent again only if it can tell that it was executed.
    Unknown,
    /// Redis will say the same again.
    Wrong,
}

/// The codes with which Redis refuses a command before executing any of it.
const REFUSALS: [&str; 13] = [
    "BUSY",
    "MOVED",
    "ASK",
    "LOADING",
    "MASTERDOWN",
    "READONLY",
    "OOM",
    "MISCONF",
    "NOREPLICAS",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "MAXCLIENTS",
    "EXECABORT",
];

/// What became of the command that ended in `error`.
pub(super) fn fate(error: &RedisError) -> Fate {
    if error.is_connection_refusal() {
        return Fate::NotExecuted;
    }
    if let Some(code) = error.code()
        && REFUSALS.contains(&code)
    {
        return Fate::NotExecuted;
    }
    match error.kind() {
        ErrorKind::Io | ErrorKind::Parse => Fate::Unknown,
        _ if is_cut_off(error) => Fate::Unknown,
        _ => Fate::Wrong,
    }
}

/// Whether a script met a key that is elsewhere while it ran: its slot is being moved, or the cluster went down.
fn is_cut_off(error: &RedisError) -> bool {
    let texts = ["non local key", "while the cluster is down"];
    error.detail().is_some_and(|detail| texts.iter().any(|text| detail.contains(text)))
}

/// The error of a single command: what a pipeline or a transaction met first.
pub(super) fn plain(error: RedisError) -> RedisError {
    let first = error.clone().into_server_errors().and_then(|errors| errors.first().cloned());
    first.map_or(error, |(_, first)| first.into())
}

/// Whether the answer is lost, and with it the connection.
pub(super) fn is_lost(error: &RedisError) -> bool {
    fate(error) == Fate::Unknown && !is_cut_off(error)
}

/// Whether the connection ended, perhaps long before: no time-out, so the next attempt may follow at once.
pub(super) fn is_broken(error: &RedisError) -> bool {
    error.is_io_error() && !error.is_timeout() && !error.is_connection_refusal()
}

/// Whether Redis answers reads and refuses writes, and will do so until somebody makes room: its memory is full, or its
/// disk.
pub(super) fn takes_no_writes(error: &RedisError) -> bool {
    matches!(error.code(), Some("OOM" | "MISCONF"))
}

/// Whether the server is no longer the one that takes writes: another connection may lead to its successor.
pub(super) fn is_demoted(error: &RedisError) -> bool {
    let kinds = [
        ErrorKind::Server(ServerErrorKind::ReadOnly),
        ErrorKind::Server(ServerErrorKind::MasterDown),
    ];
    kinds.contains(&error.kind()) || matches!(error.code(), Some("READONLY" | "MASTERDOWN"))
}

/// Whether another server may decide now in place of the one that answered so, or did not answer.
pub(super) fn may_be_replaced(error: &RedisError) -> bool {
    error.is_io_error()
        || is_demoted(error)
        || matches!(error.code(), Some("LOADING" | "CLUSTERDOWN"))
}

/// Where a server of a cluster sends its callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Redirect<'a> {
    /// To the server that has the slot now, `host:port`.
    Moved(&'a str),
    /// For this once to the server that is being given the slot.
    Ask(&'a str),
}

/// The redirection that the error is, if it is one.
pub(super) fn redirect(error: &RedisError) -> Option<Redirect<'_>> {
    let (address, _slot) = error.redirect_node()?;
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::Ask) => Some(Redirect::Ask(address)),
        _ => Some(Redirect::Moved(address)),
    }
}

/// Whether the slot is being moved, and the keys of the command are in two places.
pub(super) fn is_in_two_places(error: &RedisError) -> bool {
    matches!(error.code(), Some("TRYAGAIN" | "EXECABORT"))
}

/// Whether the script cache of the server does not hold the script.
pub(super) fn is_no_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}
