//! What a Redis is told while a test runs, written down when `HEADROOM_TEST_RECORD` names a folder; for `mutants`.

use std::fs::File;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use headroom::embedded::RedisServer;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// What the recorder itself says in the end.
const END: &str = "the recording ends here";

/// Copies what `MONITOR` tells into a file that is named after the test. It ends before the server does, which would lose
/// what it has not told yet: Redis answers first, and tells its monitors afterwards.
pub struct Recorder {
    port: u16,
    stream: TcpStream,
    thread: Option<JoinHandle<()>>,
}

impl Recorder {
    /// `None` unless whoever runs the tests wants recordings.
    #[expect(clippy::disallowed_methods, reason = "a setting of the tests, not of the service")]
    pub fn start(redis: &RedisServer) -> Option<Self> {
        let folder = std::env::var("HEADROOM_TEST_RECORD").ok()?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let test = std::thread::current().name().unwrap_or("unnamed").replace("::", ".");
        let mut file = File::create(Path::new(&folder).join(format!("{test}-{number}"))).unwrap();
        let mut stream = TcpStream::connect(("127.0.0.1", redis.port())).unwrap();
        stream.write_all(b"MONITOR\r\n").unwrap();
        stream.read_exact(&mut [0; "+OK\r\n".len()]).unwrap();
        let lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let thread = std::thread::spawn(move || {
            // A server that is killed ends it, too.
            for line in lines.map_while(Result::ok).take_while(|line| !line.contains(END)) {
                writeln!(file, "{line}").unwrap();
            }
        });
        Some(Self { port: redis.port(), stream, thread: Some(thread) })
    }
}

fn say_the_end(port: u16) -> std::io::Result<()> {
    TcpStream::connect(("127.0.0.1", port))?.write_all(format!("ECHO \"{END}\"\r\n").as_bytes())
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if say_the_end(self.port).is_err() {
            // What has arrived can still be read.
            let _gone = self.stream.shutdown(Shutdown::Read);
        }
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}
