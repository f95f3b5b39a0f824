//! Which mutants are noticed: what Redis says to recordings of the tests, or holds after them, is not as with the scripts as
//! they are.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use headroom::counters::Tampering;
use headroom::counters::script_texts;

use super::lua::Mutant;
use super::recording::Recording;
use super::twin::Silence;
use super::twin::Tape;
use super::twin::Texts;
use super::twin::Twin;
use super::twin::errors_in;

/// Servers that are used at once.
const AT_ONCE: usize = 2;

/// What became of a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Lua does not take it.
    Refused,
    /// It runs for ever.
    Hung,
    /// Something was different in a recording, of which this is the index.
    Killed(usize),
    /// Nothing was different.
    Survived,
}

/// The recordings that can be told again, and why others cannot.
pub fn usable(recordings: Vec<Recording>) -> (Vec<Recording>, Vec<String>) {
    let mut twin = Twin::start();
    twin.load(&script_texts(&Tampering::default())).unwrap();
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for recording in recordings {
        match play_twice(&mut twin, &Tape::new(&recording)) {
            Ok(_) => good.push(recording),
            Err(why) => bad.push(format!("{} {why}", recording.name)),
        }
    }
    (good, bad)
}

/// What Redis says to a recording, when that is the same again and no error.
fn play_twice(twin: &mut Twin, tape: &Tape) -> Result<Vec<u8>, String> {
    let [once, again] = [twin.play(tape), twin.play(tape)];
    let said = once.map_err(|_| "hangs".to_owned())?;
    if again.as_ref() != Ok(&said) {
        return Err("is not repeatable".to_owned());
    }
    let errors = errors_in(&said);
    let unknown = errors.iter().find(|error| !error.starts_with("-BADARG"));
    unknown.map_or(Ok(said), |error| Err(format!("is out of date: {error}")))
}

/// The recordings, and what the scripts as they are make of them.
pub struct Runner {
    tapes: Vec<Tape>,
    texts: Texts,
    expected: Vec<Vec<u8>>,
}

impl Runner {
    /// Panics when the scripts as they are fail, or do something else when they are asked again.
    pub fn new(recordings: &[Recording]) -> Self {
        let tapes: Vec<Tape> = recordings.iter().map(Tape::new).collect();
        let texts = script_texts(&Tampering::default());
        let mut twin = Twin::start();
        twin.load(&texts).unwrap();
        let mut expected = Vec::new();
        for tape in &tapes {
            let said = play_twice(&mut twin, tape);
            expected.push(said.unwrap_or_else(|why| panic!("{} {why}", tape.name)));
        }
        Self { tapes, texts, expected }
    }

    /// Tries mutants, two at once; their verdicts, in order.
    pub fn try_all(&self, mutants: &[Mutant]) -> Vec<Verdict> {
        let next = AtomicUsize::new(0);
        let mut found: Vec<(usize, Verdict)> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..AT_ONCE).map(|_| scope.spawn(|| self.work(mutants, &next))).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        found.sort_unstable_by_key(|(index, _)| *index);
        found.into_iter().map(|(_, verdict)| verdict).collect()
    }

    fn work(&self, mutants: &[Mutant], next: &AtomicUsize) -> Vec<(usize, Verdict)> {
        let mut twin = Twin::start();
        // What noticed one mistake often notices the next.
        let mut order: Vec<usize> = (0..self.tapes.len()).collect();
        let mut found = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(mutant) = mutants.get(index) else { return found };
            let verdict = self.try_one(&mut twin, mutant, &order);
            if let Verdict::Killed(tape) = verdict {
                order.retain(|other| *other != tape);
                order.insert(0, tape);
            }
            found.push((index, verdict));
        }
    }

    fn try_one(&self, twin: &mut Twin, mutant: &Mutant, order: &[usize]) -> Verdict {
        let changed = Some((mutant.file.clone(), mutant.text()));
        let texts = script_texts(&Tampering { changed, ..Tampering::default() });
        let pairs = texts.iter().zip(&self.texts);
        let names: Vec<_> = pairs.filter(|(one, other)| one != other).map(|(it, _)| it.0).collect();
        match twin.load(&texts) {
            Ok(()) => {}
            Err(Silence::Refused) => return Verdict::Refused,
            Err(Silence::Hung) => return Verdict::Hung,
        }
        for index in order.iter().filter(|index| self.tapes[**index].calls(&names)) {
            match twin.play(&self.tapes[*index]) {
                Ok(said) if said == self.expected[*index] => {}
                Ok(_) => return Verdict::Killed(*index),
                Err(_) => return Verdict::Hung,
            }
        }
        Verdict::Survived
    }
}
