//! The outbox' codec, open to [`crate::fuzzing`].

use crate::domain::Event;

use super::field::Field;
use super::operation::Operation;
use super::outbox::page;
use super::pack::Packer;

/// The values of an entry's fields: `h`, `s` and `e`.
pub type Values = [Vec<u8>; 3];

/// The events of an entry that ends at `last_seq`; `None` when it cannot be decoded.
#[must_use]
pub fn read(last_seq: u64, values: Values) -> Option<Vec<Event>> {
    let names = ["h", "s", "e"].map(|name| name.as_bytes().to_vec());
    let fields = names.into_iter().zip(values).collect();
    let page = page(&[], &vec![(format!("1-{last_seq}"), fields)]).ok()?;
    page.entries.into_iter().next()?.events.ok()
}

/// The entry of one operation, as the script writes it when no level has an earlier event.
#[must_use]
pub fn write(written_at_ms: i64, operation: &Operation) -> Values {
    let depth = operation.sheet.sheet.depth;
    let mut head = Packer::default();
    head.array(2 + usize::from(depth)).int(written_at_ms).count(depth.into());
    for _ in 0..depth {
        head.count(0);
    }
    [head.finish(), operation.sheet.bytes.clone(), operation.pack_event(0)]
}

/// The counter of that name.
#[must_use]
pub fn field(name: &str) -> Option<Field> {
    Field::parse(name)
}
