//! What a configuration gives, and the messages of the broken ones.

use std::fmt::Write as _;

use proptest::prelude::*;
use wa_core::limits::RateLimit;

use super::*;

fn env(pairs: &[(&str, &str)]) -> Sources {
    let env = pairs.iter().map(|(name, value)| EnvVar { name: (*name).to_owned(), value: (*value).to_owned(), file: None }).collect();
    Sources { env, ..Sources::default() }
}

fn secret_file(name: &str, content: Result<&str, &str>) -> Sources {
    let file = content.map(ToOwned::to_owned).map_err(ToOwned::to_owned);
    Sources { env: vec![EnvVar { name: name.to_owned(), value: "/run/secrets/it".to_owned(), file: Some(file) }], ..Sources::default() }
}

#[test]
fn nothing_configured_gives_the_defaults() {
    assert_eq!(parse(&Sources::default()), Ok(Config::default()));
}

#[test]
fn flags_win_over_the_environment_and_the_environment_over_the_file() {
    let mut sources = env(&[("WA_SERVER__BIND", "127.0.0.1:2"), ("WA_LIMITS__OTP_SEND", "7/1h")]);
    sources.file = Sources::from_toml("[server]\nbind = '127.0.0.1:1'\nshutdown_grace = '3s'\n[limits]\notp_send = '1/1s'").file;
    sources.flags.port = Some(3);
    let config = parse(&sources).expect("valid");
    assert_eq!(config.server.bind, SocketAddr::from(([127, 0, 0, 1], 3)));
    assert_eq!(config.server.shutdown_grace, Duration::from_secs(3));
    assert_eq!(config.limits.otp_send, RateLimit::new(7, Duration::from_secs(3600)));
}

#[test]
fn dev_mode_switches_on_what_helps_developing() {
    let sources = Sources { flags: Flags { dev: true, ..Flags::default() }, ..Sources::from_toml("[dev]\necho_otp = false") };
    let config = parse(&sources).expect("valid");
    assert!(config.dev.mode && config.dev.echo_otp && config.dev.seed_demo);
}

#[test]
fn lists_are_comma_separated_in_the_environment() {
    let config =
        parse(&env(&[("WA_SERVER__CORS_ORIGINS", "https://a.example, https://b.example"), ("WA_SERVER__TRUSTED_PROXIES", "10.0.0.0/8,::1")])).expect("valid");
    assert_eq!(Ok(config.server.cors_origins), Origins::parse(&["https://a.example", "https://b.example"]));
    assert_eq!(Ok(config.server.trusted_proxies), TrustedProxies::parse(&["10.0.0.0/8", "::1"]));
}

#[test]
fn the_line_end_of_a_secret_file_is_cut() {
    let long = "0123456789abcdef0123456789abcdef";
    for ending in ["", "\n", "\r\n"] {
        let config = parse(&secret_file("WA_AUTH__JWT_SECRET_FILE", Ok(&format!("{long}{ending}")))).expect("valid");
        assert_eq!(config.auth.jwt_secret.as_ref().map(Secret::reveal), Some(long));
    }
}

#[test]
fn what_this_release_lacks_may_stand_at_its_default() {
    let text = "server.roles = ['all']\nserver.grpc_bind = ''\nstorage.cache = 'memory:'\nstorage.events = 'memory:'\ncompat.mirror_lists = false\n\
                storage.database = 'sqlite://a.db'\nstorage.messages = 'sqlite://a.db'";
    let config = Config::from_toml(text).expect("valid");
    assert_eq!(config.database_url(), "sqlite://a.db");
}

#[test]
fn pushes_are_configured() {
    let key = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc";
    let text = format!(
        "[push]\nfcm_credentials = '/etc/fcm.json'\nfcm_endpoint = 'http://127.0.0.1:9'\nvapid_private_key = '{key}'\nvapid_subject = 'mailto:a@example.org'\ngroup_window = '500ms'"
    );
    let push = Config::from_toml(&text).expect("valid").push;
    assert_eq!((push.fcm_credentials.as_deref(), push.fcm_endpoint.as_str()), (Some(std::path::Path::new("/etc/fcm.json")), "http://127.0.0.1:9/"));
    assert_eq!(push.vapid_private_key.as_ref().map(Secret::reveal), Some(key));
    assert_eq!((push.vapid_subject.as_deref(), push.group_window), (Some("mailto:a@example.org"), Duration::from_millis(500)));
}

#[test]
fn variables_of_others_are_left_alone() {
    let others =
        [("WA_SERVER", "http://a"), ("WA_PROFILE", "alice"), ("WA_SERVER_PORT", "tcp://10.0.0.1:8080"), ("WA_SERVER_SERVICE_HOST", "10.0.0.1"), ("WA_", "")];
    assert_eq!(parse(&env(&others)), Ok(Config::default()));
}

#[test]
fn lowering_a_limit_lowers_the_default_below_it() {
    let limits = Config::from_toml("[limits]\npage = 10\nsync_messages = 7").expect("valid").limits;
    assert_eq!((limits.history_page_default, limits.list_page_default, limits.sync_messages_default), (10, 10, 7));
}

#[test]
fn a_role_listens_on_its_port_and_knows_its_peers() {
    let text = "[server]\nroles = ['gateway']\n[peers]\nauth = { http = 'http://a:8081', grpc = 'http://a:9081' }\nuser.http = 'http://u:8082'\n\
                chat.http = 'http://c:8083'\nmessage.http = 'http://m:8084'\nmedia.http = 'http://f:8086'\nwebsocket.http = 'http://w:8087'";
    let config = Config::from_toml(text).expect("valid");
    assert_eq!((config.server.bind.port(), config.server.grpc_bind), (8080, None));
    assert_eq!((config.peers.http.len(), config.peers.grpc[&Role::Auth][0].as_str()), (6, "http://a:9081/"));
    // All but the gateway in one process need nothing that is shared.
    let config = parse(&env(&[("WA_SERVER__ROLES", "auth,user,chat,message,notification,media,websocket"), ("WA_PEERS__USER__GRPC", "http://10.0.0.5:9082")]));
    let config = config.expect("valid");
    assert_eq!((config.server.bind.port(), config.server.grpc_bind), (8081, Some(SocketAddr::from(([127, 0, 0, 1], 9081)))));
    assert_eq!(config.peers.grpc[&Role::User][0].as_str(), "http://10.0.0.5:9082/");
    // A role that several processes have.
    for text in ["[peers]\nuser.http = 'http://a:1, http://b:2'", "[peers]\nuser.http = ['http://a:1', 'http://b:2']"] {
        let peers = Config::from_toml(text).expect("valid").peers;
        assert_eq!(peers.http[&Role::User].iter().map(url::Url::as_str).collect::<Vec<_>>(), ["http://a:1/", "http://b:2/"]);
    }
    assert!(Config::from_toml("[peers]\nuser.http = ','").is_err());
}

#[test]
fn every_key_of_the_contract_is_known() {
    let keys = [
        "server.bind",
        "server.grpc_bind",
        "server.roles",
        "server.public_url",
        "server.data_dir",
        "server.web_client",
        "server.cors_origins",
        "server.trusted_proxies",
        "server.shutdown_grace",
        "storage.database",
        "storage.postgres_connections",
        "storage.messages",
        "storage.cache",
        "storage.events",
        "storage.media",
        "auth.jwt_secret",
        "auth.jwt_previous_secrets",
        "auth.access_ttl",
        "auth.refresh_ttl",
        "auth.otp_ttl",
        "auth.otp_max_attempts",
        "limits.enabled",
        "limits.otp_send",
        "limits.otp_verify",
        "limits.api_user",
        "limits.api_ip",
        "limits.contacts_sync",
        "limits.upload",
        "limits.ws_messages",
        "limits.group_size",
        "limits.group_name_length",
        "limits.group_description_length",
        "limits.text_length",
        "limits.ws_frame",
        "limits.edit_window",
        "limits.connect_backlog",
        "push.fcm_credentials",
        "push.fcm_endpoint",
        "push.vapid_private_key",
        "push.vapid_subject",
        "push.group_window",
        "sms.provider",
        "sms.webhook_url",
        "sms.webhook_secret",
        "telemetry.log_format",
        "telemetry.log_level",
        "telemetry.metrics_bind",
        "telemetry.otlp_endpoint",
        "peers.user.grpc",
        "compat.mirror_lists",
        "dev.echo_otp",
        "dev.seed_demo",
    ];
    for key in keys {
        let variable = format!("WA_{}", key.replace('.', "__").to_uppercase());
        if let Err(errors) = parse(&env(&[(&variable, "?")])) {
            assert!(errors.errors().iter().all(|error| error.key == key && !error.problem.contains("not a key")), "{errors}");
        }
    }
}

#[test]
fn every_broken_configuration_says_what_where_and_what_to_do() {
    let toml = |text: &str| Sources::from_toml(text);
    let dev = |bind: &str| Sources { flags: Flags { dev: true, bind: Some(bind.to_owned()), ..Flags::default() }, ..Sources::default() };
    let cases: Vec<(&str, Sources)> = vec![
        ("a syntax error", toml("[server]\nbind = 127.0.0.1")),
        ("a syntax error beside a secret", toml("[auth]\njwt_secret = \"hunter2-hunter2-hunter2-hunter2\" extra")),
        ("a repeated key", toml("[server]\nweb_client = true\nweb_client = false")),
        ("a misspelt key", toml("[limits]\notp_sent = '3/5m'")),
        ("an unknown section", toml("[sever]\nbind = '127.0.0.1:1'")),
        ("a section that is a value", toml("server = 3")),
        ("a table too deep", toml("[server.bind.port]\nnumber = 1")),
        ("an unknown key in the environment", env(&[("WA_SERVER__BINDD", "127.0.0.1:1")])),
        ("one underscore in place of two", env(&[("WA_SERVER_BIND", "127.0.0.1:1")])),
        ("an unknown section in the environment", env(&[("WA_NOPE__THING", "1")])),
        ("a variable set in two spellings", env(&[("WA_SERVER__BIND", "127.0.0.1:1"), ("WA_server__bind", "127.0.0.1:2")])),
        ("a secret and its file", {
            let mut both = secret_file("WA_AUTH__JWT_SECRET_FILE", Ok("0123456789abcdef0123456789abcdef"));
            both.env.insert(0, EnvVar { name: "WA_AUTH__JWT_SECRET".to_owned(), value: "0123456789abcdef0123456789abcdef".to_owned(), file: None });
            both
        }),
        ("a file for what is no secret", env(&[("WA_SERVER__BIND_FILE", "/etc/bind")])),
        ("a secret file that is not there", secret_file("WA_AUTH__JWT_SECRET_FILE", Err("there is no such file"))),
        ("an address without a port", toml("[server]\nbind = '127.0.0.1'")),
        ("a host name as address", toml("[server]\nbind = 'example.org:80'")),
        ("an empty address", env(&[("WA_SERVER__BIND", "")])),
        ("a port out of range", env(&[("WA_SERVER__BIND", "127.0.0.1:99999")])),
        ("a number as address", toml("[server]\nbind = 8080")),
        ("a short secret", toml("[auth]\njwt_secret = 'hunter2'")),
        ("a short previous secret", env(&[("WA_AUTH__JWT_PREVIOUS_SECRETS", "0123456789abcdef0123456789abcdef,hunter2")])),
        ("a rate without a window", toml("[limits]\notp_send = 3")),
        ("a rate of nothing", toml("[limits]\napi_user = '0/1m'")),
        ("a duration without a unit", toml("[auth]\naccess_ttl = 900")),
        ("a duration that is none", toml("[auth]\nrefresh_ttl = 'a month'")),
        ("a duration out of range", toml("[server]\nshutdown_grace = '2h'")),
        ("a count that is negative", toml("[limits]\ntext_length = -1")),
        ("a count with a fraction", toml("[limits]\ngroup_size = 2.5")),
        ("a size out of range", toml("[limits]\nws_frame = '1KB'\njson_body = '1GB'")),
        ("a switch that is none", env(&[("WA_SERVER__WEB_CLIENT", "yes")])),
        ("a bad origin", env(&[("WA_SERVER__CORS_ORIGINS", "https://a.example,app.example.org/path")])),
        ("a bad proxy range", toml("[server]\ntrusted_proxies = ['10.0.0.0/99']")),
        ("a list of numbers", toml("[server]\ntrusted_proxies = [1]")),
        ("a public URL of another scheme", toml("[server]\npublic_url = 'ftp://a.example'")),
        ("codes echoed to everybody", toml("[server]\nbind = '0.0.0.0:8080'\n[dev]\necho_otp = true")),
        ("demo accounts for everybody", toml("[server]\nbind = '0.0.0.0:8080'\n[dev]\nseed_demo = true")),
        ("dev mode for everybody", dev("0.0.0.0:8080")),
        ("PostgreSQL nowhere", env(&[("WA_STORAGE__DATABASE", "postgres://"), ("WA_STORAGE__POSTGRES_CONNECTIONS", "2")])),
        ("a database that is none", env(&[("WA_STORAGE__DATABASE", "mongodb://wa:hunter2@db/wa")])),
        ("another store for messages", toml("[storage]\nmessages = 'sqlite://other.db'")),
        ("NATS", toml("[storage]\nevents = 'nats://user:hunter2@'")),
        ("caches that are none", toml("[storage]\ncache = 'memcached://user:hunter2@host'")),
        ("a Redis without a server", toml("[storage]\ncache = 'redis://'")),
        ("a bucket without a name", toml("[storage]\nmedia = 's3://'")),
        ("no database at all", toml("[storage]\ndatabase = 'wa.db'")),
        ("a database without a file", toml("[storage]\ndatabase = 'sqlite://'")),
        ("a role alone", toml("[server]\nroles = ['websocket']")),
        ("a gateway that knows nobody", env(&[("WA_SERVER__ROLES", "gateway,user")])),
        ("roles that are none", toml("[server]\nroles = ['all-of-them']\n[peers]\nuser.ftp = 'http://a'\nauth.grpc = 'ftp://a'")),
        ("gRPC", toml("[server]\ngrpc_bind = '127.0.0.1:8080'\n[telemetry]\nmetrics_bind = '127.0.0.1:8080'")),
        ("gRPC nowhere", toml("[server]\ngrpc_bind = 'somewhere'")),
        ("push", toml("[push]\nfcm_endpoint = 'fcm'\nvapid_private_key = 'hunter2'\nvapid_subject = 'admin@example.org'\ngroup_window = '1h'")),
        ("OTLP", toml("[telemetry]\notlp_endpoint = 'http://collector:4317'")),
        ("a webhook without a URL", toml("[sms]\nprovider = 'webhook'")),
        ("a webhook URL without effect", toml("[sms]\nwebhook_url = 'https://sms.example/send?key=hunter2'")),
        ("an unknown SMS provider", toml("[sms]\nprovider = 'pigeon'")),
        ("a bad webhook URL", toml("[sms]\nprovider = 'webhook'\nwebhook_url = 'sms.example'")),
        ("a bad log level", env(&[("WA_TELEMETRY__LOG_LEVEL", "info,wa_core=loud")])),
        ("a bad log format", toml("[telemetry]\nlog_format = 'xml'")),
        ("metrics on the same port", toml("[telemetry]\nmetrics_bind = '127.0.0.1:8080'")),
        ("tokens that outlive their refresh", toml("[auth]\naccess_ttl = '2h'\nrefresh_ttl = '1h'")),
        ("pings that come too late", toml("[limits]\nws_ping = '2m'")),
        ("a default page above the largest", toml("[limits]\npage = 10\nhistory_page_default = 20")),
        (
            "several at once",
            Sources {
                env: env(&[("WA_LIMITS__OTP_SEND", "fast")]).env,
                ..toml("[server]\nbind = 'here'\nbnid = 1\n[auth]\njwt_secret = 'short'\notp_max_attempts = 0")
            },
        ),
    ];
    let mut messages = String::new();
    for (what, sources) in cases {
        let errors = parse(&sources).expect_err(what);
        assert!(!errors.to_string().contains("hunter2"), "{what} shows a secret");
        writeln!(messages, "## {what}\n{errors}\n").expect("strings take everything");
    }
    insta::assert_snapshot!(messages);
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(\\[[a-z]{1,8}\\]\n|[a-z_.]{1,12} ?= ?('[^'\n]{0,20}'|[0-9a-z.:-]{1,12}|\\[[^\n]{0,10}\\])\n){0,8}", junk in ".{0,60}") {
        let _ = parse(&Sources::from_toml(text));
        let _ = parse(&Sources::from_toml(junk));
    }

    #[test]
    fn no_environment_makes_it_panic(name in "WA_[A-Za-z_ä]{0,24}", value in ".{0,40}") {
        let _ = parse(&env(&[(&name, &value)]));
    }
}

#[test]
fn credentials_in_urls_do_not_show() {
    let url = "s3://key:hunter2@whatsapp-media?endpoint=http://127.0.0.1:9000";
    let config = Config::from_toml(&format!("[storage]\nmedia = '{url}'")).expect("it is read");
    assert_eq!(config.storage.media.as_deref(), Some(url));
    let shown = format!("{config:?}");
    assert!(shown.contains("s3://…@whatsapp-media?endpoint=") && !shown.contains("hunter2"), "{shown}");
    for url in ["postgres://wa:hunter2@db/wa", "postgres://db/wa?user=wa&password=hunter2"] {
        let config = Config::from_toml(&format!("[storage]\ndatabase = '{url}'")).expect("it is read");
        assert_eq!(config.database_url(), url);
        let shown = format!("{config:?} {}", config.shown_database());
        assert!(shown.contains("postgres://…") && !shown.contains("hunter2"), "{shown}");
    }
}
