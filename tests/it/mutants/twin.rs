//! A Redis to which recordings are told, with scripts that may have a mistake.

use std::collections::HashMap;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use headroom::embedded::RedisOptions;
use headroom::embedded::RedisServer;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::recording::Recording;
use crate::support::stores;

/// Before the text of each script: the time, as it was recorded.
const FRAME: &str = include_str!("frame.lua");
/// After the steps: what Redis holds.
const STATE: &str = include_str!("state.lua");
const END: &[u8] = b"the end of the recording";
/// A mistake may make a script run for ever. No recording takes a tenth of that, also where others use the processor.
const HANGS_AFTER: Duration = Duration::from_secs(30);
const HASH_LENGTH: usize = 40;
/// Redis forgets all scripts after so many mutants, since it keeps each.
const LOADS_MAX: u32 = 64;

/// The scripts of one mutant, by name.
pub type Texts = Vec<(&'static str, String)>;

/// A recording as bytes for Redis, but for the hashes of its scripts.
pub struct Tape {
    pub name: String,
    bytes: Vec<u8>,
    /// Where a hash belongs, and of which script.
    hashes: Vec<(usize, String)>,
}

/// Why there is nothing to compare.
#[derive(Debug, PartialEq, Eq)]
pub enum Silence {
    /// Lua does not take the text.
    Refused,
    /// A script does not end.
    Hung,
}

/// A private Redis.
pub struct Twin {
    runtime: Runtime,
    server: RedisServer,
    stream: TcpStream,
    hashes: HashMap<String, String>,
    loads: u32,
    _folder: TempDir,
}

impl Tape {
    pub fn new(recording: &Recording) -> Self {
        let mut tape = Self { name: recording.name.clone(), bytes: Vec::new(), hashes: Vec::new() };
        put(&mut tape.bytes, &[b"FLUSHALL"]);
        for step in &recording.steps {
            let mut words: Vec<&[u8]> = step.words.iter().map(Vec::as_slice).collect();
            if words[0] == b"EVALSHA" {
                let name = String::from_utf8(words[1].to_vec()).unwrap();
                // Behind the number of words, `EVALSHA` and the length of the hash.
                let count = words.len() + 1;
                let at = format!("*{count}\r\n$7\r\nEVALSHA\r\n${HASH_LENGTH}\r\n").len();
                tape.hashes.push((tape.bytes.len() + at, name));
                words[1] = &[b'0'; HASH_LENGTH];
                words.push(step.at.as_bytes());
            }
            // As the scripts' own times to live, see FRAME.
            let until = until_of(&words);
            if let Some(until) = &until {
                words = vec![b"EXPIREAT", words[1], until.as_bytes()];
            }
            put(&mut tape.bytes, &words);
        }
        put(&mut tape.bytes, &[b"EVAL", STATE.as_bytes(), b"0"]);
        put(&mut tape.bytes, &[b"ECHO", END]);
        tape
    }

    /// Whether it calls one of these scripts.
    pub fn calls(&self, names: &[&str]) -> bool {
        self.hashes.iter().any(|(_, name)| names.contains(&name.as_str()))
    }
}

impl Twin {
    pub fn start() -> Self {
        let runtime = Runtime::new().unwrap();
        let folder = stores::open_folder();
        let options = RedisOptions { dir: folder.path().to_owned(), ..RedisOptions::default() };
        let server = runtime.block_on(RedisServer::start(options)).unwrap();
        let stream = connect(&server);
        Self { runtime, server, stream, hashes: HashMap::new(), loads: 0, _folder: folder }
    }

    /// Gives Redis these scripts.
    ///
    /// # Errors
    ///
    /// [`Silence::Refused`] when Lua does not take one of them.
    pub fn load(&mut self, texts: &Texts) -> Result<(), Silence> {
        let mut bytes = Vec::new();
        self.loads += 1;
        if self.loads.is_multiple_of(LOADS_MAX) {
            put(&mut bytes, &[b"SCRIPT", b"FLUSH"]);
        }
        for (_, text) in texts {
            put(&mut bytes, &[b"SCRIPT", b"LOAD", format!("{FRAME}{text}").as_bytes()]);
        }
        put(&mut bytes, &[b"ECHO", END]);
        let said = self.ask(&bytes)?;
        let said = String::from_utf8_lossy(&said).into_owned();
        if said.starts_with('-') || said.contains("\r\n-") {
            return Err(Silence::Refused);
        }
        let hashes = said.lines().filter(|line| line.len() == HASH_LENGTH);
        let names = texts.iter().map(|(name, _)| (*name).to_owned());
        self.hashes = names.zip(hashes.map(str::to_owned)).collect();
        assert_eq!(self.hashes.len(), texts.len(), "{said}");
        Ok(())
    }

    /// Tells a recording, and answers what Redis said to each step, and what it held in the end.
    ///
    /// # Errors
    ///
    /// [`Silence::Hung`] when a script does not end.
    pub fn play(&mut self, tape: &Tape) -> Result<Vec<u8>, Silence> {
        let mut bytes = tape.bytes.clone();
        for (at, name) in &tape.hashes {
            bytes[*at..*at + HASH_LENGTH].copy_from_slice(self.hashes[name].as_bytes());
        }
        self.ask(&bytes)
    }

    fn ask(&mut self, bytes: &[u8]) -> Result<Vec<u8>, Silence> {
        let said = exchange(&mut self.stream, bytes);
        if said.is_none() {
            self.runtime.block_on(self.server.kill()).unwrap();
            self.runtime.block_on(self.server.restart()).unwrap();
            self.stream = connect(&self.server);
        }
        said.ok_or(Silence::Hung)
    }
}

fn connect(server: &RedisServer) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(HANGS_AFTER)).unwrap();
    stream.set_write_timeout(Some(HANGS_AFTER)).unwrap();
    stream
}

/// Sends commands of which the last makes Redis say [`END`]. `None` when it does not in time.
fn exchange(stream: &mut TcpStream, bytes: &[u8]) -> Option<Vec<u8>> {
    let end = [END, b"\r\n"].concat();
    stream.write_all(bytes).ok()?;
    let mut said = Vec::new();
    let mut part = vec![0; 65_536];
    while !said.ends_with(&end) {
        let count = stream.read(&mut part).ok().filter(|count| *count > 0)?;
        said.extend_from_slice(&part[..count]);
    }
    Some(said)
}

/// When a key that was given a time to live goes, in Unix seconds.
fn until_of(words: &[&[u8]]) -> Option<String> {
    const BEGIN_S: u64 = 4_102_444_800;
    let is_expire = words[0].eq_ignore_ascii_case(b"EXPIRE");
    let seconds = is_expire.then(|| std::str::from_utf8(words[2]).unwrap())?;
    Some((BEGIN_S + seconds.parse::<u64>().unwrap()).to_string())
}

/// Appends a command in Redis' protocol.
fn put(bytes: &mut Vec<u8>, words: &[&[u8]]) {
    write!(bytes, "*{}\r\n", words.len()).unwrap();
    for word in words {
        write!(bytes, "${}\r\n", word.len()).unwrap();
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
}

/// What Redis said that is an error.
pub fn errors_in(said: &[u8]) -> Vec<String> {
    let mut errors = Vec::new();
    let mut rest = said;
    while let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") {
        let line = String::from_utf8_lossy(&rest[..end]).into_owned();
        let length = line.strip_prefix('$').map_or(0, |length| length.parse::<isize>().unwrap());
        let body = usize::try_from(length).map_or(0, |length| length + 2);
        let is_bulk = line.starts_with('$');
        rest = &rest[end + 2 + if is_bulk { body } else { 0 }..];
        errors.extend(line.starts_with('-').then_some(line));
    }
    errors
}
