//! Keeping the name servers informed: every 30 s of everything, at once of what has changed.
//!
//! One task for each name server, ours or a foreign one, over one connection that is made again when it breaks. To the
//! name server the broker is gone when the connection is.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use tracing::{info, warn};

use super::shard::Shard;
use crate::broker::config::perm;
use crate::io::{First, first};
use crate::io::{Io, Notify, Stream};
use crate::wire::codes::{request, response};
use crate::wire::register::{BrokerIdentity, RegisterBroker, RegisterBrokerBody, body_crc};
use crate::wire::topic::{TopicConfig, TopicConfigTable};
use crate::wire::{CURRENT_VERSION, Codec, Head, Language, Scratch, Value, frame, header};

/// What each name server still has to be told.
#[derive(Default)]
pub(super) struct Registration {
    servers: RefCell<Vec<Rc<Server>>>,
}

struct Server {
    addr: SocketAddr,
    changed: Notify,
    /// Topics that have changed; everything is to be told if `all`.
    topics: RefCell<Vec<String>>,
    all: Cell<bool>,
    /// Rung after the first registration, successful or not.
    tried: Notify,
    registered: Cell<bool>,
}

impl Registration {
    pub(super) fn topic_changed(&self, topic: String) {
        for server in self.servers.borrow().iter() {
            server.topics.borrow_mut().push(topic.clone());
            server.changed.notify();
        }
    }

    pub(super) fn all_changed(&self) {
        for server in self.servers.borrow().iter() {
            server.all.set(true);
            server.changed.notify();
        }
    }
}

/// Starts a task for each name server and waits until each has been tried once. How many have the routes.
pub(super) async fn start<I: Io>(shard: &Rc<Shard<I>>) -> usize {
    for addr in &shard.setup.namesrv {
        let server = Rc::new(Server {
            addr: *addr,
            changed: Notify::default(),
            topics: RefCell::default(),
            all: Cell::new(true),
            tried: Notify::default(),
            registered: Cell::new(false),
        });
        shard.registration.servers.borrow_mut().push(server.clone());
        shard
            .io
            .spawn("registration", keep_registered(shard.clone(), server));
    }
    let servers = shard.registration.servers.borrow().clone();
    let mut registered = 0;
    for server in servers {
        server.tried.notified().await;
        registered += usize::from(server.registered.get());
    }
    registered
}

/// How long a name server may take to answer (RocketMQ gives it 24 s, and its brokers wait as long for their start).
const PATIENCE_NS: u64 = 3_000_000_000;

const RETRY_NS: u64 = 1_000_000_000;

async fn keep_registered<I: Io>(shard: Rc<Shard<I>>, server: Rc<Server>) {
    let mut link: Option<Link<I::Stream>> = None;
    let interval_ns = shard.setup.register_interval_ms * 1_000_000;
    let mut everything_due_ns = 0;
    loop {
        let now_ns = shard.io.now().mono_ns;
        if server.all.get() || now_ns >= everything_due_ns || link.is_none() {
            server.all.set(true);
            everything_due_ns = now_ns + interval_ns;
        }
        let deadline_ns = now_ns + PATIENCE_NS;
        let told = first(
            tell(&shard, &server, &mut link),
            shard.io.sleep_until(deadline_ns),
        )
        .await;
        let result = match told {
            First::Left(result) => result,
            First::Right(()) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "no answer within 3 s",
            )),
        };
        let before = server.registered.replace(result.is_ok());
        let mut wake_ns = everything_due_ns;
        match result {
            Ok(()) if !before => {
                info!(namesrv = %server.addr, broker = shard.setup.broker.broker_name, "registered")
            }
            Ok(()) => {}
            Err(error) => {
                if before || link.is_some() {
                    warn!(namesrv = %server.addr, %error, "registration failed; trying again every second");
                }
                link = None;
                wake_ns = shard.io.now().mono_ns + RETRY_NS;
            }
        }
        server.tried.notify();
        if shard.stopping.get() {
            if let Some(link) = &mut link {
                let _ = first(link.unregister(&shard), shard.io.sleep_until(deadline_ns)).await;
            }
            return;
        }
        let told_or_due = first(server.changed.notified(), shard.io.sleep_until(wake_ns));
        match &mut link {
            None => {
                told_or_due.await;
            }
            Some(open) => {
                if let First::Right(()) = first(told_or_due, open.until_closed()).await {
                    link = None;
                }
            }
        }
    }
}

/// Tells the name server what it does not know yet.
async fn tell<I: Io>(
    shard: &Shard<I>,
    server: &Server,
    link: &mut Option<Link<I::Stream>>,
) -> io::Result<()> {
    let link = match link {
        Some(link) => link,
        None => link.insert(Link::new(shard.io.connect(server.addr).await?)),
    };
    let topics = server.topics.take();
    if server.all.get() {
        link.register(shard, None).await?;
        server.all.set(false);
        return Ok(());
    }
    if topics.is_empty() {
        return Ok(());
    }
    link.register(shard, Some(&topics)).await
}

/// A connection on which one request at a time is asked and answered.
pub(super) struct Link<S: Stream> {
    stream: S,
    received: Vec<u8>,
    scratch: Scratch,
    opaque: i32,
}

impl<S: Stream> Link<S> {
    pub(super) fn new(stream: S) -> Self {
        Link {
            stream,
            received: Vec::new(),
            scratch: Scratch::default(),
            opaque: 0,
        }
    }

    /// Registers the broker with all its topics, or with those that have changed: a name server keeps what it is not told
    /// of.
    async fn register<I: Io>(
        &mut self,
        shard: &Shard<I>,
        only: Option<&[String]>,
    ) -> io::Result<()> {
        let body = {
            let broker = shard.broker.borrow();
            let configs = broker.topics.sorted().into_iter();
            let chosen =
                configs.filter(|config| only.is_none_or(|only| only.contains(&config.topic_name)));
            // As RocketMQ does: what the broker does not allow, no topic of it does (`registerBrokerAll`).
            let allowed = broker.config.broker_permission;
            let told = chosen.map(|config| TopicConfig {
                perm: match perm::is_readable(allowed) && perm::is_writeable(allowed) {
                    true => config.perm,
                    false => config.perm & allowed,
                },
                ..config.clone()
            });
            let topics = TopicConfigTable {
                topic_config_table: told
                    .map(|config| (config.topic_name.clone(), config))
                    .collect(),
                data_version: broker.topics.version(),
                ..TopicConfigTable::default()
            };
            RegisterBrokerBody {
                topics,
                filter_server_list: Vec::new(),
            }
            .encode()
        };
        let addr = shard.setup.broker.advertise.to_string();
        let ha_addr = SocketAddr::new(
            shard.setup.broker.advertise.ip(),
            shard.setup.broker.advertise.port() + 1,
        )
        .to_string();
        let fields = RegisterBroker {
            broker_name: &shard.setup.broker.broker_name,
            broker_addr: &addr,
            cluster_name: &shard.setup.broker.cluster_name,
            ha_server_addr: &ha_addr,
            broker_id: 0,
            heartbeat_timeout_ms: None,
            enable_acting_master: None,
            compressed: false,
            body_crc32: Some(body_crc(&body)),
            zone_name: None,
        };
        self.ask(request::REGISTER_BROKER, &fields.ext(), &body)
            .await
            .map(drop)
    }

    async fn unregister<I: Io>(&mut self, shard: &Shard<I>) -> io::Result<()> {
        let addr = shard.setup.broker.advertise.to_string();
        let fields = BrokerIdentity {
            broker_name: &shard.setup.broker.broker_name,
            broker_addr: &addr,
            cluster_name: &shard.setup.broker.cluster_name,
            broker_id: 0,
        };
        self.ask(request::UNREGISTER_BROKER, &fields.ext(), &[])
            .await
            .map(drop)
    }

    /// Done when the name server has gone. Nobody else may receive meanwhile.
    async fn until_closed(&mut self) {
        while let Ok(chunk) = self.stream.recv().await {
            if chunk.is_empty() {
                return;
            }
            self.received.extend_from_slice(&chunk);
        }
    }

    /// The reply's body.
    pub(super) async fn ask(
        &mut self,
        code: i32,
        ext: &[(&str, Value<'_>)],
        body: &[u8],
    ) -> io::Result<Vec<u8>> {
        self.opaque += 1;
        let head = Head {
            codec: Codec::Json,
            code,
            language: Language::Java,
            version: CURRENT_VERSION,
            opaque: self.opaque,
            flag: 0,
            remark: None,
        };
        let mut out = Vec::new();
        frame::write(&mut out, &head, ext, body);
        let (sent, _) = self.stream.send(out).await;
        sent?;
        loop {
            let broken = |error: &dyn std::fmt::Display| {
                io::Error::new(io::ErrorKind::InvalidData, error.to_string())
            };
            if let Some(frame) = frame::split(&self.received).map_err(|error| broken(&error))? {
                let reply =
                    header::decode(&frame, &mut self.scratch).map_err(|error| broken(&error))?;
                let is_ours = reply.is_response() && reply.opaque == self.opaque;
                let refused = (reply.code != response::SUCCESS).then(|| {
                    format!(
                        "code {}: {}",
                        reply.code,
                        reply.remark.unwrap_or("no remark")
                    )
                });
                let (len, body) = (frame.len, frame.body.to_vec());
                self.received.drain(..len);
                match refused {
                    _ if !is_ours => continue,
                    Some(refused) => return Err(io::Error::other(refused)),
                    None => return Ok(body),
                }
            }
            let chunk = self.stream.recv().await?;
            if chunk.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.received.extend_from_slice(&chunk);
        }
    }
}
