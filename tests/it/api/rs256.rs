//! Tokens of RS256. The token was signed once, with a key that was then thrown away; it is valid from 2026 to 2030.

use reqwest::StatusCode;

use super::move_to;
use super::tokens;
use crate::support::TestApp;

const RS256_TOKEN: &str = concat!(
    "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiIsImtpZCI6InJzYS0xIn0.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leG",
    "FtcGxlIiwiYXVkIjoiaGVhZHJvb20iLCJzdWIiOiJ1XzEiLCJleHAiOjE4OTM0NTYwMDAsIm5iZiI6MTc2NzIyNTYw",
    "MH0.JlzkG2oS_QWrQNn0ZpKFur4tMvMTnxPy9f3raLwRBIoNCk8ig-eS7BVyY7voNvIi0yi5fOizBgGgOqd91M1gJ1",
    "oWWaQZiE-QZGW36rtiU357rWSq9uO3EPBScN0WtK-X01jDiAr_ZFS3RELz5cEizBs0pYxFrcvKiJhEZSjFyxQNPbkz",
    "dFB248V53ZI-Mg3ydkUgH4y7LNDdurOa0q2Emxkw6ddoInT2neLxxn196fE-LFltXpSLiJzlhVivVOUre-zQSAXsE1",
    "k9C4QtPYIYljhd56YaJsMN1z4cf3Afcs78G3ntj-zwJU04gpAG_L9t0E9wTGQuTycpaZqfsBXCkw",
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

/// Guards RS256 with a public key in a file, and that the configured algorithm alone is taken.
#[tokio::test]
async fn an_rs256_token_is_verified_with_the_public_key_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("public.pem");
    std::fs::write(&file, RSA_PEM).unwrap();
    let options = tokens::strict("RS256").with("HEADROOM_JWT_PUBLIC_KEY_FILE", file.display());
    let app = TestApp::start_with(options).await;
    move_to(&app, "2027-02-10T12:00:00Z");
    let tampered = RS256_TOKEN.replacen(".eyJ", ".eyK", 1);

    let good = app.caller().with_key(RS256_TOKEN).get("/api/usage").await;

    assert_eq!((good.status, &good.body["userId"]), (StatusCode::OK, &serde_json::json!("u_1")));
    let with_pem_as_secret = tokens::signed_as(tokens::HS256, RSA_PEM, &tokens::claims("u_1"));
    for token in [tampered, with_pem_as_secret] {
        let answer = app.caller().with_key(&token).get("/api/usage").await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{token}");
    }
    app.finish().await;
}
