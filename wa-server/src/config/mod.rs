//! The configuration (contract, section 8): what can be set, what is the default, and what is refused. [`parse`] is a pure
//! function of the [`Sources`] and reports everything that is wrong at once.

mod error;
mod layers;
mod limits;
mod reader;
mod roles;
mod secret;
mod source;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use url::Url;
use wa_core::limits::Limits;
#[cfg(feature = "cluster")]
use wa_transport::nats::NatsUrl;
use wa_transport::push::VapidKey;
use wa_transport::rest::{Origins, TrustedProxies};

pub use error::{ConfigError, ConfigErrors, Origin};
pub use secret::Secret;
pub use source::{EnvVar, Flags, SourceFile, Sources};

use crate::role::{Role, Roles};
use layers::{Layers, Raw};
use reader::{Read, Reader, list, problem, shown, text};

/// Bytes that a signing secret has at least.
pub const SHORTEST_JWT_SECRET: usize = 32;

/// Everything that can be set. `Config::default()` is the embedded default; a host changes what it wants to.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// How it is reached and where its data lies.
    pub server: ServerConfig,
    /// What it stores in.
    pub storage: StorageConfig,
    /// Logins.
    pub auth: AuthConfig,
    /// Every limit.
    pub limits: Limits,
    /// Who carries pushes to devices.
    pub push: PushConfig,
    /// Who carries one-time passwords to phones.
    pub sms: SmsConfig,
    /// Logs and metrics.
    pub telemetry: TelemetryConfig,
    /// Where the roles are that run elsewhere.
    pub peers: PeersConfig,
    /// What clients of other spellings get.
    pub compat: CompatConfig,
    /// What helps while developing and must not be on elsewhere.
    pub dev: DevConfig,
}

/// The section `[server]`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ServerConfig {
    /// Where it listens; port 0 takes a free one.
    pub bind: SocketAddr,
    /// What runs in this process.
    pub roles: Roles,
    /// Where gRPC is served; `None`: nowhere. Whoever reaches it may act as anybody: it belongs on a private network.
    pub grpc_bind: Option<SocketAddr>,
    /// Where clients reach it, if not there.
    pub public_url: Option<Url>,
    /// Where its data and secrets lie.
    pub data_dir: PathBuf,
    /// Whether the built-in web client is served.
    pub web_client: bool,
    /// The web origins that may call it, beside its own.
    pub cors_origins: Origins,
    /// The proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: TrustedProxies,
    /// How long a shutdown may take.
    pub shutdown_grace: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            bind: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080),
            roles: Roles::default(),
            grpc_bind: None,
            public_url: None,
            data_dir: PathBuf::from("./wa-data"),
            web_client: true,
            cors_origins: Origins::default(),
            trusted_proxies: TrustedProxies::default(),
            shutdown_grace: Duration::from_secs(15),
        }
    }
}

/// The section `[storage]`.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StorageConfig {
    /// The URL of the database; `None`: the SQLite file `wa.db` in the data directory.
    pub database: Option<String>,
    /// Connections to PostgreSQL, where it is the database.
    pub postgres_connections: u32,
    /// The URL of the Redis that nodes share; `None`: in memory.
    pub cache: Option<String>,
    /// The URL of the MongoDB that keeps what is known of files; `None`: the database does.
    pub messages: Option<String>,
    /// Where events go from node to node; `None`: they stay in this process.
    #[cfg(feature = "cluster")]
    pub events: Option<NatsUrl>,
    /// The URL of the object store for uploaded files; `None`: the folder `media` in the data directory.
    pub media: Option<String>,
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self {
            database: None,
            postgres_connections: 20,
            cache: None,
            messages: None,
            #[cfg(feature = "cluster")]
            events: None,
            media: None,
        }
    }
}

impl std::fmt::Debug for StorageConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = |url: &Option<String>| url.as_deref().map(shown_url);
        let mut shows = f.debug_struct("StorageConfig");
        shows
            .field("database", &shown(&self.database))
            .field("postgres_connections", &self.postgres_connections)
            .field("cache", &shown(&self.cache))
            .field("messages", &shown(&self.messages))
            .field("media", &shown(&self.media));
        #[cfg(feature = "cluster")]
        shows.field("events", &self.events);
        shows.finish()
    }
}

/// A URL without its password, which ends at the `@` or stands among its options.
fn shown_url(url: &str) -> String {
    match url.rsplit_once('@') {
        Some((secret, rest)) => format!("{}://…@{rest}", secret.split(':').next().unwrap_or_default()),
        None if url.contains("password=") => format!("{}://…", url.split(':').next().unwrap_or_default()),
        None => url.to_owned(),
    }
}

/// The section `[auth]`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuthConfig {
    /// Signs access tokens; `None`: made once and kept in `secrets.toml` in the data directory.
    pub jwt_secret: Option<Secret>,
    /// Secrets that signed tokens before; such tokens are still accepted.
    pub jwt_previous_secrets: Vec<Secret>,
    /// How long an access token holds.
    pub access_ttl: Duration,
    /// How long a refresh token holds.
    pub refresh_ttl: Duration,
    /// How long a one-time password holds.
    pub otp_ttl: Duration,
    /// How many times a one-time password may be tried.
    pub otp_max_attempts: u32,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            jwt_secret: None,
            jwt_previous_secrets: Vec::new(),
            access_ttl: Duration::from_secs(15 * 60),
            refresh_ttl: Duration::from_secs(720 * 3600),
            otp_ttl: Duration::from_secs(5 * 60),
            otp_max_attempts: 5,
        }
    }
}

/// The section `[push]`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PushConfig {
    /// The file of FCM's service account; `None`: pushes to phones are only noted in the log.
    pub fcm_credentials: Option<PathBuf>,
    /// FCM's base URL.
    pub fcm_endpoint: Url,
    /// The private key of Web Push; `None`: made once and kept in `secrets.toml` in the data directory.
    pub vapid_private_key: Option<Secret>,
    /// Whom push services turn to, a `mailto:` or `https:` URL; `None`: `server.public_url`, if it is https.
    pub vapid_subject: Option<String>,
    /// How long messages of a group are gathered for one push, from the first on.
    pub group_window: Duration,
}

impl Default for PushConfig {
    fn default() -> Self {
        Self {
            fcm_credentials: None,
            fcm_endpoint: Url::parse("https://fcm.googleapis.com").expect("a constant URL is one"),
            vapid_private_key: None,
            vapid_subject: None,
            group_window: Duration::from_secs(3),
        }
    }
}

/// The section `[sms]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum SmsConfig {
    /// Notes in the log that a code would have been sent.
    #[default]
    Log,
    /// Hands codes to a webhook.
    Webhook {
        /// Where it is; it may hold a key of the provider.
        url: Secret,
        /// Signs the requests.
        secret: Option<Secret>,
    },
}

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Pretty on a terminal, else JSON.
    #[default]
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Pretty,
}

/// The section `[telemetry]`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TelemetryConfig {
    /// How log lines look.
    pub log_format: LogFormat,
    /// What is logged: a level, or levels by module as `info,wa_storage=debug`.
    pub log_level: String,
    /// Where the metrics are served; `None`: with everything else.
    pub metrics_bind: Option<SocketAddr>,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { log_format: LogFormat::Auto, log_level: "info".to_owned(), metrics_bind: None }
    }
}

/// The section `[peers]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeersConfig {
    /// The base URL of the HTTP interface of each role; several, if several processes have the role.
    pub http: BTreeMap<Role, Vec<Url>>,
    /// The URL of the gRPC service of each role, or several.
    pub grpc: BTreeMap<Role, Vec<Url>>,
}

/// The section `[compat]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompatConfig {
    /// Whether every paged list also carries `items`, `nextCursor` and `hasMore`, and not only for requests with
    /// `X-Compat: app`.
    pub mirror_lists: bool,
}

/// The section `[dev]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DevConfig {
    /// Whether the server was started with `--dev`.
    pub mode: bool,
    /// Whether the answer to a request for a one-time password carries it.
    pub echo_otp: bool,
    /// Whether two users with a chat are made at start.
    pub seed_demo: bool,
}

impl Config {
    /// The configuration of this process: `--config` (or the usual files), the environment, the flags.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn of_process(config: Option<&std::path::Path>, flags: Flags) -> Result<Self, ConfigErrors> {
        parse(&Sources::of_process(config, flags))
    }

    /// The configuration that this text of a `wa.toml` gives.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    ///
    /// ```
    /// let config = wa_server::Config::from_toml("[limits]\ntext_length = 1000")?;
    /// assert_eq!(config.limits.text_length, 1000);
    /// # Ok::<(), wa_server::ConfigErrors>(())
    /// ```
    pub fn from_toml(text: &str) -> Result<Self, ConfigErrors> {
        parse(&Sources::from_toml(text))
    }

    /// The URL of the object store.
    #[must_use]
    pub fn media_url(&self) -> String {
        self.storage.media.clone().unwrap_or_else(|| format!("file://{}", self.server.data_dir.join("media").display()))
    }

    /// The URL of the database without its password, for people.
    #[must_use]
    pub fn shown_database(&self) -> String {
        shown_url(&self.database_url())
    }

    /// The URL of the cache.
    #[must_use]
    pub fn cache_url(&self) -> String {
        self.storage.cache.clone().unwrap_or_else(|| "memory:".to_owned())
    }

    /// The URL of the database.
    #[must_use]
    pub fn database_url(&self) -> String {
        self.storage.database.clone().unwrap_or_else(|| format!("sqlite://{}", self.server.data_dir.join("wa.db").display()))
    }
}

/// Reads a configuration. Pure: the same sources give the same result.
///
/// # Errors
/// Everything that is wrong with it, each with its key, its origin and what to do.
pub fn parse(sources: &Sources) -> Result<Config, ConfigErrors> {
    let mut from = Reader::new(Layers::of(sources));
    let default = Config::default();
    let config = Config {
        server: server(&mut from, default.server, &sources.flags),
        storage: storage(&mut from),
        auth: auth(&mut from, &default.auth),
        limits: limits::read(&mut from),
        push: push(&mut from, default.push),
        sms: sms(&mut from),
        telemetry: telemetry(&mut from, default.telemetry),
        peers: roles::peers(&mut from),
        compat: CompatConfig { mirror_lists: from.bool("compat.mirror_lists", false) },
        dev: DevConfig { mode: sources.flags.dev, echo_otp: from.bool("dev.echo_otp", false), seed_demo: from.bool("dev.seed_demo", false) },
    };
    check_together(&mut from, &config);
    roles::check(&mut from, &config);
    from.finish().map(|()| config)
}

fn check_together(from: &mut Reader, config: &Config) {
    let Config { server, dev, auth, telemetry, .. } = config;
    if !server.bind.ip().is_loopback() {
        if dev.mode {
            from.refuse(
                "server.bind",
                format!("{} is not a loopback address, and --dev hands out login codes", server.bind),
                "bind 127.0.0.1, or start without --dev",
            );
        } else if dev.echo_otp {
            from.refuse(
                "dev.echo_otp",
                format!("would let anybody who reaches {} log in as anybody", server.bind),
                "remove it, or bind a loopback address such as 127.0.0.1:8080",
            );
        }
    }
    if dev.seed_demo && !server.bind.ip().is_loopback() && !dev.mode {
        from.refuse(
            "dev.seed_demo",
            format!("would make demo accounts on a server that is reached at {}", server.bind),
            "remove it, or bind a loopback address",
        );
    }
    if auth.access_ttl >= auth.refresh_ttl {
        from.refuse("auth.access_ttl", "is not shorter than auth.refresh_ttl", "let the access token expire first, as with 15m and 720h");
    }
    if server.grpc_bind == Some(server.bind) && server.bind.port() != 0 {
        from.refuse("server.grpc_bind", "is the same as server.bind", "choose another port, such as 9090");
    }
    if telemetry.metrics_bind.is_some_and(|metrics| Some(metrics) == server.grpc_bind && metrics.port() != 0) {
        from.refuse("telemetry.metrics_bind", "is the same as server.grpc_bind", "choose another port");
    }
    if telemetry.metrics_bind == Some(server.bind) && server.bind.port() != 0 {
        from.refuse("telemetry.metrics_bind", "is the same as server.bind", "choose another port, or remove it: metrics are then served with everything else");
    }
}

fn server(from: &mut Reader, default: ServerConfig, flags: &Flags) -> ServerConfig {
    let roles = from.take("server.roles", default.roles, roles::read);
    // What listens only to its own installation listens on a port of its own.
    let port = roles.iter().next().map_or(8080, Role::http_port);
    let mut bind = from.take("server.bind", SocketAddr::new(default.bind.ip(), port), address);
    if let Some(port) = flags.port {
        bind.set_port(port);
    }
    let grpc_port = if roles.is_all() { None } else { roles.iter().find_map(Role::grpc_port) };
    let grpc_bind = from.take("server.grpc_bind", grpc_port.map(|port| SocketAddr::new(default.bind.ip(), port)), |raw| match raw {
        Raw::Text(text) if matches!(text.trim(), "" | "off") => Ok(None),
        Raw::Bool(false) => Ok(None),
        raw if cfg!(feature = "cluster") => address(raw).map(Some),
        _ => problem("is not supported by this build", "build with the feature cluster, or remove it"),
    });
    ServerConfig {
        bind,
        roles,
        grpc_bind,
        public_url: from.take("server.public_url", None, |raw| http_url(raw).map(Some)),
        data_dir: from.take("server.data_dir", default.data_dir, |raw| text(raw, "write the path of a directory").map(PathBuf::from)),
        web_client: from.bool("server.web_client", default.web_client),
        cors_origins: from.take("server.cors_origins", default.cors_origins, |raw| {
            let fix = "write origins such as \"https://app.example.org\", or \"*\" for all";
            Origins::parse(&list(raw, fix)?).or_else(|error| problem(shown(&error.to_string()), fix))
        }),
        trusted_proxies: from.take("server.trusted_proxies", default.trusted_proxies, |raw| {
            let fix = "write addresses or ranges such as \"10.0.0.0/8\"";
            TrustedProxies::parse(&list(raw, fix)?).or_else(|error| problem(shown(&error.to_string()), fix))
        }),
        shutdown_grace: from.duration("server.shutdown_grace", default.shutdown_grace, Duration::from_millis(100)..=Duration::from_secs(600)),
    }
}

fn storage(from: &mut Reader) -> StorageConfig {
    let fix = "write sqlite://path/to/wa.db or postgres://user:secret@host/database, or remove it for the SQLite file under server.data_dir";
    let sql = |raw: &Raw| {
        let url = text(raw, fix)?;
        // Only the scheme is quoted: a URL may hold a password.
        match url.split_once(':') {
            Some(("sqlite", rest)) if !rest.trim_start_matches('/').is_empty() => Ok(Some(url)),
            Some(("sqlite", _)) => problem("names no file", "write sqlite://path/to/wa.db"),
            Some(("postgres" | "postgresql", rest)) if cfg!(feature = "cluster") && rest.len() > 2 && rest.starts_with("//") => Ok(Some(url)),
            Some(("postgres" | "postgresql", _)) if cfg!(feature = "cluster") => problem("names no server", "write postgres://user:secret@host/database"),
            Some((scheme @ ("postgres" | "postgresql" | "mongodb" | "mongodb+srv" | "redis" | "nats" | "s3"), _)) => {
                problem(format!("{scheme} is not supported there by this program"), fix)
            }
            _ => problem("is not the URL of a database", fix),
        }
    };
    let database = from.take("storage.database", None, sql);
    let messages = from.take("storage.messages", None, |raw| match raw {
        Raw::Text(url)
            if cfg!(feature = "cluster") && ["mongodb://", "mongodb+srv://"].iter().any(|scheme| url.len() > scheme.len() && url.starts_with(scheme)) =>
        {
            Ok(Some(url.clone()))
        }
        raw => sql(raw),
    });
    let (messages, same) = match messages {
        Some(url) if url.starts_with("mongodb") => (Some(url), None),
        same => (None, same),
    };
    if same.is_some() && same != database {
        from.refuse(
            "storage.messages",
            "is another database than storage.database, which is not supported in this release",
            "remove it: messages are stored in storage.database",
        );
    }
    let cache = from.take("storage.cache", None, |raw| {
        let fix = "write redis://host:port (or rediss:// over TLS), or remove it: what needs no disk is then kept in memory";
        match text(raw, fix)? {
            url if url == "memory:" => Ok(None),
            url if url.split_once("://").is_some_and(|(scheme, server)| matches!(scheme, "redis" | "rediss") && !server.is_empty()) => Ok(Some(url)),
            _ => problem("is not the URL of a cache", fix),
        }
    });
    #[cfg(feature = "cluster")]
    let events = from.take("storage.events", None, |raw| {
        let fix = "write nats://host:port (with user:secret@ or token@ before the host), or remove it: events then stay in this process";
        let url = text(raw, fix)?;
        if url == "memory:" { Ok(None) } else { NatsUrl::parse(&url).map(Some).or_else(|error| problem(error.to_string(), fix)) }
    });
    #[cfg(not(feature = "cluster"))]
    from.unsupported("storage.events", &["memory:"], "remove it, or write \"memory:\": this program was built without the feature \"cluster\"");
    let connections = from.count("storage.postgres_connections", 20, 8..=1000);
    let media = from.take("storage.media", None, |raw| {
        let fix = "write file://path/to/folder or s3://bucket?endpoint=URL, or remove it for the folder media under server.data_dir";
        let url = text(raw, fix)?;
        match url.split_once("://") {
            Some(("file", path)) if !path.trim_start_matches('/').is_empty() => Ok(Some(url)),
            Some(("s3", bucket)) if !bucket.is_empty() => Ok(Some(url)),
            Some(("file", _)) => problem("names no folder", fix),
            Some(("s3", _)) => problem("names no bucket", fix),
            _ => problem("is not the URL of an object store", fix),
        }
    });
    StorageConfig {
        database,
        postgres_connections: u32::try_from(connections).unwrap_or(20),
        cache,
        messages,
        #[cfg(feature = "cluster")]
        events,
        media,
    }
}

fn auth(from: &mut Reader, default: &AuthConfig) -> AuthConfig {
    let (minute, day) = (Duration::from_secs(60), Duration::from_secs(86_400));
    let attempts = from.count("auth.otp_max_attempts", default.otp_max_attempts as usize, 1..=100);
    AuthConfig {
        jwt_secret: from.secret("auth.jwt_secret", SHORTEST_JWT_SECRET),
        jwt_previous_secrets: from.secrets("auth.jwt_previous_secrets", SHORTEST_JWT_SECRET),
        access_ttl: from.duration("auth.access_ttl", default.access_ttl, Duration::from_secs(1)..=day),
        refresh_ttl: from.duration("auth.refresh_ttl", default.refresh_ttl, minute..=3650 * day),
        otp_ttl: from.duration("auth.otp_ttl", default.otp_ttl, Duration::from_secs(1)..=day),
        otp_max_attempts: u32::try_from(attempts).unwrap_or(default.otp_max_attempts),
    }
}

fn push(from: &mut Reader, default: PushConfig) -> PushConfig {
    PushConfig {
        fcm_credentials: from.take("push.fcm_credentials", None, |raw| {
            text(raw, "write the path of the service account's JSON, which Google's console gives").map(|path| Some(PathBuf::from(path)))
        }),
        fcm_endpoint: from.take("push.fcm_endpoint", default.fcm_endpoint, http_url),
        vapid_private_key: from.take("push.vapid_private_key", None, |raw| {
            let fix = "write 32 bytes as base64url, as other tools make them, or remove it: a key is made once";
            let key = text(raw, fix)?;
            if VapidKey::parse(&key).is_ok() { Ok(Some(Secret::new(key.trim()))) } else { problem("is not a private key of P-256", fix) }
        }),
        vapid_subject: from.take("push.vapid_subject", None, |raw| {
            let fix = "write how push services reach you, such as \"mailto:admin@example.org\" or \"https://example.org\"";
            let subject = text(raw, fix)?.trim().to_owned();
            let is_contact = Url::parse(&subject).is_ok_and(|url| url.scheme() == "https" || (url.scheme() == "mailto" && url.path().contains('@')));
            if is_contact { Ok(Some(subject)) } else { problem(format!("\"{}\" is neither a mailto: nor an https: URL", shown(&subject)), fix) }
        }),
        group_window: from.duration("push.group_window", default.group_window, Duration::ZERO..=Duration::from_secs(300)),
    }
}

fn sms(from: &mut Reader) -> SmsConfig {
    let fix = "write \"log\" or \"webhook\"";
    let webhook = from.take("sms.provider", false, |raw| match text(raw, fix)?.as_str() {
        "log" => Ok(false),
        "webhook" => Ok(true),
        other => problem(format!("\"{}\" is not a provider", shown(other)), fix),
    });
    let url = from.take("sms.webhook_url", None, |raw| http_url(raw).map(|url| Some(Secret::new(url.to_string()))));
    let secret = from.secret("sms.webhook_secret", 1);
    match (webhook, url) {
        (true, Some(url)) => SmsConfig::Webhook { url, secret },
        (true, None) => {
            // A URL that was set and wrong has been reported already.
            if from.origin("sms.webhook_url") == Origin::Default {
                from.refuse("sms.webhook_url", "is missing, but sms.provider is \"webhook\"", "name the URL that takes text messages");
            }
            SmsConfig::Log
        }
        (false, Some(_)) => {
            from.refuse("sms.webhook_url", "has no effect, because sms.provider is \"log\"", "set sms.provider = \"webhook\", or remove it");
            SmsConfig::Log
        }
        (false, None) => SmsConfig::Log,
    }
}

fn telemetry(from: &mut Reader, default: TelemetryConfig) -> TelemetryConfig {
    from.unsupported("telemetry.otlp_endpoint", &["off"], "remove it: tracing over OTLP comes in a later release");
    TelemetryConfig {
        log_format: from.take("telemetry.log_format", default.log_format, |raw| {
            let fix = "write \"auto\", \"json\" or \"pretty\"";
            match text(raw, fix)?.as_str() {
                "auto" => Ok(LogFormat::Auto),
                "json" => Ok(LogFormat::Json),
                "pretty" => Ok(LogFormat::Pretty),
                other => problem(format!("\"{}\" is not a log format", shown(other)), fix),
            }
        }),
        log_level: from.take("telemetry.log_level", default.log_level, log_level),
        metrics_bind: from.take("telemetry.metrics_bind", default.metrics_bind, |raw| address(raw).map(Some)),
    }
}

fn address(raw: &Raw) -> Read<SocketAddr> {
    let fix = "write address:port, such as \"127.0.0.1:8080\" or \"0.0.0.0:8080\"";
    let text = text(raw, fix)?;
    let numeric = text.trim().strip_prefix("localhost:").map_or_else(|| text.trim().to_owned(), |port| format!("127.0.0.1:{port}"));
    numeric.parse().or_else(|_| problem(format!("\"{}\" is not an address with a port", shown(&text)), fix))
}

fn http_url(raw: &Raw) -> Read<Url> {
    let fix = "write an http or https URL, such as \"https://chat.example.org\"";
    match Url::parse(text(raw, fix)?.trim()) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
        Ok(_) => problem("is not an http or https URL", fix),
        Err(error) => problem(format!("is not a URL: {error}"), fix),
    }
}

/// A level, or levels by module; what the log output understands of it, so that nothing is silently ignored.
fn log_level(raw: &Raw) -> Read<String> {
    let fix = "write error, warn, info, debug or trace, or by module as \"info,wa_storage=debug\"";
    let text = text(raw, fix)?;
    let is_level = |level: &str| matches!(level.to_ascii_lowercase().as_str(), "off" | "error" | "warn" | "info" | "debug" | "trace");
    let is_module = |module: &str| !module.is_empty() && module.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':'));
    for part in text.split(',') {
        let valid = match part.trim().split_once('=') {
            Some((module, level)) => is_module(module) && is_level(level),
            None => is_level(part.trim()),
        };
        if !valid {
            return problem(format!("\"{}\" is not a log level", shown(part)), fix);
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
