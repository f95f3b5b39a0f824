//! The Lua scripts, and how one is called.

use redis::RedisResult;
use redis::aio::ConnectionLike;

use super::error::is_no_script;
use super::inline;

const PRELUDE: &str = include_str!("../../lua/lib/prelude.lua");
/// For groups that look and add. One chunk, since Redis gives a script no other way to share locals.
const CONSUME: &str =
    concat!(include_str!("../../lua/lib/levels.lua"), include_str!("../../lua/consume.lua"));
/// For all groups. What few requests need is one function, which makes theirs when it is called.
const CONSUME_WHOLE: &str = concat!(
    include_str!("../../lua/lib/levels.lua"),
    include_str!("../../lua/lib/held.lua"),
    "function make_rare_parts()\n",
    include_str!("../../lua/lib/claims.lua"),
    include_str!("../../lua/lib/holds.lua"),
    include_str!("../../lua/lib/charges.lua"),
    include_str!("../../lua/lib/rewrites.lua"),
    "end\n",
    include_str!("../../lua/consume.lua"),
);

/// Guards of the protocol that a test may take out of the scripts, to show that their absence is noticed.
///
/// Empty in production; nothing but a test's own code can fill it.
#[doc(hidden)]
#[derive(Clone, Debug, Default)]
pub struct GuardsOff(pub Vec<&'static str>);

/// A script and its SHA-1, under which Redis caches it.
#[derive(Clone, Debug)]
pub(super) struct Script {
    code: String,
    hash: String,
}

impl Script {
    fn new(body: &str, guards_off: &GuardsOff) -> Self {
        let code = inline::constants(&without(&format!("{PRELUDE}\n{body}"), guards_off));
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

/// The text without the lines of the guards that are off.
fn without(text: &str, guards_off: &GuardsOff) -> String {
    let is_off = |line: &&str| {
        line.split_once("-- guard: ").is_some_and(|(_, name)| guards_off.0.contains(&name.trim()))
    };
    text.lines().filter(|line| !is_off(line)).collect::<Vec<_>>().join("\n")
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
    /// Prepares them, without the guards that are off.
    #[must_use]
    pub fn new(guards_off: &GuardsOff) -> Self {
        Self {
            consume: Script::new(CONSUME, guards_off),
            consume_whole: Script::new(CONSUME_WHOLE, guards_off),
            load: Script::new(include_str!("../../lua/load.lua"), guards_off),
            settle: Script::new(include_str!("../../lua/settle.lua"), guards_off),
            fence: Script::new(include_str!("../../lua/fence.lua"), guards_off),
            open: Script::new(include_str!("../../lua/open.lua"), guards_off),
            probe: Script::new(include_str!("../../lua/probe.lua"), guards_off),
            profile: Script::new(include_str!("../../lua/profile.lua"), guards_off),
        }
    }
}
