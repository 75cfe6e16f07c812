//! The name server on a port: the pure [`NameServer`] with connections, a clock and a place for its settings.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use tracing::{error, warn};

use super::access::{self, Access};
use super::answers::answer;
use super::caller::Caller;
use super::connection::{Connection, Service};
use super::connections::{Connections, accept};
use super::inbox::Flow;
use super::latencies::{Latencies, write_kinds};
use super::rounds::{Rounds, SLICE_UNITS, units_of};
use super::{NamesrvSetup, ServeError, listen};
use crate::auth::{administers_namesrv, note_administration};
use crate::broker::metrics::{Scrape, Turn};
use crate::io::{Gate, Io, Notify, Pass, select, yield_now};
use crate::metrics::families::{
    NAMESRV_BROKERS, NAMESRV_CONNECTIONS, NAMESRV_DENIED, NAMESRV_HANDSHAKES, NAMESRV_REFUSED,
    NAMESRV_REQUESTS, NAMESRV_TOPICS,
};
use crate::namesrv::{Effect, Handled, KvConfig, NameServer, Registering, Settings, is_in_line};
use crate::store::{Medium, TextFiles};
use crate::wire::{Frame, Reply, Scratch, header};

/// RocketMQ's brokers and clients ask every 30 s.
const MAX_IDLE_S: u64 = 120;

/// What its connections may hold together: brokers' registrations and routes, megabytes at most.
const MEMORY_BYTES: usize = 64 << 20;

const SECOND_NS: u64 = 1_000_000_000;
const KV_FILE: &str = "kvConfig.json";
const SETTINGS_FILE: &str = "namesrv.properties";

pub(super) struct Names<I: Io> {
    io: I,
    server: RefCell<NameServer>,
    connections: Rc<Connections<I::Stream>>,
    /// `None`: everybody may do everything.
    access: Option<Rc<Access>>,
    files: TextFiles<I>,
    keeps_settings: bool,
    effects: RefCell<Vec<Effect>>,
    to_save: Notify,
    rounds: Rounds,
    /// Registrations, one after another. Only the one that is being carried out has its body outside of the connections' inboxes.
    line: Rc<Gate>,
    /// Of connections whose request is offered again.
    turns: RefCell<HashMap<u64, Pass>>,
    stopped: std::cell::Cell<bool>,
}

/// Listens, and answers from then on. Its files may be in a store's directory: then the medium is that store's.
pub(super) async fn start<I: Io>(
    io: &I,
    medium: &Medium<I>,
    setup: &NamesrvSetup,
    access: Option<Rc<Access>>,
) -> Result<Rc<Names<I>>, ServeError> {
    let files = TextFiles::open(medium.clone(), &setup.dir).await?;
    let kv = files.load(KV_FILE).await?;
    let settings = match setup.keeps_settings {
        true => files.load(SETTINGS_FILE).await?,
        false => None,
    };
    let mut changed = Settings {
        listen_port: setup.listen.port(),
        ..setup.settings.clone()
    };
    if let Some(text) = settings
        && let Err(error) = changed.update(&text)
    {
        error!(
            file = SETTINGS_FILE,
            ?error,
            "cannot be read; starting with the defaults"
        );
    }
    let kv = read_kv(kv.as_deref());
    let server = NameServer::new(kv, changed);
    let names = Rc::new(Names {
        io: io.clone(),
        server: RefCell::new(server),
        connections: Connections::new(
            MEMORY_BYTES,
            setup.max_connections,
            latencies(io),
            access.as_ref().is_some_and(|it| it.guards_reading()),
        ),
        access,
        files,
        keeps_settings: setup.keeps_settings,
        effects: RefCell::default(),
        to_save: Notify::default(),
        rounds: Rounds::default(),
        line: Gate::new(1),
        turns: RefCell::default(),
        stopped: std::cell::Cell::new(false),
    });
    let listener = listen(io, setup.listen)?;
    io.spawn(
        "namesrv-accept",
        accept(
            io.clone(),
            listener,
            names.clone(),
            names.connections.clone(),
        ),
    );
    io.spawn("namesrv-tick", tick(names.clone()));
    io.spawn("namesrv-rounds", run_rounds(names.clone()));
    Ok(names)
}

fn read_kv(text: Option<&str>) -> KvConfig {
    match text.map(KvConfig::from_json) {
        Some(Ok(kv)) => kv,
        Some(Err(error)) => {
            error!(file = KV_FILE, %error, "cannot be read; starting without it");
            KvConfig::default()
        }
        None => KvConfig::default(),
    }
}

fn latencies<I: Io>(io: &I) -> Latencies {
    let io = io.clone();
    Latencies::new(NAMESRV_REQUESTS, 1_000, move || io.now().mono_ns)
}

impl<I: Io> Names<I> {
    pub(super) async fn stop(&self) {
        self.stopped.set(true);
        self.to_save.notify();
        self.rounds.wake();
        self.connections.stop_accepting();
        self.save().await;
        self.connections.close_all().await;
    }

    /// Writes its samples, a slice in each turn.
    pub(super) fn write_figures(&self, scrape: &mut Scrape) -> Turn {
        if scrape.passed == 0 {
            let routes = &self.server.borrow().routes;
            scrape.sample(&NAMESRV_BROKERS, &[], routes.live_brokers());
            scrape.sample(&NAMESRV_TOPICS, &[], routes.topic_count());
            scrape.sample(&NAMESRV_CONNECTIONS, &[], self.connections.len());
            for (reason, count) in access::denied(self.access.as_deref()) {
                scrape.sample(&NAMESRV_DENIED, &[("reason", reason)], count);
            }
        }
        let latencies = self.connections.latencies();
        write_kinds(latencies, scrape, |scrape, _, codes, took| {
            scrape.histogram(&NAMESRV_REQUESTS, &codes, took);
        })
    }

    /// Beside a broker they are among the broker's.
    pub(super) fn write_openings(&self, scrape: &mut Scrape) {
        let openings = self.io.openings();
        for (kind, count) in openings.handshakes {
            scrape.sample(&NAMESRV_HANDSHAKES, &[("kind", kind)], count);
        }
        for (reason, count) in openings.refused {
            scrape.sample(&NAMESRV_REFUSED, &[("reason", reason)], count);
        }
    }

    async fn save(&self) {
        let mut has_kv = false;
        for effect in self.effects.take() {
            let (name, text) = match effect {
                Effect::SaveKvConfig if has_kv => continue,
                Effect::SaveKvConfig => {
                    has_kv = true;
                    (KV_FILE, self.kv_text().await)
                }
                Effect::SaveSettings(_) if !self.keeps_settings => continue,
                Effect::SaveSettings(text) => (SETTINGS_FILE, text),
                Effect::AddressChanged {
                    broker_name,
                    from,
                    to,
                } => {
                    warn!(
                        broker_name,
                        from,
                        to,
                        "another address has registered the name of a live broker; clients are sent there"
                    );
                    continue;
                }
            };
            if let Err(error) = self.files.save(name, text).await {
                error!(name, %error, "cannot be saved");
            }
        }
    }

    async fn kv_text(&self) -> String {
        let mut text = KvConfig::begin_text();
        while self.server.borrow().write_kv(&mut text) {
            yield_now().await;
        }
        text.into_string()
    }

    /// A slice in each turn, and of all such requests together one in each round.
    fn in_slices(
        self: &Rc<Self>,
        connection: &Rc<Connection<I::Stream>>,
        caller: Caller,
        mut turn: impl FnMut(&mut NameServer) -> Option<Reply> + 'static,
    ) {
        let (names, connection) = (self.clone(), connection.clone());
        let reading = connection.start_reading();
        self.io.spawn("namesrv-slices", async move {
            let _reading = reading;
            loop {
                names.rounds.take(SLICE_UNITS).await;
                let reply = turn(&mut names.server.borrow_mut());
                if let Some(reply) = reply {
                    return answer(&connection, caller, reply);
                }
            }
        });
    }

    /// The same of a registration, until it is carried out or its connection ends.
    fn register(
        self: &Rc<Self>,
        connection: &Rc<Connection<I::Stream>>,
        caller: Caller,
        mut registering: Box<Registering>,
        turn: Option<Pass>,
    ) {
        let (names, connection) = (self.clone(), connection.clone());
        self.io.spawn("namesrv-register", async move {
            let _turn = turn;
            loop {
                names.rounds.take(SLICE_UNITS).await;
                // What is registered over a connection goes when it ends, and not before.
                if connection.is_closed() {
                    return;
                }
                let reply = names.change(|server, now_ms| registering.turn(server, now_ms));
                if let Some(reply) = reply {
                    return answer(&connection, caller, reply);
                }
            }
        });
    }

    fn change<T>(&self, change: impl FnOnce(&mut NameServer, u64) -> T) -> T {
        let mut server = self.server.borrow_mut();
        let changed = change(&mut server, self.now_ms());
        let mut effects = self.effects.borrow_mut();
        server.take_effects(&mut effects);
        if !effects.is_empty() {
            self.to_save.notify();
        }
        changed
    }

    fn now_ms(&self) -> u64 {
        self.io.now().mono_ns / 1_000_000
    }
}

async fn run_rounds<I: Io>(names: Rc<Names<I>>) {
    names.rounds.run(|| names.stopped.get()).await;
}

async fn tick<I: Io>(names: Rc<Names<I>>) {
    while !names.stopped.get() {
        let silent = names.server.borrow_mut().expire(names.now_ms());
        for connection in silent
            .into_iter()
            .filter_map(|id| names.connections.find(id))
        {
            warn!(peer = %connection.peer, "a broker has fallen silent");
            connection.close();
        }
        names
            .connections
            .check_some(names.io.now().mono_ns, MAX_IDLE_S);
        while names.server.borrow_mut().sweep_some() {
            names.rounds.take(SLICE_UNITS).await;
        }
        names.save().await;
        let second = names.io.sleep_until(names.io.now().mono_ns + SECOND_NS);
        select(names.to_save.notified(), second).await;
    }
}

impl<I: Io> Service<I::Stream> for Names<I> {
    fn frame(
        self: &Rc<Self>,
        connection: &Rc<Connection<I::Stream>>,
        frame: Frame<'_>,
        scratch: &mut Scratch,
    ) -> Flow {
        let header = match header::decode(&frame, scratch) {
            Ok(header) => header,
            Err(error) => {
                warn!(peer = %connection.peer, %error, "closing a connection that sent a broken header");
                return Flow::Close;
            }
        };
        if header.is_response() {
            return Flow::Next;
        }
        let access = self.access.as_deref();
        let stopped = access.and_then(|access| access.stop(&self.io, connection, &frame, &header));
        if let Some(flow) = stopped {
            if flow == Flow::Next {
                // What it waited for in line is the next one's.
                self.turns.borrow_mut().remove(&connection.id);
            }
            return flow;
        }
        let units = units_of(frame.body);
        if !connection.grant().take_share() && !self.rounds.try_take(units) {
            return Flow::Later(units);
        }
        let mut turn = None;
        if is_in_line(header.code) {
            turn = self.turns.borrow_mut().remove(&connection.id);
            turn = turn.or_else(|| self.line.try_enter(1));
            if turn.is_none() {
                return Flow::Full(0);
            }
        }
        let handled =
            self.change(|server, now_ms| server.handle(&header, frame.body, connection.id, now_ms));
        connection.visit().frame_ended();
        if self.access.is_some() && administers_namesrv(header.code) {
            note_administration(&header, connection.peer);
        }
        let caller = Caller::new(&frame, &header, connection.activity().received_ns());
        match handled {
            Handled::Answered(reply) => answer(connection, caller, reply),
            Handled::InSlices(mut listing) => {
                self.in_slices(connection, caller, move |server| listing.turn(server));
            }
            Handled::Changing(mut change) => {
                self.in_slices(connection, caller, move |server| change.turn(server));
            }
            Handled::Registering(registering) => {
                self.register(connection, caller, registering, turn);
            }
        }
        Flow::Next
    }

    /// Its turn for a registration.
    async fn room(&self, connection: &Connection<I::Stream>, _bytes: usize) {
        let turn = self.line.enter(1).await;
        self.turns.borrow_mut().insert(connection.id, turn);
    }

    async fn round(&self, connection: &Connection<I::Stream>, units: usize) {
        self.rounds.take(units).await;
        connection.grant().give_share();
    }

    async fn saved(&self) {}

    fn closed(self: &Rc<Self>, connection: &Connection<I::Stream>) {
        self.turns.borrow_mut().remove(&connection.id);
        self.server.borrow_mut().connection_closed(connection.id);
    }
}
