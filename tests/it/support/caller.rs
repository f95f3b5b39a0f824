//! Callers over HTTP.

use reqwest::Method;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde_json::Value;
use serde_json::json;
use uuid::Uuid;

use super::openapi::assert_documented;

/// Somebody with a key who calls one node.
#[derive(Clone)]
pub struct Caller {
    client: reqwest::Client,
    url: String,
    key: String,
}

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// The body as it came.
    pub text: String,
    /// The same as JSON; null when it is none.
    pub body: Value,
}

impl Caller {
    pub fn new(url: &str, key: &str) -> Self {
        Self { client: client(), url: url.to_owned(), key: key.to_owned() }
    }

    /// The same caller with another key.
    #[must_use]
    pub fn with_key(&self, key: &str) -> Self {
        Self { key: key.to_owned(), ..self.clone() }
    }

    /// A request with the caller's key, to be completed.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url)).bearer_auth(&self.key)
    }

    /// A request without a key, to be completed.
    pub fn stranger(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    pub async fn get(&self, path: &str) -> Answer {
        answer(self.request(Method::GET, path)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        answer(self.request(Method::DELETE, path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        answer(self.request(Method::POST, path).json(body)).await
    }

    /// A post under an idempotency key.
    pub async fn keyed(&self, key: &str, path: &str, body: &Value) -> Answer {
        let request = self.request(Method::POST, path).json(body);
        answer(request.header("idempotency-key", format!("\"{key}\""))).await
    }

    /// A put that is based on a version: `"\"7\""`, or `*` for whatever there is.
    pub async fn put(&self, path: &str, if_match: &str, body: &Value) -> Answer {
        answer(self.request(Method::PUT, path).header("if-match", if_match).json(body)).await
    }

    /// A put that is based on nothing.
    pub async fn overwrite(&self, path: &str, body: &Value) -> Answer {
        answer(self.request(Method::PUT, path).json(body)).await
    }

    /// A put of something that is not there yet.
    pub async fn put_new(&self, path: &str, body: &Value) -> Answer {
        answer(self.request(Method::PUT, path).header("if-none-match", "*").json(body)).await
    }

    /// A delete that is based on a version.
    pub async fn delete_if(&self, path: &str, if_match: &str) -> Answer {
        answer(self.request(Method::DELETE, path).header("if-match", if_match)).await
    }

    /// Units of a metric for the subject.
    pub async fn charge(&self, subject: &str, metric: &str, amount: u64) -> Answer {
        let body = json!({ "subject": subject, "metric": metric, "amount": amount });
        self.post("/v1/consume", &body).await
    }

    /// One message of the subject on the model.
    pub async fn consume(&self, subject: &str, model: &str) -> Answer {
        self.post("/v1/consume", &json!({ "subject": subject, "model": model })).await
    }

    /// One message through a node that may be killed meanwhile: its fate is unknown after an error.
    pub async fn try_consume(&self, subject: &str, model: &str) -> reqwest::Result<Answer> {
        let body = json!({ "subject": subject, "model": model });
        try_answer(self.request(Method::POST, "/v1/consume").json(&body)).await
    }

    /// One message under an idempotency key.
    pub async fn consume_once(&self, subject: &str, model: &str, key: &str) -> Answer {
        let body = json!({ "subject": subject, "model": model });
        let request = self.request(Method::POST, "/v1/consume").json(&body);
        answer(request.header("idempotency-key", format!("\"{key}\""))).await
    }
}

/// A client whose TLS is ready, as every one has to be.
pub fn client() -> reqwest::Client {
    headroom::tls::make_ready();
    reqwest::Client::new()
}

impl Answer {
    pub fn is_allowed(&self) -> bool {
        self.status == StatusCode::OK && self.body["allowed"] == json!(true)
    }

    /// A header's value; empty when there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The machine-readable kind of a problem.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    /// What a problem says for people.
    pub fn detail(&self) -> &str {
        self.body["detail"].as_str().unwrap_or_default()
    }

    /// The id of the event that was charged.
    pub fn event_id(&self) -> Uuid {
        self.body["event_id"].as_str().unwrap().parse().unwrap()
    }

    /// The version of what was read or written, for the next write.
    pub fn etag(&self) -> &str {
        self.header("etag")
    }

    /// Whether the answer repeats an earlier one.
    pub fn is_replayed(&self) -> bool {
        self.headers.get("idempotent-replayed").is_some_and(|value| value == "true")
    }

    /// The state of a limit in the answer.
    pub fn limit(&self, name: &str) -> &Value {
        let limits = self.body["limits"].as_array().unwrap();
        limits.iter().find(|limit| limit["name"] == name).unwrap()
    }

    /// Units used of a limit in the answer.
    pub fn used(&self, name: &str) -> u64 {
        self.limit(name)["used"].as_u64().unwrap()
    }
}

/// Sends the request, reads the answer, and checks that `openapi.json` has it; a body that is not JSON reads as null.
pub async fn answer(request: reqwest::RequestBuilder) -> Answer {
    try_answer(request).await.unwrap()
}

/// The same, for a node that may be killed meanwhile.
async fn try_answer(request: reqwest::RequestBuilder) -> reqwest::Result<Answer> {
    let (client, request) = request.build_split();
    let request = request?;
    let (method, path) = (request.method().clone(), request.url().path().to_owned());
    let response = client.execute(request).await?;
    let (status, headers) = (response.status(), response.headers().clone());
    let text = response.text().await?;
    let body = serde_json::from_str(&text).unwrap_or(Value::Null);
    let answer = Answer { status, headers, text, body };
    let content_type = answer.header("content-type");
    assert_documented(method.as_str(), &path, status.as_u16(), content_type);
    Ok(answer)
}
