//! A slot that is being moved: its keys are in two places, and those that are in neither can be made nowhere.
//!
//! One such key has Redis refuse the whole group. A move of milliseconds is waited for; in a longer one each request is
//! tried alone, so that a new subject or a new idempotency key holds up nobody but itself.

use std::time::Duration;
use std::time::Instant;

use super::error::CountersError;
use super::lane::Lane;
use super::lane::Ticket;
use super::lane::answer_unavailable;
use super::lane::deliver;
use super::lane::fail;

/// How long groups wait for a move.
const PATIENCE: Duration = Duration::from_millis(100);
/// After this long without a refusal the next one is taken for that of another move.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(1);
/// The server that has the slot, and the one that it sends to.
const SERVERS: usize = 2;

/// A move, as far as its refusals tell.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moving {
    began_at: Instant,
    seen_at: Instant,
}

impl Lane {
    /// Takes in that a group was refused because of a move. Whether it was waited for long enough.
    pub(super) fn is_long_moving(&mut self) -> bool {
        let now = Instant::now();
        let known = self.moving.filter(|it| now - it.seen_at < FORGOTTEN_AFTER);
        let began_at = known.map_or(now, |it| it.began_at);
        self.moving = Some(Moving { began_at, seen_at: now });
        now - began_at > PATIENCE
    }

    /// Tries each request alone, and answers all.
    pub(super) async fn serve_one_by_one(&mut self, group: Vec<Ticket>) {
        for ticket in group {
            self.serve_alone(ticket).await;
        }
    }

    async fn serve_alone(&mut self, ticket: Ticket) {
        let mut alone = vec![ticket];
        let mut last = (false, None);
        for _ in 0..SERVERS {
            let sight = self.shard.sight();
            match self.attempt(&mut alone).await {
                Ok(reply) => return deliver(reply, sight, alone),
                Err(CountersError::Unavailable { ambiguous, source }) => last = (ambiguous, source),
                Err(error) => return fail(&error, alone),
            }
            if self.asked.is_none() {
                break;
            }
        }
        let (ambiguous, source) = last;
        answer_unavailable(alone, ambiguous, source.as_ref());
    }
}
