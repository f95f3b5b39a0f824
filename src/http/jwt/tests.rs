//! Tokens are made here with a shared secret; those of RS256 and `EdDSA` were signed once, with keys that were then
//! thrown away. All are valid from 2026 to 2030.

use std::io::Write;

use jsonwebtoken::EncodingKey;
use jsonwebtoken::Header;
use serde_json::Value;
use serde_json::json;
use tempfile::NamedTempFile;

use super::*;
use crate::config::Secret;

const SECRET: &str = "a shared secret of at least 32 bytes";
const JWKS: &str = concat!(
    r#"{"keys": [{"kty": "RSA", "kid": "rsa-1", "use": "sig", "alg": "RS256", "n": "scHnG6EDzjnxy"#,
    r#"UCOxDK8zsofuGaxnnd924dxVe3jlR2qTTQAkG5uz6MErlquYJNnLkDazA7eaVyMP5Bs16hb4z8WmCnCEb-k71jwBRP"#,
    r#"AOm_MGnNr6qMX_OFvP6fSrMZ6hAQftr6pf0lz8SsPQnt1SKLVTR61NL8YxwHF_eeU-S_Ah3d9BpwORmyQhawZlcB_p"#,
    r#"mb_uLze4YBjZ2OE_pBcl9WiNvaJBfBRVaDJ0AYGNVqJ-DNar8njO0w2gVyZV4Za8eB25km-VKnnwwmd6jjnFE4IwiH"#,
    r#"kd-N--bbvRIl9rclrRMELr1rE014gunOxVyDXLAqHVykNHtJ8Ei8fEJNXDw", "e": "AQAB"}, {"kty": "OKP","#,
    r#" "crv": "Ed25519", "kid": "ed-1", "x": "HwFyTkxW-M67S-hDRv1BXVDBgwEdKNx3ppKLW4_jmDc"}]}"#,
);
const RS256_TOKEN: &str = concat!(
    "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiIsImtpZCI6InJzYS0xIn0.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leG",
    "FtcGxlIiwiYXVkIjoiaGVhZHJvb20iLCJzdWIiOiJ1XzEiLCJleHAiOjE4OTM0NTYwMDAsIm5iZiI6MTc2NzIyNTYw",
    "MH0.JlzkG2oS_QWrQNn0ZpKFur4tMvMTnxPy9f3raLwRBIoNCk8ig-eS7BVyY7voNvIi0yi5fOizBgGgOqd91M1gJ1",
    "oWWaQZiE-QZGW36rtiU357rWSq9uO3EPBScN0WtK-X01jDiAr_ZFS3RELz5cEizBs0pYxFrcvKiJhEZSjFyxQNPbkz",
    "dFB248V53ZI-Mg3ydkUgH4y7LNDdurOa0q2Emxkw6ddoInT2neLxxn196fE-LFltXpSLiJzlhVivVOUre-zQSAXsE1",
    "k9C4QtPYIYljhd56YaJsMN1z4cf3Afcs78G3ntj-zwJU04gpAG_L9t0E9wTGQuTycpaZqfsBXCkw",
);
const EDDSA_TOKEN: &str = concat!(
    "eyJ0eXAiOiJKV1QiLCJhbGciOiJFZERTQSIsImtpZCI6ImVkLTEifQ.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGF",
    "tcGxlIiwiYXVkIjoiaGVhZHJvb20iLCJzdWIiOiJ1XzEiLCJleHAiOjE4OTM0NTYwMDAsIm5iZiI6MTc2NzIyNTYwM",
    "H0.MQ0uSHj-0W8aQG1xo2NQxvy2iBrPIRitzugxf-j_jmTTg3iSBfe6GiJitiXLIs5CtlNYsG_w3QgXAVOqdHGzDw",
);
const RSA_PEM: &str = concat!(
    "-----BEGIN PUBLIC KEY-----\n",
    "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAscHnG6EDzjnxyUCOxDK8\n",
    "zsofuGaxnnd924dxVe3jlR2qTTQAkG5uz6MErlquYJNnLkDazA7eaVyMP5Bs16hb\n",
    "4z8WmCnCEb+k71jwBRPAOm/MGnNr6qMX/OFvP6fSrMZ6hAQftr6pf0lz8SsPQnt1\n",
    "SKLVTR61NL8YxwHF/eeU+S/Ah3d9BpwORmyQhawZlcB/pmb/uLze4YBjZ2OE/pBc\n",
    "l9WiNvaJBfBRVaDJ0AYGNVqJ+DNar8njO0w2gVyZV4Za8eB25km+VKnnwwmd6jjn\n",
    "FE4IwiHkd+N++bbvRIl9rclrRMELr1rE014gunOxVyDXLAqHVykNHtJ8Ei8fEJNX\n",
    "DwIDAQAB\n",
    "-----END PUBLIC KEY-----\n",
);
const ED_PEM: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAHwFyTkxW+M67S+hDRv1BXVDBgwEdKNx3ppKLW4/jmDc=\n-----END PUBLIC KEY-----\n";

fn config(algorithm: JwtAlgorithm) -> JwtConfig {
    JwtConfig {
        algorithm,
        secret: Secret::new(SECRET),
        public_key_file: String::new(),
        jwks_file: String::new(),
        issuer: "https://issuer.example".to_owned(),
        audience: "headroom".to_owned(),
        leeway_s: 30,
    }
}

fn file(text: &str) -> (NamedTempFile, String) {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    (file, path)
}

fn verifier(config: &JwtConfig) -> JwtVerifier {
    JwtVerifier::load(config).unwrap().unwrap()
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn now() -> DateTime<Utc> {
    at("2026-11-22T00:00:00Z")
}

/// Valid claims with `changes` laid over them; `null` takes a claim out.
fn claims(changes: &Value) -> Value {
    let mut claims = json!({
        "iss": "https://issuer.example",
        "aud": ["other", "headroom"],
        "sub": "u_1",
        "exp": now().timestamp() + 60,
        "nbf": now().timestamp() - 60,
    });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    claims
}

fn hs256(changes: &Value) -> String {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims(changes), &key).unwrap()
}

fn verify(changes: &Value) -> Result<Subject, TokenError> {
    verifier(&config(JwtAlgorithm::Hs256)).verify(&hs256(changes), now())
}

#[test]
fn a_valid_token_names_its_user() {
    assert_eq!(verify(&json!({})).unwrap().as_str(), "user:u_1");
    assert_eq!(verify(&json!({"nbf": null, "aud": "headroom"})).unwrap().as_str(), "user:u_1");
    assert!(JwtVerifier::load(&config(JwtAlgorithm::Off)).unwrap().is_none());
}

#[test]
fn wrong_or_missing_claims_are_refused() {
    for changes in [
        json!({"iss": "https://other.example"}),
        json!({"iss": null}),
        json!({"aud": "other"}),
        json!({"aud": null}),
        json!({"exp": null}),
        json!({"exp": "tomorrow"}),
        json!({"nbf": "yesterday"}),
        json!({"sub": null}),
    ] {
        assert!(matches!(verify(&changes), Err(TokenError::Invalid(_))), "{changes}");
    }
    for sub in ["", "a b", "a/project:p_9", "{x}"] {
        let error = verify(&json!({"sub": sub}));
        assert!(matches!(error, Err(TokenError::Subject(_))), "{sub}");
    }
}

#[test]
fn times_are_measured_by_the_given_clock_with_the_leeway() {
    let exp = |seconds: i64| verify(&json!({"exp": now().timestamp() + seconds}));
    let nbf = |seconds: i64| verify(&json!({"nbf": now().timestamp() + seconds}));
    assert!(exp(-29).is_ok() && nbf(30).is_ok());
    assert!(matches!(exp(-30), Err(TokenError::Expired)));
    assert!(matches!(nbf(31), Err(TokenError::NotYet)));
}

#[test]
fn a_token_cannot_choose_its_algorithm() {
    // {"alg":"none"} and {"alg":"HS512"}, with the claims of a valid token.
    let token = hs256(&json!({}));
    let claims = token.split('.').nth(1).unwrap();
    let verifier = verifier(&config(JwtAlgorithm::Hs256));
    for forged in [
        format!("eyJhbGciOiJub25lIn0.{claims}."),
        format!("eyJhbGciOiJub25lIn0.{claims}.{}", token.split('.').next_back().unwrap()),
        format!("eyJhbGciOiJIUzUxMiJ9.{claims}.AAAA"),
        RS256_TOKEN.to_owned(),
        String::new(),
        "a.b.c".to_owned(),
    ] {
        assert!(verifier.verify(&forged, now()).is_err(), "{forged}");
    }
}

#[test]
fn a_public_key_is_no_shared_secret() {
    let (_file, path) = file(RSA_PEM);
    let verifier = verifier(&JwtConfig { public_key_file: path, ..config(JwtAlgorithm::Rs256) });
    let key = EncodingKey::from_secret(RSA_PEM.as_bytes());
    let header = Header::new(Algorithm::HS256);
    let forged = jsonwebtoken::encode(&header, &claims(&json!({})), &key).unwrap();
    assert!(matches!(verifier.verify(&forged, now()), Err(TokenError::Invalid(_))));
}

#[test]
fn a_changed_token_is_refused() {
    let verifier = verifier(&config(JwtAlgorithm::Hs256));
    let (token, other) = (hs256(&json!({})), hs256(&json!({"sub": "u_2"})));
    let mut parts: Vec<_> = token.split('.').collect();
    parts[1] = other.split('.').nth(1).unwrap();
    assert!(matches!(verifier.verify(&parts.join("."), now()), Err(TokenError::Invalid(_))));
}

#[test]
fn tokens_of_public_keys_are_verified_from_pem_and_from_a_key_set() {
    for (algorithm, pem, token) in
        [(JwtAlgorithm::Rs256, RSA_PEM, RS256_TOKEN), (JwtAlgorithm::EdDsa, ED_PEM, EDDSA_TOKEN)]
    {
        let (_pem, public_key_file) = file(pem);
        let (_jwks, jwks_file) = file(JWKS);
        for config in [
            JwtConfig { public_key_file, ..config(algorithm) },
            JwtConfig { jwks_file, ..config(algorithm) },
        ] {
            let verifier = verifier(&config);
            assert_eq!(verifier.verify(token, now()).unwrap().as_str(), "user:u_1");
            let late = verifier.verify(token, at("2031-01-01T00:00:00Z"));
            assert!(matches!(late, Err(TokenError::Expired)));
        }
    }
}

#[test]
fn a_key_set_is_searched_by_the_token_s_key_id() {
    let (_jwks, jwks_file) = file(&JWKS.replace("rsa-1", "rsa-2"));
    let verifier = verifier(&JwtConfig { jwks_file, ..config(JwtAlgorithm::Rs256) });
    assert!(matches!(verifier.verify(RS256_TOKEN, now()), Err(TokenError::UnknownKey)));
}

#[test]
fn a_file_without_a_key_stops_the_start() {
    let (_empty, path) = file("{\"keys\":[]}");
    let jwks = JwtConfig { jwks_file: path.clone(), ..config(JwtAlgorithm::Rs256) };
    assert!(matches!(JwtVerifier::load(&jwks), Err(JwtError::NoKey { .. })));
    let pem = JwtConfig { public_key_file: path, ..config(JwtAlgorithm::EdDsa) };
    assert!(matches!(JwtVerifier::load(&pem), Err(JwtError::NoKey { .. })));
    let absent = JwtConfig { jwks_file: "/nowhere".to_owned(), ..config(JwtAlgorithm::EdDsa) };
    assert!(matches!(JwtVerifier::load(&absent), Err(JwtError::Read { .. })));
}
