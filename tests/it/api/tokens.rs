//! End users' tokens over real requests. The Ed25519 key is the public example of RFC 8037, appendix A.

use jsonwebtoken::Algorithm;
use jsonwebtoken::EncodingKey;
use jsonwebtoken::Header;
use reqwest::StatusCode;
use serde_json::Value;
use serde_json::json;

use super::move_to;
use crate::support::Options;
use crate::support::TestApp;
use crate::support::caller::Answer;

pub(super) const HS256: Algorithm = Algorithm::HS256;
const SECRET: &str = "a shared secret of at least 32 bytes";
const ISSUER: &str = "https://issuer.example";
const AUDIENCE: &str = "headroom";
/// 2030-01-01T00:00:00Z: the tests move the clock, and tokens must outlive it.
const LATER_S: i64 = 1_893_456_000;
const USAGE: &str = "/v1/subjects/user:u_1/usage";

const ED_SEED: [u8; 32] = [
    0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4,
    0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
];
const ED_PUBLIC: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
/// PKCS #8 around a seed of Ed25519 (RFC 8410).
const ED_PKCS8_HEAD: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// Nodes that take tokens with the shared secret.
pub(crate) fn hs256() -> Options {
    strict("HS256").with("HEADROOM_JWT_SECRET", SECRET)
}

/// Nodes that take tokens of one algorithm, issuer and audience.
pub(super) fn strict(algorithm: &str) -> Options {
    Options::default()
        .with("HEADROOM_JWT_ALGORITHM", algorithm)
        .with("HEADROOM_JWT_ISSUER", ISSUER)
        .with("HEADROOM_JWT_AUDIENCE", AUDIENCE)
}

/// What a good token of a user says.
pub(crate) fn claims(user: &str) -> Value {
    json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": user, "exp": LATER_S })
}

/// A token with the shared secret.
pub(crate) fn signed(claims: &Value) -> String {
    signed_as(Algorithm::HS256, SECRET, claims)
}

/// A token with any shared secret.
pub(super) fn signed_as(algorithm: Algorithm, secret: &str, claims: &Value) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::new(algorithm), claims, &key).unwrap()
}

/// A token with the example key of the RFC.
fn signed_with_ed25519(key_id: Option<&str>, claims: &Value) -> String {
    let header = Header { kid: key_id.map(str::to_owned), ..Header::new(Algorithm::EdDSA) };
    let key = EncodingKey::from_ed_der(&[&ED_PKCS8_HEAD[..], &ED_SEED[..]].concat());
    jsonwebtoken::encode(&header, claims, &key).unwrap()
}

/// The claims with one of them changed, or taken away by null.
fn but(name: &str, value: Value) -> Value {
    let mut claims = claims("u_1");
    let fields = claims.as_object_mut().unwrap();
    fields.insert(name.to_owned(), value);
    fields.retain(|_, value| !value.is_null());
    claims
}

async fn read(app: &TestApp, token: &str) -> Answer {
    app.caller().with_key(token).get(USAGE).await
}

/// Guards that every claim and the signature are checked, each by itself.
#[tokio::test]
async fn a_token_that_fails_any_check_is_refused() {
    let app = TestApp::start_with(hs256()).await;
    let now_s = app.clock.now_ms() / 1_000;
    let good = signed(&claims("u_1"));
    let (head, rest) = good.split_once('.').unwrap();
    let (body, signature) = rest.split_once('.').unwrap();
    let without_signature = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";
    let foreign_body = signed(&claims("u_2")).split('.').nth(1).unwrap().to_owned();
    let bad = [
        ("iss", signed(&but("iss", json!("https://other.example")))),
        ("no iss", signed(&but("iss", Value::Null))),
        ("aud", signed(&but("aud", json!("another service")))),
        ("no aud", signed(&but("aud", Value::Null))),
        ("exp", signed(&but("exp", json!(now_s - 60)))),
        ("no exp", signed(&but("exp", Value::Null))),
        ("nbf", signed(&but("nbf", json!(now_s + 600)))),
        ("no sub", signed(&but("sub", Value::Null))),
        ("sub", signed(&but("sub", json!("u_1/user:u_2")))),
        ("sub type", signed(&but("sub", json!(1)))),
        (
            "secret",
            signed_as(Algorithm::HS256, "another secret of at least 32 bytes", &claims("u_1")),
        ),
        ("alg", signed_as(Algorithm::HS512, SECRET, &claims("u_1"))),
        ("eddsa", signed_with_ed25519(None, &claims("u_1"))),
        ("none", format!("{without_signature}.{body}.")),
        ("none, signed", format!("{without_signature}.{body}.{signature}")),
        ("body", format!("{head}.{foreign_body}.{signature}")),
        ("cut", format!("{head}.{body}")),
        ("empty", "..".to_owned()),
    ];

    assert_eq!(read(&app, &good).await.status, StatusCode::OK);
    for (what, token) in bad {
        let answer = read(&app, &token).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{what}: {answer:?}");
        assert_eq!(answer.detail(), "the API key or token is not valid", "{what}");
    }
    app.finish().await;
}

/// Guards the times by the service's clock, with the leeway that is set.
#[tokio::test]
async fn a_token_is_good_from_nbf_to_exp() {
    let app = TestApp::start_with(hs256().with("HEADROOM_JWT_LEEWAY_S", 30)).await;
    move_to(&app, "2027-02-10T12:00:00Z");
    let now_s = app.clock.now_ms() / 1_000;
    let mut claims = claims("u_1");
    claims["nbf"] = json!(now_s + 3_600);
    claims["exp"] = json!(now_s + 7_200);
    let token = signed(&claims);
    let mut statuses = Vec::new();

    for step_s in [0, 3_590, 3_590, 60] {
        app.clock.advance(step_s * 1_000);
        statuses.push(read(&app, &token).await.status.as_u16());
    }

    assert_eq!(
        statuses,
        [401, 200, 200, 401],
        "before, within the leeway, before the end, after it"
    );
    app.finish().await;
}

/// Guards the fence of end users: they read about themselves, and nothing else.
#[tokio::test]
async fn a_token_reads_its_own_usage_and_cannot_consume() {
    let app = TestApp::start_with(hs256()).await;
    let user = app.caller().with_key(&signed(&claims("u_1")));
    let body = json!({ "subject": "user:u_1", "model": "gemini-2.0-flash" });

    let own = user.get(USAGE).await;
    let below = user.get("/v1/subjects/user:u_1%2Fproject:p/usage").await;
    let forbidden = [
        user.post("/v1/consume", &body).await,
        user.post("/v1/check", &body).await,
        user.delete(USAGE).await,
    ];

    assert_eq!([own.status, below.status], [StatusCode::OK; 2]);
    for answer in forbidden {
        assert_eq!((answer.status, answer.code()), (StatusCode::FORBIDDEN, "permission_denied"));
    }
    for other in ["user:u_2", "user:u_12", "org:acme%2Fuser:u_1", "anonymous:anyone"] {
        let answer = user.get(&format!("/v1/subjects/{other}/usage")).await;
        assert_eq!((answer.status, answer.code()), (StatusCode::NOT_FOUND, "unknown_subject"));
    }
    assert_eq!(app.flush().await, 0);
    app.finish().await;
}

/// Guards that tokens are off unless they are configured.
#[tokio::test]
async fn without_a_configured_key_no_token_is_good() {
    let app = TestApp::start().await;

    let answer = read(&app, &signed(&claims("u_1"))).await;

    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    app.finish().await;
}

/// Guards key sets: the token's `kid` chooses, other algorithms and unknown keys are refused.
#[tokio::test]
async fn a_key_set_verifies_eddsa_tokens_by_their_key_id() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    let other = "HwFyTkxW-M67S-hDRv1BXVDBgwEdKNx3ppKLW4_jmDc";
    let jwk = |id: &str, x: &str| json!({ "kty": "OKP", "crv": "Ed25519", "kid": id, "x": x });
    let set = json!({ "keys": [jwk("old", other), jwk("new", ED_PUBLIC)] });
    std::fs::write(&file, set.to_string()).unwrap();
    let options = strict("EdDSA").with("HEADROOM_JWT_JWKS_FILE", file.display());
    let app = TestApp::start_with(options).await;
    let claims = claims("u_1");

    let good = read(&app, &signed_with_ed25519(Some("new"), &claims)).await;

    assert_eq!(good.status, StatusCode::OK, "{good:?}");
    for (what, token) in [
        ("the wrong key of the set", signed_with_ed25519(Some("old"), &claims)),
        ("no such key", signed_with_ed25519(Some("lost"), &claims)),
        ("no key named", signed_with_ed25519(None, &claims)),
        ("the public key as a shared secret", signed_as(Algorithm::HS256, ED_PUBLIC, &claims)),
    ] {
        assert_eq!(read(&app, &token).await.status, StatusCode::UNAUTHORIZED, "{what}");
    }
    app.finish().await;
}
