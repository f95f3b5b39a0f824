//! The Lua scripts, and how one is called.

use redis::RedisResult;
use redis::aio::ConnectionLike;

use super::error::is_no_script;
use super::inline;

/// A part of a script: the name of its file, or none for what joins others, and its text.
type Part = (&'static str, &'static str);

macro_rules! file {
    ($name:literal) => {
        (concat!("lua/", $name), include_str!(concat!("../../lua/", $name)))
    };
}

const PRELUDE: Part = file!("lib/prelude.lua");
const LEVELS: Part = file!("lib/levels.lua");
const DECIDE: Part = file!("consume.lua");
/// For groups that look and add. One chunk, since Redis gives a script no other way to share locals.
const CONSUME: &[Part] = &[PRELUDE, LEVELS, DECIDE];
/// For all groups. What few requests need is one function, which makes theirs when it is called.
const CONSUME_WHOLE: &[Part] = &[
    PRELUDE,
    LEVELS,
    file!("lib/held.lua"),
    ("", "function make_rare_parts()"),
    file!("lib/claims.lua"),
    file!("lib/holds.lua"),
    file!("lib/charges.lua"),
    file!("lib/rewrites.lua"),
    ("", "end"),
    DECIDE,
];
const LOAD: &[Part] = &[PRELUDE, file!("load.lua")];
const SETTLE: &[Part] = &[PRELUDE, file!("settle.lua")];
const FENCE: &[Part] = &[PRELUDE, file!("fence.lua")];
const OPEN: &[Part] = &[PRELUDE, file!("open.lua")];
const PROBE: &[Part] = &[PRELUDE, file!("probe.lua")];
const PROFILE: &[Part] = &[PRELUDE, file!("profile.lua")];

/// Every script by its name.
const ALL: [(&str, &[Part]); 8] = [
    ("consume", CONSUME),
    ("consume_whole", CONSUME_WHOLE),
    ("load", LOAD),
    ("settle", SETTLE),
    ("fence", FENCE),
    ("open", OPEN),
    ("probe", PROBE),
    ("profile", PROFILE),
];

/// What a test does to the scripts, to show that it is noticed.
///
/// Empty in production; nothing but a test's own code can fill it.
#[doc(hidden)]
#[derive(Clone, Debug, Default)]
pub struct Tampering {
    /// Guards of the protocol that are taken out.
    pub guards_off: Vec<&'static str>,
    /// A file by its path, and the text that it has instead of its own.
    pub changed: Option<(String, String)>,
}

/// The text of every script as Redis gets it, by the script's name.
#[doc(hidden)]
#[must_use]
pub fn script_texts(tampering: &Tampering) -> Vec<(&'static str, String)> {
    ALL.iter().map(|(name, parts)| (*name, joined(parts, tampering))).collect()
}

/// A script and its SHA-1, under which Redis caches it.
#[derive(Clone, Debug)]
pub(super) struct Script {
    code: String,
    hash: String,
}

impl Script {
    fn new(parts: &[Part], tampering: &Tampering) -> Self {
        let code = joined(parts, tampering);
        let hash = redis::Script::new(&code).get_hash().to_owned();
        Self { code, hash }
    }

    /// Calls the script: `EVALSHA`, and `EVAL` on the same connection when the server does not know it (a restart, a
    /// failover or `SCRIPT FLUSH` makes it forget at any time).
    pub(super) async fn call<T, C>(
        &self,
        connection: &mut C,
        keys: &[impl AsRef<[u8]>],
        arguments: &[impl AsRef<[u8]>],
    ) -> RedisResult<T>
    where
        T: redis::FromRedisValue,
        C: ConnectionLike + Send,
    {
        let evalsha = command("EVALSHA", &self.hash, keys, arguments);
        match evalsha.query_async(connection).await {
            Err(error) if is_no_script(&error) => {
                let eval = command("EVAL", &self.code, keys, arguments);
                eval.query_async(connection).await
            }
            answer => answer,
        }
    }
}

fn command(
    name: &str,
    script: &str,
    keys: &[impl AsRef<[u8]>],
    arguments: &[impl AsRef<[u8]>],
) -> redis::Cmd {
    let mut command = redis::cmd(name);
    command.arg(script).arg(keys.len());
    for part in keys {
        command.arg(part.as_ref());
    }
    for part in arguments {
        command.arg(part.as_ref());
    }
    command
}

/// A script of its parts, without the lines of the guards that are off.
fn joined(parts: &[Part], tampering: &Tampering) -> String {
    let is_off = |line: &&str| {
        let guard = line.split_once("-- guard: ");
        guard.is_some_and(|(_, name)| tampering.guards_off.contains(&name.trim()))
    };
    let texts = parts.iter().map(|part| text_of(part, tampering));
    let lines = texts.flat_map(|text| text.lines().filter(|line| !is_off(line)));
    inline::constants(&lines.collect::<Vec<_>>().join("\n"))
}

fn text_of<'a>((name, text): &Part, tampering: &'a Tampering) -> &'a str {
    let changed = tampering.changed.as_ref().filter(|(changed, _)| changed == name);
    changed.map_or(text, |(_, text)| text)
}

/// All scripts of the product.
#[derive(Clone, Debug)]
pub struct Scripts {
    pub(super) consume: Script,
    pub(super) consume_whole: Script,
    pub(super) load: Script,
    pub(super) settle: Script,
    pub(super) fence: Script,
    pub(super) open: Script,
    pub(super) probe: Script,
    pub(super) profile: Script,
}

impl Scripts {
    /// Prepares them, with what tests have changed.
    #[must_use]
    pub fn new(tampering: &Tampering) -> Self {
        Self {
            consume: Script::new(CONSUME, tampering),
            consume_whole: Script::new(CONSUME_WHOLE, tampering),
            load: Script::new(LOAD, tampering),
            settle: Script::new(SETTLE, tampering),
            fence: Script::new(FENCE, tampering),
            open: Script::new(OPEN, tampering),
            probe: Script::new(PROBE, tampering),
            profile: Script::new(PROFILE, tampering),
        }
    }
}
