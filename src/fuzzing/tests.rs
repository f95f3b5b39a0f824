//! The short form: the kept inputs, and mutations of them, always the same. `make fuzz` runs the long one.

use std::fs;
use std::path::Path;

use self::dice::Dice;
use super::*;

#[path = "../../torture/dice.rs"]
mod dice;

/// How many mutations each body sees.
const MUTATIONS: usize = 5_000;
const BYTES_MAX: usize = 4_096;

/// The inputs that are kept in the repository.
fn kept(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut paths: Vec<_> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// One to four changes: of a byte, a cut, a stretch of another input, a number at an end of its range.
fn mutated(inputs: &[&[u8]], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = dice.choose(inputs).to_vec();
    for _ in 0..=dice.below(4) {
        let other = dice.choose(inputs);
        let mut below = |end: usize| usize::try_from(dice.below(end as u64)).unwrap();
        let at = below(bytes.len() + 1);
        let length = below((bytes.len() - at).min(16) + 1);
        let from = below(other.len() + 1);
        let stretch = &other[from..(from + below(32)).min(other.len())];
        let byte = u8::try_from(below(256)).unwrap();
        match below(6) {
            0 => _ = bytes.get_mut(at).map(|it| *it ^= 1 << (byte % 8)),
            1 => _ = bytes.splice(at..at + length, []),
            2 => _ = bytes.splice(at..at + length, stretch.iter().copied()),
            3 => bytes.insert(at, byte),
            4 => _ = bytes.splice(at..at, [0xff; 8]),
            _ => _ = bytes.get_mut(at).map(|it| *it = byte),
        }
    }
    bytes.truncate(BYTES_MAX);
    bytes
}

fn hold_for_kept_inputs_and_mutations(name: &str) {
    let (_, body) = BODIES.into_iter().find(|(known, _)| *known == name).unwrap();
    let inputs = kept(name);
    assert!(inputs.len() >= 3, "{name} has inputs");
    for input in &inputs {
        body(input);
    }
    let inputs: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
    let mut dice = Dice::new(1);
    for _ in 0..MUTATIONS {
        body(&mutated(&inputs, &mut dice));
    }
}

#[test]
fn any_text_is_a_catalogue_that_reads_back_or_none() {
    hold_for_kept_inputs_and_mutations("catalogue");
}

#[test]
fn what_a_lane_packs_is_decoded_as_what_was_asked() {
    hold_for_kept_inputs_and_mutations("event");
}

#[test]
fn any_header_is_a_key_that_reads_back_or_none() {
    hold_for_kept_inputs_and_mutations("idempotency_key");
}

#[test]
fn any_entry_of_the_outbox_is_decoded_or_says_why_not() {
    hold_for_kept_inputs_and_mutations("outbox");
}

#[test]
fn only_what_was_signed_is_the_id_of_a_reservation() {
    hold_for_kept_inputs_and_mutations("reservation_id");
}

#[test]
fn any_text_is_a_subject_that_is_its_levels_or_none() {
    hold_for_kept_inputs_and_mutations("subject");
}

#[test]
fn any_header_tells_of_a_trace_that_reads_back_or_of_none() {
    hold_for_kept_inputs_and_mutations("traceparent");
}
