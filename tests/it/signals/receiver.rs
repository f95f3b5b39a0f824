//! A receiver of webhooks on this machine.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Path;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::post;
use headroom::background::Supervisor;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Long enough for a busy machine; a test that waits so long has failed.
const WITHIN: Duration = Duration::from_secs(20);

/// A request that came.
#[derive(Clone, Debug)]
pub struct Received {
    pub path: String,
    pub headers: HeaderMap,
    pub body: String,
}

impl Received {
    pub fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

/// Answers by the path: `ok` takes, `gone` is gone, `redirect` points elsewhere, `hang` takes once it is let go, `fail` fails.
pub struct Receiver {
    url: String,
    received: Mutex<mpsc::UnboundedReceiver<Received>>,
    let_go: CancellationToken,
}

type Told = Arc<mpsc::UnboundedSender<Received>>;

impl Receiver {
    pub async fn start() -> Self {
        let (tell, received) = mpsc::unbounded_channel();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let let_go = CancellationToken::new();
        let state = (Arc::new(tell), let_go.clone());
        let router = Router::new().route("/{path}", post(receive)).with_state(state);
        Supervisor::new().spawn("receiver", async move {
            axum::serve(listener, router).await.unwrap();
        });
        Self { url, received: Mutex::new(received), let_go }
    }

    /// Answers those that hang.
    pub fn let_go(&self) {
        self.let_go.cancel();
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.url)
    }

    /// The next request.
    pub async fn next(&self) -> Received {
        let mut received = self.received.lock().await;
        tokio::time::timeout(WITHIN, received.recv()).await.expect("something was sent").unwrap()
    }

    /// Whether nothing has come since.
    pub async fn is_idle(&self) -> bool {
        self.received.lock().await.is_empty()
    }
}

async fn receive(
    State((told, let_go)): State<(Told, CancellationToken)>,
    Path(path): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let body = String::from_utf8(body.to_vec()).unwrap();
    told.send(Received { path: path.clone(), headers, body }).unwrap();
    match path.as_str() {
        "ok" => StatusCode::NO_CONTENT.into_response(),
        "gone" => StatusCode::GONE.into_response(),
        "redirect" => (StatusCode::FOUND, [(header::LOCATION, "/ok")]).into_response(),
        "hang" => {
            let_go.cancelled().await;
            StatusCode::NO_CONTENT.into_response()
        }
        _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
