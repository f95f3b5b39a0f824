//! Mistakes are put into the scripts, one at a time, and have to be noticed: every line dropped, neighbours swapped, numbers
//! off by one, operators turned. `docs/MUTATIONS.md` says what that shows and what it does not.
//!
//! | file | holds |
//! |---|---|
//! | `lua.rs`, `tokens.rs`, `swaps.rs` | the mutants |
//! | `recording.rs`, `recordings.zst` | what the tests told Redis |
//! | `twin.rs`, `frame.lua`, `state.lua` | a Redis to which that is told again |
//! | `run.rs` | which mutants are noticed |
//! | `survivors.toml` | those that cannot be noticed, and why |
//! | `beside.rs` | whether the tests that were recorded notice them, too |

#![allow(clippy::print_stdout, reason = "whoever runs all mutants wants the table")]

mod beside;
pub mod lua;
mod recording;
mod run;
mod swaps;
mod tokens;
mod twin;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::path::Path;

use headroom::counters::Tampering;
use headroom::counters::script_texts;
use serde::Deserialize;

use crate::random::Dice;
use lua::Mutant;
use recording::Recording;
use run::Runner;
use run::Verdict;

const RECORDINGS: &str = "tests/it/mutants/recordings.zst";
const SURVIVORS: &str = "tests/it/mutants/survivors.toml";
/// As small as it gets: it is read often and written seldom.
const COMPRESSION: i32 = 19;
/// Mutants that are tried unless `HEADROOM_MUTANTS` says how many, `all`, `unseen`, or `of:TEXT`.
const SAMPLE: usize = 80;
/// Of the mutants in a sample.
const SEED: u64 = 7;

/// Mutants that are not noticed.
#[derive(Deserialize)]
struct Survivors {
    /// They do what the scripts do, as far as anybody can see.
    equivalent: Vec<Group>,
    /// They do something else, which no recording shows.
    #[serde(default)]
    unseen: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    why: String,
    mutants: Vec<String>,
}

#[expect(clippy::disallowed_methods, reason = "a setting of this test, not of the service")]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Guards that each line of the scripts is needed, and that a test reaches it and sees what it does. Every run has the same
/// sample; `make mutants-lua` tries all.
#[test]
fn a_mistake_in_a_script_is_noticed_unless_it_is_known_to_change_nothing() {
    let known = names_in(&survivors());
    let recordings = setting("HEADROOM_MUTANTS_RECORDED").map_or_else(read, |from| gather(&from));
    let mutants = chosen(lua::mutants());

    let verdicts = Runner::new(&recordings).try_all(&mutants);

    report(&mutants, &verdicts);
    if setting("HEADROOM_MUTANTS_RECORDED").is_some() {
        let before = if wanted() == "all" { Vec::new() } else { read() };
        keep(before, recordings, &verdicts);
    }
    if let Some(count) = setting("HEADROOM_MUTANTS_BESIDE") {
        beside::run(&mutants, &verdicts, count.parse().unwrap());
    }
    let survived = |(_, verdict): &(&Mutant, &Verdict)| **verdict == Verdict::Survived;
    let names = |(mutant, _): (&Mutant, &Verdict)| mutant.name.clone();
    let survivors: BTreeSet<_> =
        mutants.iter().zip(&verdicts).filter(survived).map(names).collect();
    let tried: BTreeSet<_> = mutants.iter().map(|mutant| mutant.name.clone()).collect();
    let expected: BTreeSet<_> = known.intersection(&tried).cloned().collect();
    let new: Vec<_> = survivors.difference(&expected).collect();
    let gone: Vec<_> = expected.difference(&survivors).collect();
    assert!(new.is_empty(), "nobody noticed\n{new:#?}");
    assert!(gone.is_empty(), "known to change nothing, and noticed\n{gone:#?}");
}

/// Every line of the list of survivors is a mutant that there is, once, under an argument.
#[test]
fn the_list_of_survivors_names_mutants_that_there_are() {
    let all: BTreeSet<String> = lua::mutants().into_iter().map(|mutant| mutant.name).collect();
    let known = names_in(&survivors());
    let unknown: Vec<_> = known.into_iter().filter(|it| !all.contains(it)).collect();
    assert_eq!(unknown, Vec::<String>::new());
}

fn survivors() -> Survivors {
    toml::from_str(&std::fs::read_to_string(SURVIVORS).unwrap()).unwrap()
}

fn names_in(list: &Survivors) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for group in list.equivalent.iter().chain(&list.unseen) {
        assert!(group.why.len() > 20, "no argument for {:?}", group.mutants);
        for name in &group.mutants {
            assert!(names.insert(name.clone()), "{name} stands there twice");
        }
    }
    names
}

/// Which mutants are wanted.
fn wanted() -> String {
    setting("HEADROOM_MUTANTS").unwrap_or_else(|| SAMPLE.to_string())
}

/// All mutants, those that nothing has noticed yet, those whose names have a text in them, or a sample.
fn chosen(mut mutants: Vec<Mutant>) -> Vec<Mutant> {
    let wanted = wanted();
    if wanted == "unseen" {
        let unseen: BTreeSet<_> =
            survivors().unseen.into_iter().flat_map(|it| it.mutants).collect();
        mutants.retain(|mutant| unseen.contains(&mutant.name));
        return mutants;
    }
    if let Some(text) = wanted.strip_prefix("of:") {
        mutants.retain(|mutant| mutant.name.contains(text));
        return mutants;
    }
    if wanted == "all" {
        return mutants;
    }
    let mut dice = Dice::new(SEED);
    let count = wanted.parse::<usize>().unwrap().min(mutants.len());
    let left = mutants.len() - count;
    for _ in 0..left {
        let out = usize::try_from(dice.below(mutants.len() as u64)).unwrap();
        mutants.swap_remove(out);
    }
    mutants
}

/// The recordings that are kept.
fn read() -> Vec<Recording> {
    let text = zstd::decode_all(std::fs::File::open(RECORDINGS).unwrap()).unwrap();
    recording::of_text(std::str::from_utf8(&text).unwrap())
}

/// What tests wrote down under `HEADROOM_TEST_RECORD`, the shortest first.
fn gather(folder: &str) -> Vec<Recording> {
    let texts = script_texts(&Tampering::default());
    let pairs = texts.iter().map(|(name, text)| (recording::hash_of(text), (*name).to_owned()));
    let names: HashMap<_, _> = pairs.collect();
    let files = std::fs::read_dir(Path::new(folder)).unwrap().map(|entry| entry.unwrap().path());
    let recorded = files.filter_map(|path| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        recording::of_monitor(&name, &std::fs::read(&path).unwrap(), &names)
    });
    let mut recordings: Vec<_> = recorded.filter(|it| !it.steps.is_empty()).collect();
    recordings.sort_by_cached_key(|it| (it.bytes(), it.name.clone()));
    let (good, bad) = run::usable(recordings);
    println!("{} recordings; left out: {bad:#?}", good.len());
    good
}

/// Keeps the recordings that noticed something first, behind those that are kept already.
fn keep(before: Vec<Recording>, recordings: Vec<Recording>, verdicts: &[Verdict]) {
    let useful = |index: &usize| verdicts.contains(&Verdict::Killed(*index));
    let numbered = recordings.into_iter().enumerate();
    let useful = numbered.filter(|(index, _)| useful(index)).map(|(_, it)| it);
    let kept: Vec<_> = before.into_iter().chain(useful).collect();
    let text = recording::to_text(&kept);
    let packed = zstd::encode_all(text.as_bytes(), COMPRESSION).unwrap();
    println!("{} recordings of {} bytes kept, {} packed", kept.len(), text.len(), packed.len());
    std::fs::write(RECORDINGS, packed).unwrap();
}

/// Prints for each file how many mutants there were, and what became of them.
fn report(mutants: &[Mutant], verdicts: &[Verdict]) {
    let mut files: BTreeMap<&str, [usize; 5]> = BTreeMap::new();
    for (mutant, verdict) in mutants.iter().zip(verdicts) {
        let column = match verdict {
            Verdict::Refused => 1,
            Verdict::Killed(_) => 2,
            Verdict::Hung => 3,
            Verdict::Survived => 4,
        };
        for file in [mutant.file.as_str(), "together"] {
            let counts = files.entry(file).or_default();
            counts[0] += 1;
            counts[column] += 1;
        }
    }
    println!("| file | mutants | refused by Lua | noticed | ran for ever | not noticed |");
    println!("|---|---|---|---|---|---|");
    for (file, [all, refused, killed, hung, survived]) in files {
        println!("| `{file}` | {all} | {refused} | {killed} | {hung} | {survived} |");
    }
}
