//! The outbox: reading it, decoding its events, trimming it.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use crate::domain::Event;
use crate::domain::EventKind;
use crate::domain::Tally;
use crate::domain::event::Delta;
use crate::domain::event::Deltas;

use super::Counters;
use super::error::CountersError;
use super::group::Code;
use super::keys;
use super::line::Call;
use super::operation::ShardFault;
use super::pack::Unpacker;
use super::sheet::StoredSheet;
use super::sheet::read_sheet;

/// One outbox entry: the events of one call of the consume script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The epoch in which it was written.
    pub epoch: u64,
    /// The place of its last event.
    pub last_seq: u64,
    /// When it was written, Unix milliseconds; 0 when it cannot be decoded.
    pub written_at_ms: i64,
    /// The events, in order, or what stands there instead.
    pub events: Result<Vec<Event>, Undecodable>,
    /// Its size in bytes, without Redis' overhead.
    pub bytes: usize,
}

/// An entry that is not one of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undecodable {
    /// The fields, names and values, one after the other.
    pub raw: Vec<u8>,
    /// What is wrong.
    pub reason: String,
}

impl Entry {
    /// The place of its first event, when its events can be decoded.
    #[must_use]
    pub fn first_seq(&self) -> Option<u64> {
        let count = self.events.as_ref().ok()?.len() as u64;
        self.last_seq.checked_sub(count.checked_sub(1)?)
    }
}

/// What Redis has to do after a flush.
#[derive(Clone, Copy, Debug)]
pub struct Settlement<'a> {
    /// The shard.
    pub shard: u16,
    /// The cursor's epoch.
    pub epoch: u64,
    /// The cursor as it is committed.
    pub cursor_seq: u64,
    /// The last event to trim; at most `cursor_seq` (I4).
    pub trim_seq: u64,
    /// Levels whose counters may hold an event that Postgres dropped as a duplicate: they load again.
    pub forget: &'a [String],
}

/// A shard as Redis has it, and the entries after a cursor, read in one transaction.
#[derive(Clone, Debug)]
pub struct OutboxPage {
    /// The shard's epoch; `None` when Redis does not know the shard.
    pub epoch: Option<u64>,
    /// The last place given out.
    pub seq: u64,
    /// The last place trimmed.
    pub floor: u64,
    /// Whether the shard is fenced.
    pub is_fenced: bool,
    /// The entry that ends at the cursor, when it is not trimmed and was asked for.
    pub at_cursor: Option<Entry>,
    /// The entries after the cursor, oldest first, at most as many as were asked for.
    pub entries: Vec<Entry>,
}

/// Reads of a shard that changes meanwhile, which is refused its writes.
const UNCHANGED_READS_MAX: usize = 8;

/// What `HMGET` answers of a shard's state.
type Meta = Vec<Option<String>>;
/// What `XRANGE` answers: each entry's id, and its fields in order. Names are bytes, since poison may be anything.
pub(super) type Range = Vec<(String, Fields)>;
type Fields = Vec<(Vec<u8>, Vec<u8>)>;

impl Counters {
    /// Reads the shard's state, the entry that ends at (`epoch`, `after_seq`) and the first ones after it, in one `MULTI`.
    ///
    /// # Errors
    ///
    /// [`CountersError::Unavailable`] when Redis is away; read again.
    pub async fn read_outbox(
        &self,
        shard: u16,
        epoch: u64,
        after_seq: u64,
        entries_max: usize,
    ) -> Result<OutboxPage, CountersError> {
        let mut state = redis::cmd("HMGET");
        state.arg(keys::meta(shard)).arg(&["epoch", "seq", "floor", "fence"]);
        let mut range = redis::cmd("XRANGE");
        range.arg(keys::outbox(shard)).arg(format!("{epoch}-{after_seq}")).arg(epoch);
        range.arg("COUNT").arg(entries_max + 1);
        let mut pipe = redis::pipe();
        pipe.atomic().add_command(state.clone()).add_command(range.clone());
        let (meta, range) = match self.query(shard, &pipe).await {
            Err(error) if error.takes_no_writes() => {
                self.read_unchanged(shard, &state, &range).await?
            }
            answer => answer?,
        };
        let mut page = page(&meta, &range)?;
        if page.entries.first().is_some_and(|entry| entry.last_seq == after_seq) {
            page.at_cursor = Some(page.entries.remove(0));
        }
        page.entries.truncate(entries_max);
        Ok(page)
    }

    /// Reads without `MULTI`, inside of which a Redis at its memory's limit refuses reads, too: were they not to be had, the
    /// outbox that takes the memory could not be emptied. What is read counts when the shard is the same before and after.
    async fn read_unchanged(
        &self,
        shard: u16,
        state: &redis::Cmd,
        range: &redis::Cmd,
    ) -> Result<(Meta, Range), CountersError> {
        let mut pipe = redis::pipe();
        pipe.add_command(state.clone()).add_command(range.clone()).add_command(state.clone());
        for _ in 0..UNCHANGED_READS_MAX {
            let (before, range, after): (Meta, Range, Meta) = self.query(shard, &pipe).await?;
            if before == after {
                return Ok((before, range));
            }
        }
        Err(CountersError::away(None))
    }

    /// Reads entries of any epoch after the id, oldest first. `None` begins at the first.
    ///
    /// # Errors
    ///
    /// [`CountersError::Unavailable`] when Redis is away; read again.
    pub async fn read_entries(
        &self,
        shard: u16,
        after: Option<(u64, u64)>,
        entries_max: usize,
    ) -> Result<Vec<Entry>, CountersError> {
        let start = after.map_or_else(|| "-".to_owned(), |(epoch, seq)| format!("({epoch}-{seq}"));
        let mut command = redis::cmd("XRANGE");
        command.arg(keys::outbox(shard)).arg(start).arg("+").arg("COUNT").arg(entries_max);
        let range: Range = self.query(shard, &command).await?;
        range.iter().map(read_entry).collect()
    }

    /// Trims the outbox, and drops the subjects that Postgres counts differently. Returns why the shard cannot serve,
    /// if so.
    ///
    /// # Errors
    ///
    /// [`CountersError::Unavailable`] when Redis is away; settling again is safe.
    pub async fn settle(
        &self,
        order: &Settlement<'_>,
    ) -> Result<Option<ShardFault>, CountersError> {
        let shard = order.shard;
        let mut keys = vec![keys::meta(shard), keys::outbox(shard), keys::pending(shard)];
        keys.extend(order.forget.iter().map(|level| keys::subject(shard, level)));
        let arguments = [order.epoch, order.cursor_seq, order.trim_seq].map(|it| it.to_string());
        let script = &self.lanes.scripts.settle;
        let call = Call { script, keys: &keys, arguments: &arguments };
        let bytes: Vec<u8> = self.query(shard, &call).await?;
        let mut input = Unpacker::new(&bytes);
        input.array()?;
        Ok(fault_of(Code::read(input.count()?)?))
    }
}

/// The page that `HMGET meta epoch seq floor fence` and `XRANGE` make.
pub(super) fn page(meta: &[Option<String>], range: &Range) -> Result<OutboxPage, CountersError> {
    let number = |index: usize| meta.get(index)?.as_ref()?.parse::<u64>().ok();
    Ok(OutboxPage {
        epoch: number(0),
        seq: number(1).unwrap_or(0),
        floor: number(2).unwrap_or(0),
        is_fenced: meta.get(3).is_some_and(Option::is_some),
        at_cursor: None,
        entries: range.iter().map(read_entry).collect::<Result<_, _>>()?,
    })
}

/// The fault that a code stands for. An epoch that differs is found by the next read of the outbox.
pub(super) const fn fault_of(code: Code) -> Option<ShardFault> {
    match code {
        Code::Ok | Code::Behind | Code::WrongClock | Code::NeedsWhole => None,
        Code::Uninitialised => Some(ShardFault::Uninitialised),
        Code::Fenced => Some(ShardFault::Fenced),
        Code::OtherEpoch => Some(ShardFault::OlderEpoch),
        Code::Rollback => Some(ShardFault::Rollback),
    }
}

fn read_entry((id, fields): &(String, Fields)) -> Result<Entry, CountersError> {
    let parts =
        id.split_once('-').and_then(|(epoch, seq)| Some((epoch.parse().ok()?, seq.parse().ok()?)));
    let (epoch, last_seq) = parts.ok_or_else(|| CountersError::malformed("a stream id"))?;
    let bytes = fields.iter().map(|(name, value)| name.len() + value.len()).sum();
    let decoded = decode(last_seq, fields);
    let written_at_ms = decoded.as_ref().map_or(0, |(at, _)| *at);
    let events = decoded.map(|(_, events)| events).map_err(|error| Undecodable {
        raw: fields.iter().flat_map(|(name, value)| [name.as_slice(), value].concat()).collect(),
        reason: error.to_string(),
    });
    Ok(Entry { epoch, last_seq, written_at_ms, events, bytes })
}

fn decode(
    last_seq: u64,
    fields: &[(Vec<u8>, Vec<u8>)],
) -> Result<(i64, Vec<Event>), CountersError> {
    let field = |name: &str| {
        let found = fields.iter().find(|(known, _)| known == name.as_bytes());
        found
            .map(|(_, value)| value.as_slice())
            .ok_or_else(|| CountersError::malformed("an outbox entry without its fields"))
    };
    let mut head = Unpacker::new(field("h")?);
    let links = head.array()?.saturating_sub(2) as u64;
    let (written_at_ms, links_an_event) = (head.int()?, head.count()?);
    let count = links.checked_div(links_an_event).unwrap_or(0);
    let mut sheets = Sheets::read(field("s")?)?;
    let mut input = Unpacker::new(field("e")?);
    let mut events = Vec::new();
    // The last place of all has none after it, so places are counted from the one before the first.
    let mut seq = last_seq
        .checked_sub(count)
        .ok_or_else(|| CountersError::malformed("an outbox entry's count"))?;
    while !input.is_empty() && seq < last_seq {
        seq += 1;
        events.push(read_event(&mut input, seq, written_at_ms, &mut sheets)?);
    }
    if !input.is_empty() || seq != last_seq || count == 0 {
        return Err(CountersError::malformed("an outbox entry's events"));
    }
    Ok((written_at_ms, events))
}

/// What the deltas of an event follow from: its sheet's place, its amount, and until when a reserve holds.
type Charged = (usize, i64, Option<i64>);

/// The sheets of an entry, and what they charge for each amount that was asked.
struct Sheets {
    sheets: Vec<StoredSheet>,
    charged: HashMap<Charged, Arc<Deltas>>,
}

impl Sheets {
    /// Reads one packed sheet after the other.
    fn read(bytes: &[u8]) -> Result<Self, CountersError> {
        let mut input = Unpacker::new(bytes);
        let mut sheets = Vec::new();
        while !input.is_empty() {
            sheets.push(read_sheet(&mut input)?);
        }
        Ok(Self { sheets, charged: HashMap::new() })
    }

    /// What an event did. Events with the same answer share it.
    fn deltas(&mut self, charged: Charged) -> Result<Arc<Deltas>, CountersError> {
        if let Some(known) = self.charged.get(&charged) {
            return Ok(known.clone());
        }
        let malformed = || CountersError::malformed("an event's units");
        let (sheet, amount, held_until_s) = charged;
        let StoredSheet { plan, lines, is_made, late, overage } =
            self.sheets.get(sheet).ok_or_else(malformed)?;
        let times = if *is_made { 1 } else { amount };
        let lines = lines.iter().map(|line| {
            Ok(Delta {
                depth: line.depth,
                metric: line.metric.clone(),
                period: line.period,
                window: line.window,
                grant: line.grant,
                tally: held_until_s.map_or(line.tally, |until_s| Tally::Held { until_s }),
                units: line.units.checked_mul(times).ok_or_else(malformed)?,
                after: line.after,
                limit: line.limit_in_force(),
            })
        });
        let lines = lines.collect::<Result<Vec<_>, CountersError>>()?;
        let (late, overage) = (*late, *overage);
        let deltas = Arc::new(Deltas { plan: plan.clone(), lines, late, overage });
        self.charged.insert(charged, deltas.clone());
        Ok(deltas)
    }
}

/// How many values an event has that tells of a hold or of an earlier event.
const LENGTH_OF_A_HOLD: usize = 11;

fn read_event(
    input: &mut Unpacker<'_>,
    seq: u64,
    occurred_at_ms: i64,
    sheets: &mut Sheets,
) -> Result<Event, CountersError> {
    let malformed = || CountersError::malformed("an event");
    let length = input.array()?;
    let sheet = usize::try_from(input.count()?).map_err(|_| malformed())?;
    let code = u8::try_from(input.count()?).map_err(|_| malformed())?;
    let kind = EventKind::coded(code).ok_or_else(malformed)?;
    let event_id = Uuid::from_slice(input.bytes()?).map_err(|_| malformed())?;
    let subject = input.text()?.to_owned();
    let amount = input.count()?;
    let (model, request_id) = (input.maybe_text()?, input.maybe_text()?);
    let (trace_id, metadata) = (input.maybe_text()?, input.maybe_text()?);
    let (mut until_s, mut of) = (None, None);
    if length == LENGTH_OF_A_HOLD {
        until_s = Some(input.int()?).filter(|until_s| *until_s > 0);
        of = input.maybe()?.map(Uuid::from_slice).transpose().map_err(|_| malformed())?;
    }
    let held_until_s = until_s.filter(|_| kind == EventKind::Reserve);
    let charged = (sheet, i64::try_from(amount).map_err(|_| malformed())?, held_until_s);
    let deltas = sheets.deltas(charged)?;
    Ok(Event {
        seq,
        event_id,
        occurred_at_ms,
        kind,
        subject,
        model,
        amount,
        until_s,
        of,
        deltas,
        request_id,
        trace_id,
        metadata,
    })
}
