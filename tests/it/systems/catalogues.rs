//! The demo catalogues as files: each loads, and goes out and in again unchanged.

use headroom::domain::Catalogue;
use serde_json::json;

use super::apply;
use super::command;
use super::demo;
use crate::support::TestApp;

/// Guards that a demo catalogue is one command away, that its export is the same catalogue, and that applying what is in
/// force makes no new version.
#[tokio::test]
async fn every_demo_catalogue_is_applied_and_survives_an_export() {
    let app = TestApp::start().await;
    let exported = app.stores.folder().join("exported.toml");

    for (name, version) in
        [("tiers", 2), ("chat", 3), ("entries", 4), ("invoicing", 5), ("images", 6)]
    {
        let file = demo(name);
        let applied = apply(&app, &file).await.json();
        let export = command(&app, &["export"]).await;
        std::fs::write(&exported, &export.stdout).unwrap();
        let again = apply(&app, exported.to_str().unwrap()).await.json();

        assert_eq!((&applied["version"], &applied["applied"]), (&json!(version), &json!(true)));
        assert!(!applied["changes"].as_array().unwrap().is_empty(), "{name}");
        let of_file = Catalogue::parse(&std::fs::read_to_string(&file).unwrap()).unwrap();
        assert_eq!(Catalogue::parse(&export.stdout).unwrap(), of_file, "{name}");
        assert_eq!(again, json!({ "version": version, "applied": false, "changes": [] }));
    }

    app.quota().follow_catalogue().await.unwrap();
    assert_eq!(app.quota().catalogue().version, 6);
    app.finish().await;
}
