//! `cmsgpack`, as Redis has it: which of a number's and a text's forms it chooses is a part of what scripts answer.

use mlua::Lua;
use mlua::MultiValue;
use mlua::Table;
use mlua::Value;

/// `cmsgpack.pack`.
pub fn pack(values: &MultiValue) -> Vec<u8> {
    let mut out = Vec::new();
    values.iter().for_each(|value| write(&mut out, value));
    out
}

fn write(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Nil => out.push(0xc0),
        Value::Boolean(it) => out.push(0xc2 + u8::from(*it)),
        Value::Integer(it) => write_int(out, *it),
        Value::Number(it) => write_number(out, *it),
        Value::String(it) => write_text(out, &it.as_bytes()),
        Value::Table(it) => write_table(out, it),
        other => panic!("scripts pack no {}", other.type_name()),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "whole numbers of scripts are below 2^53")]
fn write_number(out: &mut Vec<u8>, number: f64) {
    assert!(number.fract() == 0.0, "scripts pack whole numbers");
    write_int(out, number as i64);
}

fn write_int(out: &mut Vec<u8>, number: i64) {
    let bytes = number.to_be_bytes();
    match number {
        -32..=0x7f => out.push(bytes[7]),
        0x80..=0xff => tagged(out, 0xcc, &bytes[7..]),
        0x100..=0xffff => tagged(out, 0xcd, &bytes[6..]),
        0x1_0000..=0xffff_ffff => tagged(out, 0xce, &bytes[4..]),
        0x1_0000_0000.. => tagged(out, 0xcf, &bytes),
        -0x80..=-33 => tagged(out, 0xd0, &bytes[7..]),
        -0x8000..=-0x81 => tagged(out, 0xd1, &bytes[6..]),
        -0x8000_0000..=-0x8001 => tagged(out, 0xd2, &bytes[4..]),
        ..=-0x8000_0001 => tagged(out, 0xd3, &bytes),
    }
}

fn tagged(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    out.extend_from_slice(bytes);
}

fn write_text(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    match bytes.len() {
        0..=31 => out.push(0xa0 | length[3]),
        32..=0xff => tagged(out, 0xd9, &length[3..]),
        0x100..=0xffff => tagged(out, 0xda, &length[2..]),
        _ => tagged(out, 0xdb, &length),
    }
    out.extend_from_slice(bytes);
}

/// Scripts pack lists alone.
fn write_table(out: &mut Vec<u8>, table: &Table) {
    let length = table.raw_len();
    let keys = table.pairs::<Value, Value>().count();
    assert_eq!(keys, length, "scripts pack lists without holes");
    let bytes = u32::try_from(length).unwrap().to_be_bytes();
    match length {
        0..=15 => out.push(0x90 | bytes[3]),
        16..=0xffff => tagged(out, 0xdc, &bytes[2..]),
        _ => tagged(out, 0xdd, &bytes),
    }
    (1..=length).for_each(|place| write(out, &table.raw_get::<Value>(place).unwrap()));
}

/// `cmsgpack.unpack`: all values of the text.
pub fn unpack(lua: &Lua, mut bytes: &[u8]) -> mlua::Result<MultiValue> {
    let mut values = Vec::new();
    while !bytes.is_empty() {
        values.push(read(lua, &mut bytes)?);
    }
    Ok(MultiValue::from_vec(values))
}

fn read(lua: &Lua, input: &mut &[u8]) -> mlua::Result<Value> {
    let tag = take(input, 1)?[0];
    Ok(match tag {
        0xc0 => Value::Nil,
        0xc2 | 0xc3 => Value::Boolean(tag == 0xc3),
        0x00..=0x7f => number(i128::from(tag)),
        0xe0..=0xff => number(i128::from(tag.cast_signed())),
        0xcc..=0xcf => number(unsigned(take(input, 1 << (tag - 0xcc))?)),
        0xd0..=0xd3 => number(signed(take(input, 1 << (tag - 0xd0))?)),
        0xa0..=0xbf => text(lua, input, usize::from(tag & 0x1f))?,
        0xc4..=0xc6 => sized_text(lua, input, 1 << (tag - 0xc4))?,
        0xd9..=0xdb => sized_text(lua, input, 1 << (tag - 0xd9))?,
        0x90..=0x9f => list(lua, input, usize::from(tag & 0x0f))?,
        0xdc | 0xdd => {
            let length = unsigned(take(input, if tag == 0xdc { 2 } else { 4 })?);
            list(lua, input, usize::try_from(length).unwrap())?
        }
        other => panic!("the service packs no {other:#x}"),
    })
}

fn take<'a>(input: &mut &'a [u8], count: usize) -> mlua::Result<&'a [u8]> {
    let missing = || mlua::Error::runtime("Missing bytes in input.");
    let (bytes, rest) = input.split_at_checked(count).ok_or_else(missing)?;
    *input = rest;
    Ok(bytes)
}

fn unsigned(bytes: &[u8]) -> i128 {
    bytes.iter().fold(0, |sum, byte| sum << 8 | i128::from(*byte))
}

fn signed(bytes: &[u8]) -> i128 {
    let bits = 8 * bytes.len();
    let number = unsigned(bytes);
    if number >> (bits - 1) == 1 { number - (1 << bits) } else { number }
}

/// Numbers of Lua 5.1 are all of one kind.
#[expect(clippy::cast_precision_loss, reason = "as in Redis")]
fn number(it: i128) -> Value {
    Value::Number(it as f64)
}

fn text(lua: &Lua, input: &mut &[u8], length: usize) -> mlua::Result<Value> {
    Ok(Value::String(lua.create_string(take(input, length)?)?))
}

fn sized_text(lua: &Lua, input: &mut &[u8], size: usize) -> mlua::Result<Value> {
    let length = unsigned(take(input, size)?);
    text(lua, input, usize::try_from(length).unwrap())
}

fn list(lua: &Lua, input: &mut &[u8], length: usize) -> mlua::Result<Value> {
    let table = lua.create_table_with_capacity(length, 0)?;
    for place in 1..=length {
        table.raw_set(place, read(lua, input)?)?;
    }
    Ok(Value::Table(table))
}
