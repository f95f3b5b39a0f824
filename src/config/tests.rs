//! What an operator may rely on.

use std::io::Write;

use tempfile::NamedTempFile;
use toml::Value;

use super::*;

fn with_env(env: &[(&str, &str)]) -> Result<Config, ConfigError> {
    load(None, env)
}

fn with_file(text: &str) -> Result<Config, ConfigError> {
    load(Some(&file(text)), &[])
}

fn load(file: Option<&NamedTempFile>, env: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Config::load(file.map(NamedTempFile::path), env.iter().map(owned))
}

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn refusal(result: Result<Config, ConfigError>) -> String {
    result.expect_err("must be refused").to_string()
}

#[test]
fn the_default_file_is_a_valid_configuration() {
    let config = with_env(&[]).unwrap();

    assert_eq!(config.role, Role::All);
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.quota.shards, 1);
    assert_eq!(config.jwt.algorithm, JwtAlgorithm::Off);
    assert_eq!(config.postgres.migration_url(), &config.postgres.url);
}

#[test]
fn every_number_has_a_bound() {
    let schema = layer::Schema::new();
    for (section, keys) in schema.defaults() {
        for (key, value) in keys.as_table().into_iter().flatten() {
            let key = format!("{section}.{key}");
            let bounded = bounds::all().any(|bound| bound.key == key);
            assert_eq!(value.is_integer(), bounded, "{key}");
        }
    }
    assert!(bounds::all().all(|bound| schema.default_of(bound.key).is_some_and(Value::is_integer)));
}

#[test]
fn the_file_overrides_the_defaults_and_the_environment_overrides_the_file() {
    let file = file("role = \"api\"\n[quota]\nshards = 4\ngroup_max = 8\n");
    let env = [
        ("HEADROOM_QUOTA_SHARDS", "16"),
        ("HEADROOM_SERVER_LEGACY_RATE_LIMIT_HEADERS", "true"),
        ("DATABASE_URL", "postgres://a@b/c"),
        ("REDIS_URL", "redis://r/"),
        ("UNRELATED", "1"),
    ];

    let config = load(Some(&file), &env).unwrap();

    assert_eq!(config.role, Role::Api);
    assert_eq!((config.quota.shards, config.quota.group_max), (16, 8));
    assert!(config.server.legacy_rate_limit_headers);
    assert_eq!(config.postgres.url.expose(), "postgres://a@b/c");
    assert_eq!(config.redis.url.expose(), "redis://r/");
}

#[test]
fn the_environment_may_name_the_file_and_the_option_comes_first() {
    let (named, option) = (file("role = \"api\""), file("role = \"background\""));
    let env = [("HEADROOM_CONFIG", named.path().to_str().unwrap())];

    assert_eq!(with_env(&env).unwrap().role, Role::Api);
    assert_eq!(load(Some(&option), &env).unwrap().role, Role::Background);
    assert_eq!(with_env(&[("HEADROOM_ROLE", "api")]).unwrap().role, Role::Api);
}

#[test]
fn an_unknown_key_is_named() {
    for (text, named) in [
        ("colour = 1", "unknown key colour"),
        ("[server]\nport = 1", "unknown key server.port"),
        ("[sever]\nlisten = \"\"", "unknown key sever"),
    ] {
        let refusal = refusal(with_file(text));
        assert!(refusal.contains(named), "{refusal}");
    }
    for variable in ["HEADROOM_SERVER_PORT", "HEADROOM_X", "HEADROOM_LOG_LEVEL_FILE"] {
        let refusal = refusal(with_env(&[(variable, "1")]));
        assert!(refusal.contains(variable), "{refusal}");
    }
}

#[test]
fn what_kubernetes_adds_for_a_service_is_passed_over() {
    let env = [
        ("HEADROOM_SERVICE_HOST", "10.0.0.1"),
        ("HEADROOM_SERVICE_PORT", "80"),
        ("HEADROOM_SERVICE_PORT_HTTP", "80"),
        ("HEADROOM_PORT", "tcp://10.0.0.1:80"),
        ("HEADROOM_PORT_80_TCP_ADDR", "10.0.0.1"),
        ("HEADROOM_REDIS_PORT", "tcp://10.0.0.2:6379"),
    ];

    with_env(&env).unwrap();
}

#[test]
fn a_wrong_type_is_named_with_its_key() {
    for (result, expected) in [
        (with_file("[quota]\nshards = \"4\""), "quota.shards must be an integer"),
        (with_file("server = 1"), "server must be a section"),
        (with_file("[role]\n"), "role must be a text"),
        (
            with_env(&[("HEADROOM_QUOTA_SHARDS", "four")]),
            "quota.shards must be an integer, in HEADROOM_QUOTA_SHARDS",
        ),
        (
            with_env(&[("HEADROOM_SERVER_LEGACY_RATE_LIMIT_HEADERS", "1")]),
            "server.legacy_rate_limit_headers must be true or false",
        ),
    ] {
        let refusal = refusal(result);
        assert!(refusal.contains(expected), "{refusal}");
    }
}

#[test]
fn a_number_out_of_bounds_is_named_with_its_bound() {
    for value in ["0", "1025", "-1", "9999999999"] {
        let refusal = refusal(with_env(&[("HEADROOM_QUOTA_SHARDS", value)]));
        assert_eq!(refusal, format!("quota.shards is {value}, must be 1 to 1024"));
    }
}

#[test]
fn a_word_that_is_none_of_the_choices_is_named_with_its_key() {
    for (variable, key) in [
        ("HEADROOM_ROLE", "role"),
        ("HEADROOM_QUOTA_STORE_AWAY", "quota.store_away"),
        ("HEADROOM_JWT_ALGORITHM", "jwt.algorithm"),
        ("HEADROOM_SERVER_LISTEN", "server.listen"),
        ("HEADROOM_LOG_LEVEL", "log.level"),
        ("REDIS_URL", "redis.url"),
        ("DATABASE_URL", "postgres.url"),
    ] {
        let refusal = refusal(with_env(&[(variable, "a=b=c")]));
        assert!(refusal.starts_with(&format!("{key}: ")), "{refusal}");
    }
}

#[test]
fn tokens_need_a_key_that_fits_the_algorithm() {
    let short = [("HEADROOM_JWT_ALGORITHM", "HS256"), ("HEADROOM_JWT_SECRET", "hunter2")];
    let refused = refusal(with_env(&short));
    assert!(refused.contains("jwt.secret") && !refused.contains("hunter2"));
    assert!(refusal(with_env(&[("HEADROOM_JWT_ALGORITHM", "RS256")])).contains("jwt.algorithm"));

    let key = [("HEADROOM_JWT_ALGORITHM", "EdDSA"), ("HEADROOM_JWT_PUBLIC_KEY_FILE", "/key.pem")];
    assert_eq!(with_env(&key).unwrap().jwt.public_key_file, "/key.pem");
}

#[test]
fn a_secret_may_come_from_a_file() {
    let secret = file("  12345678901234567890\n");
    let path = secret.path().to_str().unwrap();
    let url = file("postgres://u:hunter2@h/db\n");
    let env = [
        ("HEADROOM_AUTH_ADMIN_KEY_FILE", path),
        ("DATABASE_URL_FILE", url.path().to_str().unwrap()),
    ];

    let config = with_env(&env).unwrap();

    assert_eq!(config.auth.admin_key.expose(), "12345678901234567890");
    assert_eq!(config.postgres.url.expose(), "postgres://u:hunter2@h/db");
    let absent = refusal(with_env(&[("REDIS_URL_FILE", "/nonexistent")]));
    assert!(absent.contains("REDIS_URL_FILE"), "{absent}");
}

#[test]
fn redis_is_in_one_place() {
    let sentinels = ("HEADROOM_REDIS_SENTINEL_URLS", "redis://:hunter2@s:1,redis://t:1");
    let primary = ("HEADROOM_REDIS_SENTINEL_PRIMARY", "counters");
    let cluster = ("HEADROOM_REDIS_CLUSTER_URLS", "redis://:hunter2@a:1, redis://b:2");
    let url = ("REDIS_URL", "redis://:hunter2@h/");
    let many = ["redis://h"; 17].join(",");
    for (env, key) in [
        (vec![sentinels], "redis.sentinel_primary: "),
        (vec![primary], "redis.sentinel_primary: "),
        (vec![sentinels, primary, cluster], "redis.cluster_urls: redis.sentinel_urls is set, too"),
        (vec![url, cluster], "redis.cluster_urls: redis.url is set, too"),
        (vec![("HEADROOM_REDIS_CLUSTER_URLS", "redis://:hunt,er2@a")], "redis.cluster_urls: each"),
        (vec![("HEADROOM_REDIS_SENTINEL_URLS", "b:1"), primary], "redis.sentinel_urls: each"),
        (
            vec![("HEADROOM_REDIS_CLUSTER_URLS", many.as_str())],
            "redis.cluster_urls: must be at most",
        ),
    ] {
        let refusal = refusal(with_env(&env));
        assert!(refusal.starts_with(key) && !refusal.contains("hunt"), "{refusal}");
    }

    let config = with_env(&[cluster]).unwrap();
    assert_eq!(config.redis.cluster_urls.iter().last(), Some("redis://b:2"));
    assert!(!config.shown().contains("hunter2"), "{}", config.shown());
    assert!(with_env(&[url, sentinels, primary]).is_ok(), "the login");
}

#[test]
fn the_password_of_redis_may_come_alone_or_from_a_file() {
    let url = ("REDIS_URL", "redis://h:1/");
    let file = file("hunter2\n");
    let path = file.path().to_str().unwrap();
    for password in [("REDIS_PASSWORD", "hunter2"), ("REDIS_PASSWORD_FILE", path)] {
        let config = with_env(&[url, password]).unwrap();
        assert_eq!(config.redis.login_url(), "redis://:hunter2@h:1/");
        assert!(!config.shown().contains("hunter2"), "{}", config.shown());
    }
    let cluster = ("HEADROOM_REDIS_CLUSTER_URLS", "redis://a:1,redis://b:2");
    let config = with_env(&[cluster, ("REDIS_PASSWORD", "hunter2")]).unwrap();
    assert_eq!(config.redis.cluster_login_urls(), ["redis://:hunter2@a:1", "redis://b:2"]);
    let inside = [("REDIS_URL", "redis://:own@h/"), ("REDIS_PASSWORD", "hunter2")];
    assert_eq!(with_env(&inside).unwrap().redis.login_url(), "redis://:own@h/");
}

#[test]
fn a_key_set_twice_by_the_environment_is_refused() {
    for (first, second) in [
        ("DATABASE_URL", "DATABASE_URL_FILE"),
        ("HEADROOM_REDIS_URL", "REDIS_URL"),
        ("HEADROOM_JWT_SECRET", "HEADROOM_JWT_SECRET_FILE"),
    ] {
        let file = file("redis://h/");
        let path = file.path().to_str().unwrap();
        let refusal = refusal(with_env(&[(first, path), (second, path)]));
        assert!(refusal.contains(first) && refusal.contains(second), "{refusal}");
    }
}

#[test]
fn secrets_are_hidden_wherever_the_configuration_is_shown() {
    let env = [
        ("HEADROOM_AUTH_ADMIN_KEY", "hunter2"),
        ("HEADROOM_JWT_SECRET", "hunter2-hunter2-hunter2-hunter2-hunter2"),
        ("DATABASE_URL", "postgres://u:hunter2@h/db"),
        ("REDIS_URL", "redis://:hunter2@h/"),
        ("REDIS_PASSWORD", "hunter2"),
        ("HEADROOM_POSTGRES_OWNER_URL", "postgres://o:hunter2@h/db"),
    ];

    let config = with_env(&env).unwrap();

    for shown in [config.shown(), format!("{config:?}")] {
        assert!(!shown.contains("hunter2") && shown.contains("***"), "{shown}");
    }
    assert!(config.shown().contains("postgres://u:***@h/db"));
}

#[test]
fn a_syntax_error_gives_the_line_and_not_its_content() {
    let refusal = refusal(with_file("role = \"all\"\n[auth]\nadmin_key = hunter2\n"));

    assert!(refusal.contains("line 3") && !refusal.contains("hunter2"), "{refusal}");
}
