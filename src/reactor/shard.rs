//! One shard: its state, and which request goes where.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;

use hdrhistogram::Histogram;
use tracing::warn;

use super::ShardSetup;
use super::acks::Acks;
use super::calls::{Calls, request_head};
use super::connection::{Caller, Connection, Service};
use super::connections::Connections;
use super::inbox::Flow;
use super::own_queue::Bells;
use super::pop::Pops;
use super::pulls::Pulls;
use super::registration::Registration;
use super::relay::values;
use super::room::Room;
use super::saves::Saves;
use super::slices::in_slices;
use super::view::View;
use crate::broker::requests::{self, Handler, Kind, Request};
use crate::broker::timer::Timers;
use crate::broker::{Broker, ClientRequest, ConfigFile, ConnId, Effect, Peer, Refusal, Step};
use crate::io::{Io, Notify, Stream};
use crate::store::{QueueIndex, Store};
use crate::wire::Reply;
use crate::wire::codes::{request, response};
use crate::wire::consumer::ConsumerGroup;
use crate::wire::{FLAG_ONEWAY, Frame, Header, Scratch, Value, frame, header};

/// Clients that are sent something, or closed, in one turn.
const TOLD_AT_A_TIME: usize = 64;

/// Topics of the store that are looked at in one turn.
const TOPICS_AT_A_TIME: usize = 64;

pub(super) struct Shard<I: Io> {
    pub io: I,
    pub setup: ShardSetup,
    pub store: Rc<Store<I>>,
    pub broker: RefCell<Broker>,
    pub connections: Rc<Connections<I::Stream>>,
    pub room: Room,
    pub acks: RefCell<Acks<I::Stream>>,
    pub pulls: Pulls<I>,
    pub registration: Registration,
    pub saves: Saves<I>,
    pub bells: Bells,
    pub pops: Pops<I>,
    pub calls: Rc<Calls>,
    pub store_host: SocketAddr,
    pub region_id: String,
    pub trace_on: &'static str,
    /// How long sends took until they were acknowledged, in microseconds.
    pub put_times_us: RefCell<Histogram<u32>>,
    pub stopping: Cell<bool>,
    /// None until they are read.
    pub timers: RefCell<Option<Rc<RefCell<Timers>>>>,
    /// How far timed messages have been delivered may still have to be saved.
    pub timers_running: Cell<bool>,
    /// Wakes whoever would sleep over the end.
    pub stopped: Notify,
    effects: RefCell<Vec<Effect>>,
}

impl<I: Io> Shard<I> {
    pub(super) fn new(io: I, setup: ShardSetup, store: Rc<Store<I>>, broker: Broker) -> Rc<Self> {
        Rc::new(Shard {
            store_host: setup.store.store_host,
            region_id: setup.broker.region_id.clone(),
            room: Room::new(setup.admission, io.now()),
            connections: Connections::new(setup.connection_memory_bytes, setup.max_connections),
            pops: Pops::new(setup.connection_memory_bytes / 4),
            trace_on: if setup.broker.trace_on {
                "true"
            } else {
                "false"
            },
            saves: Saves::new(io.clone(), &setup.store.dir),
            io,
            setup,
            store,
            broker: RefCell::new(broker),
            acks: RefCell::default(),
            pulls: Pulls::default(),
            registration: Registration::default(),
            bells: Bells::default(),
            calls: Rc::default(),
            put_times_us: RefCell::new(Histogram::new(2).expect("two digits are allowed")),
            stopping: Cell::new(false),
            timers: RefCell::default(),
            timers_running: Cell::new(false),
            stopped: Notify::default(),
            effects: RefCell::default(),
        })
    }

    pub(super) fn peer(&self, connection: &Connection<I::Stream>, header: &Header<'_>) -> Peer {
        Peer {
            conn: ConnId(connection.id),
            addr: connection.peer,
            language: header.language,
            version: header.version,
        }
    }

    pub(super) fn refuse(
        &self,
        connection: &Connection<I::Stream>,
        caller: Caller,
        refusal: &Refusal,
    ) {
        let forbidden = refusal
            .forbidden_type
            .map(|kind| ("forbiddenType", Value::I64(kind.into())));
        connection.answer(
            caller,
            refusal.code,
            Some(&refusal.remark),
            forbidden.as_slice(),
            &[],
        );
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.io.now().unix_ms as u64
    }

    pub(super) fn put_latency_ms(&self, quantile: f64) -> f64 {
        self.put_times_us.borrow().value_at_quantile(quantile) as f64 / 1000.0
    }

    /// Saves the next message of this queue a look-up.
    pub(super) fn remember_queue(&self, topic: &str, queue_id: u32, queue: QueueIndex) {
        if let Some(entry) = self.broker.borrow_mut().topics.find_mut(topic)
            && let Some(place) = entry.queues.get_mut(queue_id as usize)
        {
            *place = Some(queue);
        }
    }

    fn dispatch(
        self: &Rc<Self>,
        connection: &Rc<Connection<I::Stream>>,
        frame: &Frame<'_>,
        header: &Header<'_>,
    ) -> Flow {
        let caller = Caller::new(frame, header);
        if header.is_response() {
            self.calls.answered(connection.id, header, frame.body);
            return Flow::Next;
        }
        let Some(entry) = requests::find(header.code) else {
            self.refuse(connection, caller, &requests::unsupported(header.code));
            return Flow::Next;
        };
        if let Err(refusal) = entry.check_body(frame.body) {
            self.refuse(connection, caller, &refusal);
            return Flow::Next;
        }
        if self.stopping.get() && entry.kind.appends() {
            let remark = "the broker is shutting down";
            self.refuse_send(connection, caller, response::SERVICE_NOT_AVAILABLE, remark);
            return Flow::Next;
        }
        let body = frame.body;
        let flow = match entry.kind {
            Kind::Send => self.send(connection, caller, header, body),
            Kind::SendReply => self.send_reply(connection, caller, header, body),
            Kind::Recall => self.recall(connection, caller, header),
            Kind::Handle(handler) => {
                self.handle(connection, caller, header, body, handler);
                return Flow::Next;
            }
            kind => {
                self.serve_messages(connection, caller, header, body, kind);
                Flow::Next
            }
        };
        self.carry_out_effects();
        flow
    }

    /// Requests that read messages, or end what was done with them.
    fn serve_messages(
        self: &Rc<Self>,
        connection: &Rc<Connection<I::Stream>>,
        caller: Caller,
        header: &Header<'_>,
        body: &[u8],
        kind: Kind,
    ) {
        match kind {
            Kind::Pull { .. } => self.pull(connection, caller, header),
            Kind::SendBack => self.send_back_request(connection, caller, header),
            Kind::EndTransaction | Kind::ResumeTransaction => {
                self.transaction_request(connection, caller, header);
            }
            Kind::Pop | Kind::Peek | Kind::Notification | Kind::PollingInfo | Kind::Assignment => {
                self.ask_pop(connection, caller, header, body)
            }
            Kind::Ack | Kind::BatchAck | Kind::ChangeInvisibleTime => {
                self.acknowledge_pop(connection, caller, header, body);
            }
            Kind::Send | Kind::SendReply | Kind::Recall | Kind::Handle(_) => {
                unreachable!("dispatched")
            }
        }
    }

    fn handle(
        self: &Rc<Self>,
        connection: &Rc<Connection<I::Stream>>,
        caller: Caller,
        header: &Header<'_>,
        body: &[u8],
        handler: Handler,
    ) {
        let view = View { shard: self };
        let request = Request {
            ext: &header.ext,
            body,
            peer: self.peer(connection, header),
            language: header.language,
            now_ms: self.now_ms(),
            store: &view,
        };
        let step = handler(&mut self.broker.borrow_mut(), &request);
        let files = self.carry_out_effects();
        let reply = match step {
            Ok(Step::Reply(reply)) => reply,
            Ok(step) => return self.carry_out(connection, caller, step),
            Err(refusal) => refusal.into(),
        };
        if files.is_empty() {
            answer(connection, caller, &reply);
        } else {
            self.answer_once_saved(connection.clone(), caller, reply, files);
        }
    }

    /// A topic or group that was made has to be there after a power cut, too, and one that was deleted has to be gone.
    fn answer_once_saved(
        self: &Rc<Self>,
        connection: Rc<Connection<I::Stream>>,
        caller: Caller,
        reply: Reply,
        files: Vec<ConfigFile>,
    ) {
        let shard = self.clone();
        let reading = connection.start_reading();
        self.io.spawn("answer-once-saved", async move {
            let _reading = reading;
            let reply = shard.once_saved(reply, files).await;
            answer(&connection, caller, &reply);
        });
    }

    /// What to answer when these files have been written, if there are any.
    pub(super) async fn once_saved(&self, reply: Reply, files: Vec<ConfigFile>) -> Reply {
        if files.is_empty() {
            return reply;
        }
        if let Err(reason) = self.saves.done(&files).await {
            let remark = format!("done, but a restart will take it back: {reason}");
            return Refusal::new(response::SYSTEM_ERROR, remark).into();
        }
        self.store.deleted_so_far().await;
        reply
    }

    /// What the rules want done besides the reply; what has to be saved for it.
    pub(super) fn carry_out_effects(self: &Rc<Self>) -> Vec<ConfigFile> {
        let mut files = Vec::new();
        let mut effects = self.effects.take();
        self.broker.borrow_mut().take_effects(&mut effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Notify { group, conns } => self.notify_consumers(&group, &conns),
                Effect::Tell { conns, request } => self.tell(conns, request),
                Effect::Register { topic } => self.registration.topic_changed(topic),
                Effect::RegisterAll => self.registration.all_changed(),
                Effect::DeleteTopic { topic } => {
                    self.store.delete_topic(&topic);
                    self.registration.topic_deleted();
                }
                Effect::Persist(file) => {
                    self.saves.soon(file);
                    files.push(file);
                }
                Effect::KeepBy(retention) => self.store.keep_by(retention),
                Effect::Admit(limits) => self.room.set_limits(limits),
                Effect::CleanLog => self.store.clean_log_now(),
                Effect::CleanQueues => self.store.clean_queues_now(),
                Effect::CleanUnusedTopics => self.clean_unused_topics(),
                Effect::Close(conns) => self.close(conns),
            }
        }
        self.effects.replace(effects);
        files
    }

    /// A slice of the topics each turn.
    fn clean_unused_topics(self: &Rc<Self>) {
        let shard = self.clone();
        self.io.spawn("clean-topics", async move {
            let mut topics = shard.store.topics().into_iter();
            in_slices(TOPICS_AT_A_TIME, || {
                let Some((topic, _)) = topics.next() else {
                    return false;
                };
                if shard.broker.borrow().is_unused(&topic) {
                    shard.store.delete_topic(&topic);
                }
                true
            })
            .await;
        });
    }

    /// A slice of the clients each turn.
    fn tell(&self, conns: Vec<ConnId>, request: ClientRequest) {
        let connections = self.connections.clone();
        let mut conns = conns.into_iter();
        self.io.spawn("tell-clients", async move {
            let head = request_head(request.code, 0, FLAG_ONEWAY);
            let ext = values(&request.ext);
            in_slices(TOLD_AT_A_TIME, || {
                let Some(conn) = conns.next() else {
                    return false;
                };
                if let Some(connection) = connections.find(conn.0) {
                    connection.write(|out| frame::write(out, &head, &ext, &request.body));
                }
                true
            })
            .await;
        });
    }

    /// A slice of them each turn.
    fn close(&self, conns: Vec<ConnId>) {
        let connections = self.connections.clone();
        let mut conns = conns.into_iter();
        self.io.spawn("close-clients", async move {
            in_slices(TOLD_AT_A_TIME, || {
                let Some(conn) = conns.next() else {
                    return false;
                };
                if let Some(connection) = connections.find(conn.0) {
                    connection.close();
                }
                true
            })
            .await;
        });
    }

    fn notify_consumers(&self, group: &str, conns: &[ConnId]) {
        let fields = ConsumerGroup {
            consumer_group: group,
        };
        for connection in conns
            .iter()
            .filter_map(|conn| self.connections.find(conn.0))
        {
            let head = request_head(request::NOTIFY_CONSUMER_IDS_CHANGED, 0, FLAG_ONEWAY);
            connection.write(|out| frame::write(out, &head, &fields.ext(), &[]));
        }
    }
}

pub(super) fn answer<S: Stream>(connection: &Connection<S>, caller: Caller, reply: &Reply) {
    let remark = reply.remark.as_deref();
    connection.answer(caller, reply.code, remark, &reply.ext_values(), &reply.body);
}

impl<I: Io> Service<I::Stream> for Shard<I> {
    fn frame(
        self: &Rc<Self>,
        connection: &Rc<Connection<I::Stream>>,
        frame: Frame<'_>,
        scratch: &mut Scratch,
    ) -> Flow {
        match header::decode(&frame, scratch) {
            Ok(header) => self.dispatch(connection, &frame, &header),
            Err(error) => {
                warn!(peer = %connection.peer, %error, "closing a connection that sent a broken header");
                Flow::Close
            }
        }
    }

    async fn room(&self, connection: &Connection<I::Stream>, bytes: usize) {
        // Somebody else's turn comes only once its own is over.
        connection.turn.take();
        let turn = self.turn(bytes).await;
        connection.turn.replace(Some(turn));
    }

    async fn saved(&self) {
        self.saves.topics_tried().await;
    }

    fn closed(self: &Rc<Self>, connection: &Connection<I::Stream>) {
        self.calls.closed(connection.id);
        self.pulls.closed(connection);
        self.pops.closed(connection.id);
        self.broker
            .borrow_mut()
            .connection_closed(ConnId(connection.id), self.now_ms());
        self.carry_out_effects();
    }
}
