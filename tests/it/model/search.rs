//! The breadth-first search: the first broken state it meets is one of the nearest.

use std::collections::HashSet;
use std::fmt;
use std::hash::BuildHasherDefault;
use std::hash::Hasher;

use super::bounds::Model;
use super::invariants::Broken;
use super::state::State;
use super::step::Step;

/// What a search found.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every reachable state was visited and keeps every promise.
    Holds { states: usize },
    /// A shortest way to a state that breaks a promise.
    Breaks(Trace),
}

/// A way to a broken state.
#[derive(PartialEq, Eq)]
pub struct Trace {
    pub broken: Broken,
    pub steps: Vec<String>,
}

impl fmt::Debug for Trace {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?} after {}", self.broken, self.steps.join(", "))
    }
}

/// A visited state and how it was reached.
struct Node {
    state: State,
    parent: usize,
    /// Absent for the initial state alone.
    step: Option<Step>,
}

impl Model {
    /// Visits every reachable state, the nearest first.
    pub fn search(&self) -> Outcome {
        let initial = State::initial(&self.bounds);
        let mut seen = HashSet::<State, BuildHasherDefault<FoldHasher>>::default();
        seen.insert(initial);
        let mut nodes = vec![Node { state: initial, parent: 0, step: None }];
        let mut steps = Vec::new();
        let mut visited = 0;
        while visited < nodes.len() {
            let state = nodes[visited].state;
            if let Some(broken) = self.broken(&state) {
                let steps = path(&nodes, visited);
                return Outcome::Breaks(Trace { broken, steps });
            }
            self.steps(&state, &mut steps);
            let unseen = steps.drain(..).filter(|(_, state)| seen.insert(*state));
            nodes.extend(unseen.map(|(step, state)| Node {
                state,
                parent: visited,
                step: Some(step),
            }));
            visited += 1;
        }
        Outcome::Holds { states: visited }
    }
}

fn path(nodes: &[Node], end: usize) -> Vec<String> {
    let mut steps = Vec::new();
    let mut at = &nodes[end];
    while let Some(step) = at.step {
        steps.push(step.to_string());
        at = &nodes[at.parent];
    }
    steps.reverse();
    steps
}

/// Folds the small fields of a state in a few instructions each: the default hasher, without
/// optimisation, takes most of the search's time. Equality is still that of the whole state.
#[derive(Default)]
struct FoldHasher(u64);

impl FoldHasher {
    fn fold(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

impl Hasher for FoldHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.fold(u64::from(*byte));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.fold(u64::from(value));
    }

    fn write_i8(&mut self, value: i8) {
        self.fold(u64::from(value.cast_unsigned()));
    }

    fn write_usize(&mut self, value: usize) {
        self.fold(value as u64);
    }

    fn finish(&self) -> u64 {
        // The table takes its bucket from the low bits, where a product mixes least.
        self.0 ^ (self.0 >> 32)
    }
}
