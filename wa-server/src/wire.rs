//! Puts the parts together: opens the stores, builds each service on its ports, and starts what runs in the background.
//! The one place that knows which implementation stands behind which trait.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use wa_core::api::{AuthApi, Authenticator, ChatApi, PushApi, UserApi};
use wa_core::limits::Limits;
use wa_core::link::{FileSigner, Links};
use wa_core::ports::{Env, EventBus, PushSender, SmsSender, Subscription};
use wa_core::service::{
    AttachmentDeps, Attachments, AuthConfig, AuthDeps, AuthService, ChatDeps, ChatService, FanOutDeps, FanOutService, LookupDeps, LookupService, MediaDeps,
    MediaService, MessageDeps, MessageService, Names, NotificationDeps, NotificationService, PresenceDeps, PresenceService, StatusDeps, StatusService,
    TokenSigner, UserDeps, UserService,
};
use wa_storage::media::{Inspector, InspectorConfig};
use wa_storage::{MediaConfig, OpenError, StorageConfig, Stores};
use wa_transport::Backend;
use wa_transport::bus::MemoryEventBus;
use wa_transport::metrics::Metrics;
use wa_transport::push::{FcmConfig, Providers, ProvidersConfig, VapidKey, is_loopback};
use wa_transport::rest::{LocalFiles, TrustedProxies};
use wa_transport::sms::{LogSmsSender, WebhookSmsSender};
use wa_transport::ws::{Delivery, Hub};

use crate::chat::left_until;
#[cfg(feature = "cluster")]
use crate::cluster::{Cluster, Parts};
use crate::config::{Config, Secret, SmsConfig};
use crate::env::Tracing;
use crate::peers::Peers;
use crate::pusher::Pusher;
use crate::readiness::ServerReadiness;
use crate::role::Role;
use crate::start::StartError;
use crate::{housekeeping, secrets};

/// Who makes access tokens (the claim `iss`).
const ISSUER: &str = "wa-server";

/// All parts, running.
pub(crate) struct Wired {
    pub(crate) backend: Backend,
    #[cfg_attr(not(feature = "cluster"), expect(dead_code, reason = "only other processes ask"))]
    pub(crate) lookup: Arc<LookupService>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) bus: Arc<dyn EventBus>,
    pub(crate) readiness: Arc<ServerReadiness>,
    stores: Arc<Stores>,
    closes_stores: bool,
    subscriptions: Vec<Box<dyn Subscription>>,
    pub(crate) pusher: Pusher,
    pushes: AbortOnDropHandle<()>,
    indexer: AbortOnDropHandle<()>,
    relay: AbortOnDropHandle<()>,
    relay_stop: CancellationToken,
    housekeeping: AbortOnDropHandle<()>,
    presence: AbortOnDropHandle<()>,
    sweep: AbortOnDropHandle<()>,
}

/// The parts a host brings itself.
#[derive(Default)]
pub(crate) struct Own {
    pub(crate) authenticator: Option<Arc<dyn Authenticator>>,
    pub(crate) sms: Option<Arc<dyn SmsSender>>,
    pub(crate) push: Option<Arc<dyn PushSender>>,
    pub(crate) stores: Option<Arc<Stores>>,
    pub(crate) bus: Option<Arc<dyn EventBus>>,
    /// Where the server listens.
    pub(crate) listens: Option<SocketAddr>,
}

/// Whether other processes may share the stores of this one.
#[cfg_attr(not(feature = "cluster"), expect(unused_variables, reason = "only the host may bring a bus"))]
fn may_share(config: &Config, has_own_bus: bool) -> bool {
    #[cfg(feature = "cluster")]
    let has_own_bus = has_own_bus || config.storage.events.is_some();
    has_own_bus
}

/// Builds everything for this configuration, with the host's own parts where it brought some.
pub(crate) async fn wire(config: &Config, own: Own, env: Arc<dyn Env>) -> Result<Wired, StartError> {
    let may_share = may_share(config, own.bus.is_some());
    // Another process may deliver the pushes that were noted here, so that this one cannot rely on those it knows of.
    let push_windows = if may_share { 0 } else { config.limits.push_windows };
    let limits = Arc::new(Limits { push_windows, ..config.limits.clone() });
    let env = if may_share { Arc::new(Tracing(env)) as Arc<dyn Env> } else { env };
    let links = Arc::new(Links::new(&base(config, own.listens)));
    let closes_stores = own.stores.is_none();
    let has_data_dir = closes_stores || own.authenticator.is_none();
    if has_data_dir {
        make_data_dir(config)?;
    }
    let stores = match own.stores {
        Some(stores) => stores,
        None => Arc::new(open(config, &limits, &links, file_key(config, own.authenticator.is_some(), &env)?, &env).await?),
    };
    let metrics = Metrics::new();
    let hub = Hub::new(limits.ws_connections, metrics.clone());
    #[cfg(feature = "cluster")]
    let cluster = match (&own.bus, &config.storage.events) {
        (None, Some(url)) => Some(Cluster::connect(url, metrics.clone()).await?),
        _ => None,
    };
    #[cfg(feature = "cluster")]
    let shared_bus = cluster.as_ref().map(Cluster::bus);
    #[cfg(not(feature = "cluster"))]
    let shared_bus = None;
    let bus = own.bus.or(shared_bus).unwrap_or_else(|| Arc::new(MemoryEventBus::new(limits.bus_queue)));

    let peers = Peers::of(config, &env, &metrics)?;
    let (authenticator, auth) = match own.authenticator.or_else(|| peers.authenticator()) {
        Some(authenticator) => (authenticator, None),
        None => {
            let service = Arc::new(auth_service(config, own.sms, &stores, &hub, &env, &limits)?);
            (Arc::clone(&service) as Arc<dyn Authenticator>, Some(service as Arc<dyn AuthApi>))
        }
    };
    let names = Arc::new(Names::new(Arc::clone(&stores.users), Arc::clone(&env), &limits));
    let shared = Shared { stores: &stores, hub: &hub, bus: &bus, links, names, env, limits, metrics };
    let notifications = Arc::new(notification_service(config, own.push, PushPlace { has_data_dir, is_local: is_local(config, own.listens) }, &shared)?);
    let (mut backend, lookup) = backend(shared, authenticator, auth, Arc::clone(&notifications) as _);
    peers.join(&mut backend);
    let pusher = Pusher::new(notifications, backend.metrics.clone(), backend.limits.push_in_flight);

    // Subscribed before the relay runs, so that what an earlier process left in the outbox reaches everybody.
    let roles = &config.server.roles;
    let delivery = Delivery::new(Arc::clone(&hub), &backend);
    let mut subscriptions = Vec::new();
    if roles.has(Role::Message) {
        subscriptions.push(bus.subscribe("search-index", Arc::clone(&stores.indexer) as _).await.map_err(StartError::Bus)?);
    }
    #[cfg(feature = "cluster")]
    let is_alone = match &cluster {
        Some(cluster) => {
            let redis = config.storage.cache.clone();
            let parts = Parts { roles, hub: &hub, backend: &backend, chats: &stores.chats, delivery: &delivery, pusher: &pusher, redis };
            subscriptions.extend(cluster.join(parts).await?);
            false
        }
        None => true,
    };
    #[cfg(not(feature = "cluster"))]
    let is_alone = true;
    if is_alone && roles.has(Role::Websocket) {
        subscriptions.push(bus.subscribe("ws-delivery", delivery).await.map_err(StartError::Bus)?);
    }
    if is_alone && roles.has(Role::Notification) {
        subscriptions.push(bus.subscribe("push", Arc::new(pusher.clone())).await.map_err(StartError::Bus)?);
    }
    let pushes = tokio::spawn(pusher.clone().run(roles.has(Role::Notification)));
    let indexer = tokio::spawn({
        let stores = Arc::clone(&stores);
        async move { stores.indexer.run().await }
    });
    let relay_stop = CancellationToken::new();
    let relay = tokio::spawn({
        let (stores, bus, stop) = (Arc::clone(&stores), Arc::clone(&bus), relay_stop.clone());
        async move { stores.relay.run(bus, stop.cancelled_owned()).await }
    });
    // Every metric exists from the start.
    housekeeping::measure(&stores, &backend.metrics);
    let housekeeping = tokio::spawn(housekeeping::run(backend.clone(), Arc::clone(&stores)));
    let presence = tokio::spawn(housekeeping::presence(Arc::clone(&backend.presence)));
    let sweep = tokio::spawn(housekeeping::sweep(Arc::clone(&backend.media)));
    let readiness = ServerReadiness::new(Arc::clone(&stores));
    #[cfg(feature = "cluster")]
    let readiness = readiness.with_nats(cluster.map(Cluster::into_bus));
    Ok(Wired {
        readiness: Arc::new(readiness),
        backend,
        lookup,
        hub,
        bus,
        stores,
        closes_stores,
        subscriptions,
        pusher,
        pushes: AbortOnDropHandle::new(pushes),
        indexer: AbortOnDropHandle::new(indexer),
        relay: AbortOnDropHandle::new(relay),
        relay_stop,
        housekeeping: AbortOnDropHandle::new(housekeeping),
        presence: AbortOnDropHandle::new(presence),
        sweep: AbortOnDropHandle::new(sweep),
    })
}

impl Wired {
    /// Ends the background work once committed events are handed out, and closes the stores; by then at the latest.
    pub(crate) async fn stop(self, until: Instant) {
        self.housekeeping.abort();
        self.presence.abort();
        self.sweep.abort();
        self.indexer.abort();
        self.relay_stop.cancel();
        if timeout_at(until, self.relay).await.is_err() {
            tracing::warn!("events were left in the outbox; the next start hands them out");
        }
        // One that is cut is sent again by the next start. Closing the stores needs some time as well.
        if timeout_at(Instant::now() + left_until(until).mul_f32(0.8), self.pushes).await.is_err() {
            tracing::warn!("pushes that were on their way were cut; the next start sends them again");
        }
        drop(self.subscriptions);
        if !self.closes_stores {
            return;
        }
        match timeout_at(until, self.stores.close()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the stores were not closed cleanly; what was acknowledged is durable all the same"),
            Err(_) => tracing::warn!("the stores were not closed in time; what was acknowledged is durable all the same"),
        }
    }
}

fn make_data_dir(config: &Config) -> Result<(), StartError> {
    let path = &config.server.data_dir;
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    let absent: Vec<_> = path.ancestors().take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists()).collect();
    builder
        .create(path)
        .and_then(|()| absent.iter().filter_map(|folder| folder.parent()).try_for_each(sync_folder))
        .map_err(|source| StartError::DataDir { path: path.clone(), source })
}

/// Lets names made in the folder outlive a power failure.
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    std::fs::File::open(if folder.as_os_str().is_empty() { Path::new(".") } else { folder })?.sync_all()?;
    let _ = folder;
    Ok(())
}

fn auth_service(
    config: &Config,
    own_sms: Option<Arc<dyn SmsSender>>,
    stores: &Stores,
    hub: &Arc<Hub>,
    env: &Arc<dyn Env>,
    limits: &Arc<Limits>,
) -> Result<AuthService, StartError> {
    let auth = &config.auth;
    let secret = jwt_secret(config, env)?;
    let previous: Vec<Vec<u8>> = auth.jwt_previous_secrets.iter().map(|secret| secret.reveal().as_bytes().to_vec()).collect();
    let sms = match (own_sms, &config.sms) {
        (Some(sms), _) => sms,
        (None, SmsConfig::Log) => Arc::new(LogSmsSender) as Arc<dyn SmsSender>,
        (None, SmsConfig::Webhook { url, secret }) => Arc::new(WebhookSmsSender::new(url.reveal(), secret.as_ref().map(Secret::reveal))?),
    };
    Ok(AuthService::new(AuthDeps {
        users: Arc::clone(&stores.users),
        sessions: Arc::clone(&stores.sessions),
        otps: Arc::clone(&stores.otps),
        sms,
        limiter: Arc::clone(&stores.rate_limiter),
        fan_out: Arc::clone(hub) as _,
        tokens: Arc::new(TokenSigner::new(ISSUER, secret.reveal().as_bytes(), &previous, auth.access_ttl)),
        env: Arc::clone(env),
        limits: Arc::clone(limits),
        config: AuthConfig { otp_ttl: auth.otp_ttl, otp_max_attempts: auth.otp_max_attempts, refresh_ttl: auth.refresh_ttl, echo_otp: config.dev.echo_otp },
    }))
}

/// The secret that signs access tokens, and from which other keys are derived.
fn jwt_secret(config: &Config, env: &Arc<dyn Env>) -> Result<Secret, StartError> {
    match &config.auth.jwt_secret {
        Some(secret) => Ok(secret.clone()),
        None => Ok(secrets::jwt_secret(&config.server.data_dir, &**env)?),
    }
}

/// What signs addresses of files. A host with its own login needs no secret of ours: without one, addresses are good until
/// its next start.
fn file_key(config: &Config, own_login: bool, env: &Arc<dyn Env>) -> Result<Option<[u8; 32]>, StartError> {
    if own_login && config.auth.jwt_secret.is_none() {
        return Ok(None);
    }
    Ok(Some(FileSigner::key_of(jwt_secret(config, env)?.reveal().as_bytes())))
}

/// Where people reach the server: as configured, or else where it listens.
fn base(config: &Config, listens: Option<SocketAddr>) -> String {
    match (&config.server.public_url, listens) {
        (Some(url), _) => url.as_str().to_owned(),
        (None, Some(mut address)) => {
            match address.ip() {
                IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
                IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
                _ => {}
            }
            format!("http://{address}")
        }
        // A host knows; without its word addresses are relative to where its users are.
        (None, None) => String::new(),
    }
}

/// Where pushes are sent from.
#[derive(Clone, Copy)]
struct PushPlace {
    /// Whether there is a folder for the key of Web Push.
    has_data_dir: bool,
    /// Whether only this machine reaches the server.
    is_local: bool,
}

/// Whether only this machine reaches the server, as far as its configuration tells: it listens there alone, and there is no
/// proxy in front of it.
fn is_local(config: &Config, listens: Option<SocketAddr>) -> bool {
    let server = &config.server;
    let is_published = server.public_url.as_ref().is_some_and(|url| !is_loopback(url)) || server.trusted_proxies != TrustedProxies::default();
    listens.is_some_and(|address| address.ip().is_loopback()) && !is_published
}

/// The service of pushes, on the configured providers unless the host brings its own.
fn notification_service(config: &Config, own: Option<Arc<dyn PushSender>>, place: PushPlace, shared: &Shared<'_>) -> Result<NotificationService, StartError> {
    let (sender, web_push_key) = match own {
        Some(sender) => (sender, None),
        None => {
            let (providers, key) = push_providers(config, place, &shared.env)?;
            (Arc::new(providers) as Arc<dyn PushSender>, key)
        }
    };
    let Shared { stores, links, names, env, limits, .. } = shared;
    Ok(NotificationService::new(NotificationDeps {
        queue: Arc::clone(&stores.push_queue),
        tokens: Arc::clone(&stores.device_tokens),
        sender,
        presence: Arc::clone(&stores.presence),
        chats: Arc::clone(&stores.chats),
        users: Arc::clone(&stores.users),
        contacts: Arc::clone(&stores.contacts),
        links: Arc::clone(links),
        names: Arc::clone(names),
        env: Arc::clone(env),
        limits: Arc::clone(limits),
        group_window: config.push.group_window,
        web_push_key,
    }))
}

/// The providers, and the public key of Web Push.
fn push_providers(config: &Config, place: PushPlace, env: &Arc<dyn Env>) -> Result<(Providers, Option<String>), StartError> {
    let push = &config.push;
    let fcm = match &push.fcm_credentials {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|source| StartError::PushCredentials { path: path.clone(), source })?;
            let fcm = FcmConfig::new(&text, push.fcm_endpoint.clone());
            Some(fcm.map_err(|source| StartError::InvalidPushCredentials { path: path.clone(), source })?)
        }
        None => {
            tracing::warn!("push.fcm_credentials is not set: pushes to phones are only noted in the log; everything else works");
            None
        }
    };
    let configured = push.vapid_private_key.as_ref().and_then(|key| VapidKey::parse(key.reveal()).ok());
    let vapid = match configured {
        Some(key) => Some(key),
        // A host that keeps everything itself is not given a folder for the key alone.
        None if !place.has_data_dir => None,
        None => Some(secrets::vapid_key(&config.server.data_dir, &**env)?),
    };
    let public_url = config.server.public_url.as_ref().filter(|url| url.scheme() == "https").map(ToString::to_string);
    let subject = push.vapid_subject.clone().or(public_url).unwrap_or_else(|| "mailto:admin@localhost".to_owned());
    let key = vapid.as_ref().map(|key| key.public().to_owned());
    Ok((Providers::new(ProvidersConfig { fcm, vapid, subject, loopback: place.is_local }, Arc::clone(env))?, key))
}

/// What all services share.
struct Shared<'a> {
    stores: &'a Stores,
    hub: &'a Arc<Hub>,
    bus: &'a Arc<dyn EventBus>,
    links: Arc<Links>,
    names: Arc<Names>,
    env: Arc<dyn Env>,
    limits: Arc<Limits>,
    metrics: Metrics,
}

fn backend(shared: Shared<'_>, authenticator: Arc<dyn Authenticator>, auth: Option<Arc<dyn AuthApi>>, push: Arc<dyn PushApi>) -> (Backend, Arc<LookupService>) {
    let Shared { stores, hub, bus, links, names, env, limits, metrics } = shared;
    let attachments = Arc::new(Attachments::new(AttachmentDeps {
        media: Arc::clone(&stores.media),
        uses: Arc::clone(&stores.media_uses),
        blobs: Arc::clone(&stores.blobs),
        links: Arc::clone(&links),
        env: Arc::clone(&env),
        limits: Arc::clone(&limits),
    }));
    let users: Arc<dyn UserApi> = Arc::new(UserService::new(UserDeps {
        users: Arc::clone(&stores.users),
        contacts: Arc::clone(&stores.contacts),
        chats: Arc::clone(&stores.chats),
        groups: Arc::clone(&stores.groups),
        names: Arc::clone(&names),
        attachments: Arc::clone(&attachments),
        fan_out: Arc::clone(hub) as _,
        env: Arc::clone(&env),
        limits: Arc::clone(&limits),
    }));
    let chats: Arc<dyn ChatApi> = Arc::new(ChatService::new(ChatDeps {
        chats: Arc::clone(&stores.chats),
        groups: Arc::clone(&stores.groups),
        messages: Arc::clone(&stores.messages),
        users: Arc::clone(&stores.users),
        contacts: Arc::clone(&stores.contacts),
        names: Arc::clone(&names),
        attachments: Arc::clone(&attachments),
        env: Arc::clone(&env),
        limits: Arc::clone(&limits),
    }));
    let lookup = Arc::new(LookupService::new(LookupDeps {
        users: Arc::clone(&stores.users),
        contacts: Arc::clone(&stores.contacts),
        presence: Arc::clone(&stores.presence),
        chats: Arc::clone(&stores.chats),
        messages: Arc::clone(&stores.messages),
        attachments: Arc::clone(&attachments),
        links: Arc::clone(&links),
        env: Arc::clone(&env),
    }));
    let backend = Backend {
        authenticator,
        auth,
        media: Arc::new(MediaService::new(MediaDeps {
            media: Arc::clone(&stores.media),
            uses: Arc::clone(&stores.media_uses),
            blobs: Arc::clone(&stores.blobs),
            staging: Arc::clone(&stores.staging),
            inspector: Arc::new(Inspector::new(InspectorConfig::default())),
            attachments: Arc::clone(&attachments),
            user_api: Arc::clone(&users),
            chat_api: Arc::clone(&chats),
            chats: Arc::clone(&stores.chats),
            users: Arc::clone(&stores.users),
            contacts: Arc::clone(&stores.contacts),
            env: Arc::clone(&env),
            limits: Arc::clone(&limits),
        })),
        files: stores.files.clone().map(|signer| LocalFiles { signer, blobs: Arc::clone(&stores.blobs) }),
        links,
        users,
        chats,
        messages: Arc::new(MessageService::new(MessageDeps {
            messages: Arc::clone(&stores.messages),
            changes: Arc::clone(&stores.changes),
            annotations: Arc::clone(&stores.annotations),
            receipts: Arc::clone(&stores.receipts),
            search: Arc::clone(&stores.search),
            chats: Arc::clone(&stores.chats),
            users: Arc::clone(&stores.users),
            contacts: Arc::clone(&stores.contacts),
            names,
            attachments: Arc::clone(&attachments),
            env: Arc::clone(&env),
            limits: Arc::clone(&limits),
        })),
        presence: Arc::new(PresenceService::new(PresenceDeps {
            presence: Arc::clone(&stores.presence),
            typing: Arc::clone(&stores.typing),
            chats: Arc::clone(&stores.chats),
            users: Arc::clone(&stores.users),
            contacts: Arc::clone(&stores.contacts),
            bus: Arc::clone(bus),
            env: Arc::clone(&env),
            limits: Arc::clone(&limits),
        })),
        statuses: Arc::new(StatusService::new(StatusDeps {
            statuses: Arc::clone(&stores.statuses),
            attachments: Arc::clone(&attachments),
            users: Arc::clone(&stores.users),
            contacts: Arc::clone(&stores.contacts),
            env: Arc::clone(&env),
            limits: Arc::clone(&limits),
        })),
        push,
        fan_out: Arc::new(FanOutService::new(FanOutDeps {
            messages: Arc::clone(&stores.messages),
            chats: Arc::clone(&stores.chats),
            users: Arc::clone(&stores.users),
            contacts: Arc::clone(&stores.contacts),
            attachments,
        })),
        rate_limiter: Arc::clone(&stores.rate_limiter),
        limits,
        env,
        metrics,
    };
    (backend, lookup)
}

/// How often the stores are tried, and the first pause, which doubles.
const ATTEMPTS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Opens the stores; what may come up late, such as a volume that is being mounted, is tried again.
async fn open(config: &Config, limits: &Limits, links: &Arc<Links>, key: Option<[u8; 32]>, env: &Arc<dyn Env>) -> Result<Stores, StartError> {
    let mut storage = StorageConfig::new(config.database_url());
    #[cfg(feature = "cluster")]
    if let Some(url) = &config.storage.messages {
        storage.messages = Some(url.clone());
        tracing::warn!("storage.messages names a MongoDB: in this release it keeps what is known of files, and messages are in storage.database");
    }
    storage.cache = config.storage.cache.clone().unwrap_or(storage.cache);
    storage.typing_notices = limits.typing_notices;
    storage.postgres_connections = config.storage.postgres_connections;
    #[cfg(feature = "cluster")]
    if storage.database.starts_with("postgres") && config.storage.events.is_none() {
        tracing::warn!(
            "storage.events is memory:, which reaches this process alone: start no other node on this database, as its users would not hear of what happens here"
        );
    }
    storage.media = MediaConfig { url: config.media_url(), staging: Some(config.server.data_dir.join("staging")), links: Arc::clone(links), key };
    let mut attempt = 1;
    loop {
        match wa_storage::open(&storage, Arc::clone(env)).await {
            Ok(stores) => return Ok(stores),
            Err(
                error @ (OpenError::Folder { .. }
                | OpenError::Unusable { .. }
                | OpenError::CacheDown { .. }
                | OpenError::MessagesDown { .. }
                | OpenError::Database { may_pass: true, .. }),
            ) if attempt < ATTEMPTS => {
                tracing::warn!(%error, attempt, "storage cannot be opened; trying again");
                tokio::time::sleep(FIRST_PAUSE * 2_u32.pow(attempt - 1)).await;
                attempt += 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
}
