//! A server of mail on this machine that keeps what it gets.

use std::time::Duration;

use headroom::background::Supervisor;
use tokio::io::AsyncBufReadExt;
use tokio::io::AsyncWriteExt;
use tokio::io::BufStream;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::sync::mpsc;

/// Long enough for a busy machine; a test that waits so long has failed.
const WITHIN: Duration = Duration::from_secs(20);

/// A mail that came.
#[derive(Clone, Debug, Default)]
pub struct Mail {
    /// As the sender gave it: `<a@b>`.
    pub from: String,
    pub to: String,
    /// Headers and text, as they came.
    pub content: String,
}

/// Speaks SMTP: takes mails, refuses those to `nobody@…` with 550, and says nothing more to whoever writes to `hang@…`.
pub struct Postbox {
    pub url: String,
    mails: Mutex<mpsc::UnboundedReceiver<Mail>>,
}

impl Postbox {
    pub async fn start() -> Self {
        let (tell, mails) = mpsc::unbounded_channel();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("smtp://{}", listener.local_addr().unwrap());
        Supervisor::new().spawn("postbox", accept(listener, tell));
        Self { url, mails: Mutex::new(mails) }
    }

    /// The next mail.
    pub async fn next(&self) -> Mail {
        let mut mails = self.mails.lock().await;
        tokio::time::timeout(WITHIN, mails.recv()).await.expect("a mail was sent").unwrap()
    }

    /// Whether nothing has come since.
    pub async fn is_empty(&self) -> bool {
        self.mails.lock().await.is_empty()
    }
}

async fn accept(listener: TcpListener, tell: mpsc::UnboundedSender<Mail>) {
    let conversations = Supervisor::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let tell = tell.clone();
        conversations.spawn("conversation", async move {
            let _hung_up = converse(BufStream::new(stream), &tell).await;
        });
    }
}

async fn converse(
    mut stream: BufStream<TcpStream>,
    tell: &mpsc::UnboundedSender<Mail>,
) -> std::io::Result<()> {
    let mut mail = Mail::default();
    say(&mut stream, "220 postbox").await?;
    loop {
        let line = line(&mut stream).await?;
        let argument = line.split_once(':').map_or("", |(_, rest)| rest).to_owned();
        let answer = match line.get(..4).unwrap_or("") {
            "" | "QUIT" => return say(&mut stream, "221 bye").await,
            "MAIL" => {
                mail = Mail { from: argument, ..Mail::default() };
                "250 ok"
            }
            "RCPT" if argument.starts_with("<hang@") => std::future::pending().await,
            "RCPT" if argument.starts_with("<nobody@") => "550 no such mailbox",
            "RCPT" => {
                mail.to = argument;
                "250 ok"
            }
            "DATA" => {
                say(&mut stream, "354 go on").await?;
                mail.content = content(&mut stream).await?;
                tell.send(mail.clone()).unwrap();
                "250 ok"
            }
            _ => "250 postbox",
        };
        say(&mut stream, answer).await?;
    }
}

async fn say(stream: &mut BufStream<TcpStream>, answer: &str) -> std::io::Result<()> {
    stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
    stream.flush().await
}

/// Empty at the end of the conversation.
async fn line(stream: &mut BufStream<TcpStream>) -> std::io::Result<String> {
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    Ok(line.trim_end().to_owned())
}

async fn content(stream: &mut BufStream<TcpStream>) -> std::io::Result<String> {
    let mut content = String::new();
    loop {
        match line(stream).await?.as_str() {
            "." => return Ok(content),
            line => content.extend([line, "\n"]),
        }
    }
}
