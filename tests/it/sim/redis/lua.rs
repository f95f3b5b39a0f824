//! The Lua in which scripts run, and what Redis gives them.

use std::cell::RefCell;
use std::rc::Rc;

use mlua::Function;
use mlua::Lua;
use mlua::MultiValue;
use mlua::Table;
use mlua::Value;

use super::command;
use super::keyspace::Keyspace;
use super::msgpack;
use super::reply::Reply;

type Keys = Rc<RefCell<Keyspace>>;

/// A compiled script.
struct Script {
    code: Vec<u8>,
    hash: String,
    function: Function,
}

/// Lua, with the scripts that it has compiled.
pub struct Interpreter {
    lua: Lua,
    scripts: RefCell<Vec<Script>>,
    /// What `redis.call` works on: the server that was made last.
    keys: Rc<RefCell<Option<Keys>>>,
}

thread_local! {
    static SHARED: Rc<Interpreter> = Rc::new(Interpreter::new().unwrap());
}

/// The interpreter of this thread: compiling the scripts takes longer than a whole schedule.
pub fn shared() -> Rc<Interpreter> {
    SHARED.with(Rc::clone)
}

impl Interpreter {
    fn new() -> mlua::Result<Self> {
        let lua = Lua::new();
        let keys = Rc::new(RefCell::new(None));
        let redis = lua.create_table()?;
        redis.set("call", lua.create_function(call(&keys))?)?;
        redis.set("error_reply", lua.create_function(error_reply)?)?;
        lua.globals().set("redis", redis)?;
        let cmsgpack = lua.create_table()?;
        let pack = |lua: &Lua, values: MultiValue| lua.create_string(msgpack::pack(&values));
        cmsgpack.set("pack", lua.create_function(pack)?)?;
        let unpack = |lua: &Lua, text: mlua::String| msgpack::unpack(lua, &text.as_bytes());
        cmsgpack.set("unpack", lua.create_function(unpack)?)?;
        lua.globals().set("cmsgpack", cmsgpack)?;
        Ok(Self { lua, scripts: RefCell::default(), keys })
    }

    /// Lets scripts work on these keys.
    pub fn attach(&self, keys: &Keys) {
        *self.keys.borrow_mut() = Some(keys.clone());
    }

    /// Compiles a script once, and answers its SHA-1.
    pub fn learn(&self, code: &[u8]) -> String {
        let mut scripts = self.scripts.borrow_mut();
        if let Some(known) = scripts.iter().find(|script| script.code == code) {
            return known.hash.clone();
        }
        let text = std::str::from_utf8(code).unwrap();
        let hash = redis::Script::new(text).get_hash().to_owned();
        let function = self.lua.load(text).set_name("=script").into_function().unwrap();
        scripts.push(Script { code: code.to_vec(), hash: hash.clone(), function });
        hash
    }

    /// Runs a script; the arguments begin with the number of keys.
    pub fn run(&self, hash: &str, arguments: &[Vec<u8>]) -> Reply {
        let script = self.function(hash);
        let count: usize = std::str::from_utf8(&arguments[0]).unwrap().parse().unwrap();
        let (keys, rest) = arguments[1..].split_at(count);
        self.give("KEYS", keys).unwrap();
        self.give("ARGV", rest).unwrap();
        match script.call::<Value>(()) {
            Ok(value) => reply_of(&value),
            Err(error) => Reply::Error(format!("ERR {error}").replace(['\r', '\n'], " ")),
        }
    }

    fn function(&self, hash: &str) -> Function {
        let scripts = self.scripts.borrow();
        scripts.iter().find(|script| script.hash == hash).unwrap().function.clone()
    }

    fn give(&self, name: &str, texts: &[Vec<u8>]) -> mlua::Result<()> {
        let table = self.lua.create_table_with_capacity(texts.len(), 0)?;
        for (place, text) in texts.iter().enumerate() {
            table.raw_set(place + 1, self.lua.create_string(text)?)?;
        }
        self.lua.globals().raw_set(name, table)
    }
}

/// `redis.call`.
fn call(
    keys: &Rc<RefCell<Option<Keys>>>,
) -> impl Fn(&Lua, MultiValue) -> mlua::Result<Value> + 'static {
    let keys = keys.clone();
    move |lua, arguments| {
        let command: Vec<Vec<u8>> = arguments.iter().map(text_of).collect();
        let keys = keys.borrow();
        let reply = command::execute(&mut keys.as_ref().unwrap().borrow_mut(), &command);
        value_of(lua, reply)
    }
}

/// `redis.error_reply`.
fn error_reply(lua: &Lua, text: String) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.set("err", text)?;
    Ok(table)
}

/// An argument of a command; Redis writes numbers as `%.17g` does.
#[expect(clippy::cast_possible_truncation, reason = "whole numbers of scripts are below 2^53")]
fn text_of(value: &Value) -> Vec<u8> {
    match value {
        Value::String(text) => text.as_bytes().to_vec(),
        Value::Integer(number) => number.to_string().into_bytes(),
        Value::Number(number) if number.fract() == 0.0 => (*number as i64).to_string().into_bytes(),
        other => panic!("a command was given {other:?}"),
    }
}

/// What a script is given for a reply.
fn value_of(lua: &Lua, reply: Reply) -> mlua::Result<Value> {
    let status = |name: &str, text: &str| {
        let table = lua.create_table()?;
        table.raw_set(name, text)?;
        Ok(Value::Table(table))
    };
    match reply {
        Reply::Status(text) => status("ok", text),
        Reply::Error(text) => Err(mlua::Error::runtime(text)),
        #[expect(clippy::cast_precision_loss, reason = "as in Redis")]
        Reply::Int(number) => Ok(Value::Number(number as f64)),
        Reply::Null => Ok(Value::Boolean(false)),
        Reply::Bulk(bytes) => Ok(Value::String(lua.create_string(bytes)?)),
        Reply::Array(items) => {
            let table = lua.create_table_with_capacity(items.len(), 0)?;
            for (place, item) in items.into_iter().enumerate() {
                table.raw_set(place + 1, value_of(lua, item)?)?;
            }
            Ok(Value::Table(table))
        }
    }
}

/// What a caller is answered for what a script returned.
#[expect(clippy::cast_possible_truncation, reason = "as in Redis")]
fn reply_of(value: &Value) -> Reply {
    match value {
        Value::String(text) => Reply::Bulk(text.as_bytes().to_vec()),
        Value::Integer(number) => Reply::Int(*number),
        Value::Number(number) => Reply::Int(*number as i64),
        Value::Boolean(true) => Reply::Int(1),
        Value::Table(table) => match table.raw_get::<Option<String>>("err").unwrap() {
            Some(text) => Reply::Error(text),
            None => panic!("scripts answer texts, numbers and errors"),
        },
        _ => Reply::Null,
    }
}
