//! A network before the service, which loses replies.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::Mutex;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The service does what is asked, and its reply is dropped.
    Swallow,
    /// It is answered as usual.
    Pass,
    /// Something before the service answers 503.
    Busy,
}

/// A request that came through.
#[derive(Clone, Debug)]
pub struct Seen {
    pub path: String,
    pub key: Option<String>,
}

/// A network before the service.
pub struct Network {
    pub url: String,
    faults: Arc<Mutex<VecDeque<Fault>>>,
    arrived: mpsc::UnboundedReceiver<Seen>,
}

impl Network {
    pub async fn start(service: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let faults = Arc::new(Mutex::new(VecDeque::new()));
        let (tell, arrived) = mpsc::unbounded_channel();
        let shared = Arc::clone(&faults);
        tokio::spawn(async move {
            while let Ok((caller, _)) = listener.accept().await {
                let (service, faults, tell) = (service.clone(), Arc::clone(&shared), tell.clone());
                // A caller that hangs up ends its connection, and nothing else.
                tokio::spawn(async move { serve(caller, &service, &faults, &tell).await });
            }
        });
        Self { url, faults, arrived }
    }

    /// What happens to the next requests; those after them pass.
    pub fn fail(&self, faults: &[Fault]) {
        self.faults.lock().unwrap().extend(faults);
    }

    /// Waits for the next request whose path ends so.
    pub async fn next(&mut self, path_end: &str) -> Seen {
        loop {
            let seen = self.arrived.recv().await.unwrap();
            if seen.path.ends_with(path_end) {
                return seen;
            }
        }
    }

    /// The keys of all requests so far whose paths end so.
    pub fn keys(&mut self, path_end: &str) -> Vec<Option<String>> {
        let mut keys = Vec::new();
        while let Ok(seen) = self.arrived.try_recv() {
            if seen.path.ends_with(path_end) {
                keys.push(seen.key);
            }
        }
        keys
    }
}

async fn serve(
    mut caller: TcpStream,
    service: &str,
    faults: &Mutex<VecDeque<Fault>>,
    tell: &mpsc::UnboundedSender<Seen>,
) -> io::Result<()> {
    let mut service = TcpStream::connect(service).await?;
    loop {
        let request = message(&mut caller).await?;
        let _ = tell.send(seen(&request)); // a test that has ended looks at nothing
        let fault = faults.lock().unwrap().pop_front().unwrap_or(Fault::Pass);
        if fault == Fault::Busy {
            caller.write_all(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n").await?;
            continue;
        }
        service.write_all(&request).await?;
        let reply = message(&mut service).await?;
        if fault == Fault::Swallow {
            return Ok(());
        }
        caller.write_all(&reply).await?;
    }
}

/// One request or reply with its body, whose length it names.
async fn message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && body.len()
                >= header(head, "content-length").map_or(0, |length| length.parse().unwrap())
        {
            return Ok(bytes);
        }
    }
}

fn seen(request: &[u8]) -> Seen {
    let text = String::from_utf8_lossy(request);
    let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
    Seen { path, key: header(&text, "idempotency-key") }
}

fn header(head: &str, name: &str) -> Option<String> {
    let mut fields = head.lines().filter_map(|line| line.split_once(": "));
    let found = fields.find(|(field, _)| field.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.to_owned())
}
