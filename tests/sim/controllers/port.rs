//! One process of a controller: its port, its memory, its notices.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use ringmq::controller::{Command, Controller, Notice, Step, needs_leader};
use ringmq::io::{Clock, Listener, Net, Notify, Spawn, Stream};
use ringmq::sim::{SimIo, SimListener, SimStream};
use ringmq::wire::codes::{request, response};
use ringmq::wire::header::Header;
use ringmq::wire::{
    CURRENT_VERSION, Codec, FLAG_RESPONSE, Head, Language, Reply, Scratch, frame, header,
};

use super::{CONTROLLER_PORT, Group};
use crate::client::{sleep, within};

/// How often due elections are looked for, if nothing happens.
const TURN: Duration = Duration::from_millis(20);
const NOTICE_LIMIT: Duration = Duration::from_secs(1);
const NOTICE_TRIES: u32 = 3;

pub(super) struct Port {
    io: SimIo,
    group: Rc<Group>,
    index: usize,
    controller: RefCell<Controller>,
    next_connection: Cell<u64>,
    /// The newest epoch that a broker is to be told.
    newest: RefCell<BTreeMap<(String, i64), i32>>,
}

/// Replies that wait to be sent over a connection.
#[derive(Default)]
struct Outbox {
    bytes: RefCell<Vec<u8>>,
    has_more: Notify,
    is_closed: Cell<bool>,
}

impl Port {
    pub fn start(io: SimIo, group: Rc<Group>, index: usize) {
        let any = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), CONTROLLER_PORT);
        let listener = io.listen(any).expect("the port of a controller is free");
        let port = Rc::new(Self {
            controller: RefCell::new(Controller::new(group.settings.clone())),
            io: io.clone(),
            group,
            index,
            next_connection: Cell::new(1),
            newest: RefCell::default(),
        });
        io.spawn("test", port.clone().accept(listener));
        io.spawn("test", port.watch());
    }

    async fn accept(self: Rc<Self>, listener: SimListener) {
        while let Ok(stream) = listener.accept().await {
            self.io.spawn("test", self.clone().serve(stream));
        }
    }

    async fn watch(self: Rc<Self>) {
        loop {
            self.look();
            sleep(&self.io, TURN).await;
        }
    }

    /// The elections that are due are agreed on.
    fn look(self: &Rc<Self>) {
        let now_ms = self.now_ms();
        let is_leader = self.is_leader();
        let due = {
            let mut controller = self.controller.borrow_mut();
            controller.lead(is_leader, now_ms);
            controller.due(&self.group.agreed.borrow(), now_ms)
        };
        for command in due {
            let port = self.clone();
            self.io.spawn("test", async move {
                // The leader by then looks again.
                let _ = port.agree(&command).await;
            });
        }
    }

    async fn serve(self: Rc<Self>, stream: SimStream) {
        let connection = self.next_connection.get();
        self.next_connection.set(connection + 1);
        let outbox = Rc::new(Outbox::default());
        self.io
            .spawn("test", write_all(stream.clone(), outbox.clone()));
        // Whatever ends it, its brokers have gone.
        let _ = self.read_all(&stream, connection, &outbox).await;
        stream.shutdown();
        outbox.is_closed.set(true);
        outbox.has_more.notify();
        let now_ms = self.now_ms();
        self.controller
            .borrow_mut()
            .connection_closed(connection, now_ms);
        self.look();
    }

    async fn read_all(
        self: &Rc<Self>,
        stream: &SimStream,
        connection: u64,
        outbox: &Rc<Outbox>,
    ) -> io::Result<()> {
        let mut received = Vec::new();
        loop {
            let chunk = stream.recv().await?;
            if chunk.is_empty() {
                return Ok(());
            }
            received.extend_from_slice(&chunk);
            while let Some(found) = frame::split(&received).map_err(io::Error::other)? {
                let len = found.len;
                let request: Vec<u8> = received.drain(..len).collect();
                self.take(request, connection, outbox).await?;
            }
        }
    }

    /// Heartbeats are taken in the order of the connection; other requests do not hold them up.
    async fn take(
        self: &Rc<Self>,
        request: Vec<u8>,
        connection: u64,
        outbox: &Rc<Outbox>,
    ) -> io::Result<()> {
        let mut scratch = Scratch::default();
        let found = frame::split(&request).map_err(io::Error::other)?;
        let found = found.expect("a whole frame");
        let is_heartbeat = {
            let header = header::decode(&found, &mut scratch).map_err(io::Error::other)?;
            header.code == request::BROKER_HEARTBEAT
        };
        let work = self.clone().answer(request, connection, outbox.clone());
        match is_heartbeat {
            true => work.await,
            false => self.io.spawn("test", work),
        }
        Ok(())
    }

    async fn answer(self: Rc<Self>, request: Vec<u8>, connection: u64, outbox: Rc<Outbox>) {
        let mut scratch = Scratch::default();
        let found = frame::split(&request).expect("read before");
        let found = found.expect("a whole frame");
        let header = header::decode(&found, &mut scratch).expect("read before");
        if header.is_response() {
            return;
        }
        let reply = self.reply(&header, found.body, connection).await;
        if header.is_oneway() || self.group.loses_reply(header.code) {
            return;
        }
        outbox.push(&header, found.codec, &reply);
    }

    async fn reply(self: &Rc<Self>, header: &Header<'_>, body: &[u8], connection: u64) -> Reply {
        let standing = self.group.standing(self.index);
        let step = {
            let (agreed, now_ms) = (self.group.agreed.borrow(), self.now_ms());
            let mut controller = self.controller.borrow_mut();
            // As the engine says before each answer that only the leader gives.
            if needs_leader(header.code) {
                controller.lead(standing.is_leader, now_ms);
            }
            controller.handle(&agreed, &standing, header, body, connection, now_ms)
        };
        self.send_notices();
        match step {
            Step::Reply(reply) | Step::Keep { reply, .. } => reply,
            Step::Propose { command, asked } => match self.agree(&command).await {
                Ok(applied) => {
                    let controller = self.controller.borrow();
                    controller.reply(&asked, &applied, self.now_ms())
                }
                Err(reply) => reply,
            },
        }
    }

    async fn agree(
        self: &Rc<Self>,
        command: &Command,
    ) -> Result<ringmq::controller::Applied, Reply> {
        let ms = self.group.agree_ms.get();
        if ms > 0 {
            sleep(&self.io, Duration::from_millis(ms)).await;
        }
        if !self.is_leader() {
            let remark = "another controller leads by now";
            return Err(Reply::refused(response::CONTROLLER_NOT_LEADER, remark));
        }
        let applied = self.group.apply(command, self.io.now().mono_ns);
        let now_ms = self.now_ms();
        self.controller
            .borrow_mut()
            .applied(command, &applied, now_ms);
        self.send_notices();
        Ok(applied)
    }

    fn send_notices(self: &Rc<Self>) {
        let notices = self.controller.borrow_mut().take_notices();
        for notice in notices {
            let key = (notice.broker_name.clone(), notice.broker_id);
            let mut newest = self.newest.borrow_mut();
            let epoch = newest.entry(key).or_insert(notice.master_epoch);
            *epoch = notice.master_epoch.max(*epoch);
            let port = self.clone();
            self.io
                .spawn("test", async move { port.deliver(notice).await });
        }
    }

    /// Over a connection of its own, as `quorum::notifier` does.
    async fn deliver(&self, notice: Notice) {
        let key = (notice.broker_name.clone(), notice.broker_id);
        for _ in 0..NOTICE_TRIES {
            if self.newest.borrow().get(&key) != Some(&notice.master_epoch) {
                return;
            }
            let delivered = within(&self.io, NOTICE_LIMIT, self.deliver_once(&notice)).await;
            if delivered.is_ok_and(|delivered| delivered.is_ok()) {
                return;
            }
            sleep(&self.io, NOTICE_LIMIT).await;
        }
    }

    async fn deliver_once(&self, notice: &Notice) -> io::Result<()> {
        let addr = notice.broker_address.parse().map_err(io::Error::other)?;
        let stream = self.io.connect(addr).await?;
        let bytes = notice.frame(&notice.fields().ext());
        stream.send(bytes).await.0?;
        stream.finish_sending();
        while !stream.recv().await?.is_empty() {}
        Ok(())
    }

    fn is_leader(&self) -> bool {
        self.group.leader.get() == Some(self.index)
    }

    fn now_ms(&self) -> u64 {
        self.io.now().mono_ns / 1_000_000
    }
}

impl Outbox {
    fn push(&self, header: &Header<'_>, codec: Codec, reply: &Reply) {
        let head = Head {
            codec,
            code: reply.code,
            language: Language::Java,
            version: CURRENT_VERSION,
            opaque: header.opaque,
            flag: FLAG_RESPONSE,
            remark: reply.remark.as_deref(),
        };
        let mut bytes = self.bytes.borrow_mut();
        frame::write(&mut bytes, &head, &reply.ext_values(), &reply.body);
        self.has_more.notify();
    }
}

async fn write_all(stream: SimStream, outbox: Rc<Outbox>) {
    loop {
        outbox.has_more.notified().await;
        let bytes = outbox.bytes.take();
        if outbox.is_closed.get() || !bytes.is_empty() && stream.send(bytes).await.0.is_err() {
            return;
        }
    }
}
