//! A private Redis.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio::time::timeout;

use super::PORT_ATTEMPTS_MAX;
use super::error::EmbeddedError;
use super::find::Search;
use super::lock;
use super::percent_encoded;
use super::ports::free_port;
use super::process::Process;
use super::process::Program;
use super::process::Signal;
use super::process::is_port_taken;

const NAME: &str = "redis-server";
/// Long enough to read a large append-only file.
const READY_WAIT: Duration = Duration::from_mins(1);
const STOP_WAIT: Duration = Duration::from_secs(15);
const LOCK_WAIT: Duration = Duration::from_secs(15);
const ANSWER_WAIT: Duration = Duration::from_secs(1);
const ANSWER_BYTES_MAX: u64 = 65_536;
const RETRY_WAIT: Duration = Duration::from_millis(100);

/// How a private Redis runs.
#[derive(Clone, Default)]
pub struct RedisOptions {
    /// The folder that gets `redis/`, `redis.log` and `redis.lock`; made when absent.
    pub dir: PathBuf,
    /// Whether writes go to an append-only file that is synced every second.
    pub append_only: bool,
    /// The password of the default user; none lets everyone on this machine in.
    pub password: Option<String>,
    /// The port on 127.0.0.1 of the Redis to copy; its password must be the same.
    pub replica_of: Option<u16>,
    /// More arguments, such as `--maxmemory` and `64mb`. Other users can read them: no secrets.
    pub extra: Vec<String>,
    /// Variables of its environment, such as `LD_PRELOAD`; those of this process are not passed on.
    pub environment: Vec<(String, OsString)>,
}

/// A Redis on a free port of 127.0.0.1. It is killed when this is dropped or the process ends.
pub struct RedisServer {
    options: RedisOptions,
    search: Search,
    port: u16,
    process: Process,
}

impl RedisServer {
    /// Starts Redis, on what `dir` holds already if anything, and waits until it answers.
    ///
    /// # Errors
    ///
    /// [`EmbeddedError`]; nothing is left running.
    pub async fn start(mut options: RedisOptions) -> Result<Self, EmbeddedError> {
        let search = Search::system();
        let data = options.dir.join("redis");
        std::fs::create_dir_all(&data).map_err(EmbeddedError::folder(&data))?;
        options.dir = options.dir.canonicalize().map_err(EmbeddedError::folder(&options.dir))?;
        let mut attempt = 1;
        loop {
            let port = free_port().map_err(EmbeddedError::Port)?;
            match launch(&options, &search, port).await {
                Err(error) if is_port_taken(&error) && attempt < PORT_ATTEMPTS_MAX => attempt += 1,
                Err(error) => return Err(error),
                Ok(process) => {
                    return Ok(Self { options, search, port, process });
                }
            }
        }
    }

    /// The URL with the password. The caller keeps it out of logs. It names the user, because `redis-cli -u` takes an
    /// absent name for an empty one.
    #[must_use]
    pub fn url(&self) -> String {
        let user =
            self.options.password.as_deref().map_or_else(String::new, |password| {
                format!("default:{}@", percent_encoded(password))
            });
        format!("redis://{user}127.0.0.1:{}/", self.port)
    }

    /// The port on 127.0.0.1, the same for the whole life of this value.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id of the last start.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Ends Redis as a crash would, with SIGKILL.
    ///
    /// # Errors
    ///
    /// [`EmbeddedError::StillRunning`] when the kernel does not end it.
    pub async fn kill(&mut self) -> Result<(), EmbeddedError> {
        self.process.kill(STOP_WAIT).await
    }

    /// Asks Redis to stop, with SIGTERM, and waits for it.
    ///
    /// # Errors
    ///
    /// [`EmbeddedError::StillRunning`] when it does not stop within 15 s.
    pub async fn stop(&mut self) -> Result<(), EmbeddedError> {
        self.process.signal(Signal::Term);
        self.process.wait(STOP_WAIT).await.map(|_status| ())
    }

    /// Stops Redis if it runs, and starts it on the same port and folder.
    ///
    /// # Errors
    ///
    /// As [`RedisServer::start`]; [`EmbeddedError::PortTaken`] when another process has the port.
    pub async fn restart(&mut self) -> Result<(), EmbeddedError> {
        self.stop().await?;
        for _ in 0..PORT_ATTEMPTS_MAX {
            match launch(&self.options, &self.search, self.port).await {
                Err(error) if is_port_taken(&error) => sleep(RETRY_WAIT).await,
                Err(error) => return Err(error),
                Ok(process) => {
                    self.process = process;
                    return Ok(());
                }
            }
        }
        Err(EmbeddedError::PortTaken { program: NAME, port: self.port })
    }
}

async fn launch(
    options: &RedisOptions,
    search: &Search,
    port: u16,
) -> Result<Process, EmbeddedError> {
    let lock = lock::acquire(&options.dir.join("redis.lock"), LOCK_WAIT).await?;
    let config = write_config(options, port)?;
    let mut arguments = vec![config.into_os_string()];
    arguments.extend(options.extra.iter().map(Into::into));
    let program = Program {
        name: NAME,
        path: search.redis_server()?,
        arguments,
        environment: options.environment.clone(),
        folder: options.dir.clone(),
        account: None,
        input: lock,
        log: options.dir.join("redis.log"),
        death_signal: Signal::Term,
        drop_signal: Signal::Kill,
    };
    let mut process = Process::spawn(program, search).await?;
    process.wait_ready(READY_WAIT, |pid| answers(options, port, pid)).await?;
    Ok(process)
}

/// The settings go into a file that only its owner can read, because of the password.
fn write_config(options: &RedisOptions, port: u16) -> Result<PathBuf, EmbeddedError> {
    let path = options.dir.join("redis").join("redis.conf");
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(EmbeddedError::folder(&path))?;
    file.write_all(config_text(options, port).as_bytes()).map_err(EmbeddedError::folder(&path))?;
    Ok(path)
}

fn config_text(options: &RedisOptions, port: u16) -> String {
    let data = options.dir.join("redis");
    let append_only = if options.append_only { "yes" } else { "no" };
    let mut lines = vec![
        "bind 127.0.0.1".to_owned(),
        format!("port {port}"),
        "daemonize no".to_owned(),
        format!("dir {}", quoted(&data.to_string_lossy())),
        "save \"\"".to_owned(),
        format!("appendonly {append_only}"),
        "appendfsync everysec".to_owned(),
        "maxmemory-policy noeviction".to_owned(),
    ];
    if let Some(password) = &options.password {
        lines.push(format!("requirepass {}", quoted(password)));
        lines.push(format!("masterauth {}", quoted(password)));
    }
    if let Some(primary) = options.replica_of {
        lines.push(format!("replicaof 127.0.0.1 {primary}"));
    }
    lines.join("\n") + "\n"
}

/// A word of the configuration file; everything unusual becomes `\xHH`.
fn quoted(word: &str) -> String {
    let escaped: String = word
        .bytes()
        .map(|byte| match byte {
            b'"' | b'\\' | 0..=31 | 127..=255 => format!("\\x{byte:02x}"),
            _ => char::from(byte).to_string(),
        })
        .collect();
    format!("\"{escaped}\"")
}

/// Whether the process `pid`, and no other Redis, answers on `port`, with its data read.
async fn answers(options: &RedisOptions, port: u16, pid: u32) -> bool {
    let asked = timeout(ANSWER_WAIT, ask(options, port)).await;
    let Ok(Ok(answer)) = asked else {
        return false;
    };
    answer.contains("+PONG\r\n") && answer.contains(&format!("\r\nprocess_id:{pid}\r\n"))
}

async fn ask(options: &RedisOptions, port: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    let mut request = String::new();
    if let Some(password) = &options.password {
        request += &resp(&["AUTH", password]);
    }
    request += &resp(&["PING"]);
    request += &resp(&["INFO", "server"]);
    request += &resp(&["QUIT"]);
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    let mut bounded = stream.take(ANSWER_BYTES_MAX);
    bounded.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// A request in the Redis serialization protocol.
fn resp(words: &[&str]) -> String {
    words.iter().fold(format!("*{}\r\n", words.len()), |request, word| {
        format!("{request}${}\r\n{word}\r\n", word.len())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_configuration_are_quoted() {
        assert_eq!(quoted("a b"), "\"a b\"");
        assert_eq!(quoted("a\"\n\\ö"), "\"a\\x22\\x0a\\x5c\\xc3\\xb6\"");
    }

    #[test]
    fn a_request_counts_bytes() {
        assert_eq!(resp(&["AUTH", "ö"]), "*2\r\n$4\r\nAUTH\r\n$2\r\nö\r\n");
    }
}
