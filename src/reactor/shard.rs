//! One shard: its services, which request goes to which, and the two tasks that drive them: the log's commits and the clock.

use std::rc::Rc;

use tracing::{debug, warn};

use super::access::{self, Checks};
use super::answers::{answer, refuse};
use super::caller::Caller;
use super::calls::Calls;
use super::connection::{Connection, Service};
use super::core::{Core, Ends};
use super::effects;
use super::inbox::Flow;
use super::metrics::WaitingRequests;
use super::pop::Pops;
use super::pulls::Pulls;
use super::release;
use super::requests::Requests;
use super::rounds::units_of;
use super::sends::Sends;
use super::slices::in_slices;
use super::standstill::Standstill;
use super::transaction::Transactions;
use crate::auth::{is_of_directory, note_administration};
use crate::broker::requests::{self, Entry, Kind};
use crate::broker::{ConnId, Refusal};
use crate::io::Io;
use crate::wire::codes::response;
use crate::wire::{Frame, Header, Reply, Scratch, header};

/// How often deadlines are looked at: slow flushes are late by so much at most.
const TICK_NS: u64 = 100_000_000;

const SECOND_NS: u64 = 1_000_000_000;

/// Queues with new entries that are looked at in one turn.
const QUEUES_AT_A_TIME: usize = 512;

pub(super) struct Shard<I: Io> {
    core: Rc<Core<I>>,
    calls: Rc<Calls>,
    sends: Rc<Sends<I>>,
    pulls: Rc<Pulls<I>>,
    pops: Rc<Pops<I>>,
    transactions: Rc<Transactions<I>>,
    requests: Rc<Requests<I>>,
}

impl<I: Io> Shard<I> {
    pub(super) fn new(core: Rc<Core<I>>) -> Rc<Self> {
        let calls: Rc<Calls> = Rc::default();
        let pulls = Pulls::new(core.clone());
        Rc::new(Shard {
            sends: Sends::new(core.clone(), calls.clone()),
            pops: Pops::new(core.clone()),
            transactions: Transactions::new(core.clone()),
            requests: Requests::new(core.clone(), calls.clone(), pulls.clone()),
            core,
            calls,
            pulls,
        })
    }

    /// Starts the tasks of the services. A slave's log has no pops of its own.
    pub(super) fn start(self: &Rc<Self>) {
        let io = &self.core.io;
        io.spawn("release-committed", release_committed(self.clone()));
        io.spawn("tick", tick(self.clone()));
        let core = self.core.clone();
        io.spawn("rounds", async move {
            core.rounds.run(|| core.is_stopping()).await;
        });
        self.pulls.start();
        if !self.core.store.follows() {
            self.pops.start();
        }
    }

    /// What waits in the services.
    pub(super) fn waiting(&self) -> WaitingRequests {
        WaitingRequests {
            parked_pops: self.pops.parked(),
            gathered_bytes: self.pops.gathered_bytes(),
            calls: self.calls.len(),
            denied: access::denied(self.core.checks.as_deref().map(Checks::access)).collect(),
        }
    }

    /// The tasks of the services end.
    pub(super) fn stop(&self, ends: Ends) {
        self.core.stop(ends);
        self.pulls.wake();
        self.pops.wake();
    }

    /// After the last request.
    pub(super) fn end_transactions(&self) {
        self.transactions.end_all();
    }

    /// Nothing is done for a request that is denied, and nothing is reserved.
    fn dispatch_checked(
        &self,
        checks: &Checks,
        connection: &Rc<Connection<I::Stream>>,
        frame: &Frame<'_>,
        header: &Header<'_>,
    ) -> Flow {
        if header.is_response() {
            return self.dispatch(connection, frame, header);
        }
        // Before a body is read for what it names.
        if let Some(refusal) = too_long(header.code, frame.body) {
            let caller = Caller::new(frame, header, connection.activity().received_ns());
            refuse(connection, caller, &refusal);
            return Flow::Next;
        }
        if self.core.setup.broker.settings.controller_mode && checks.is_unproven_notice(header) {
            self.core.orders.steering().notified_without_proof();
            let caller = Caller::new(frame, header, connection.activity().received_ns());
            answer(connection, caller, Reply::ok());
            return Flow::Next;
        }
        let stopped = checks
            .access()
            .stop(&self.core.io, connection, frame, header);
        if let Some(flow) = stopped {
            return flow;
        }
        let flow = match is_of_directory(header.code) {
            true => {
                let caller = Caller::new(frame, header, connection.activity().received_ns());
                checks.ask_directory(connection, caller, header, frame.body);
                Flow::Next
            }
            false => {
                let flow = self.dispatch(connection, frame, header);
                if flow == Flow::Next && requests::find(header.code).is_some_and(Entry::administers)
                {
                    note_administration(header, connection.peer);
                }
                flow
            }
        };
        if matches!(flow, Flow::Next | Flow::Close) {
            connection.visit().frame_ended();
        }
        flow
    }

    fn dispatch(
        &self,
        connection: &Rc<Connection<I::Stream>>,
        frame: &Frame<'_>,
        header: &Header<'_>,
    ) -> Flow {
        let caller = Caller::new(frame, header, connection.activity().received_ns());
        if header.is_response() {
            self.calls.answered(connection.id, header, frame.body);
            return Flow::Next;
        }
        let Some(entry) = requests::find(header.code) else {
            refuse(connection, caller, &requests::unsupported(header.code));
            return Flow::Next;
        };
        if let Err(refusal) = entry.check_body(frame.body) {
            refuse(connection, caller, &refusal);
            return Flow::Next;
        }
        let units = units_of(frame.body);
        if entry.waits_for_a_round()
            && !connection.grant().take_share()
            && !self.core.rounds.try_take(units)
        {
            return Flow::Later(units);
        }
        if self.core.is_stopping() && entry.kind.appends() {
            let remark = match self.core.is_changing() {
                true => "the broker changes its role",
                false => "the broker is shutting down",
            };
            let refusal = Refusal::new(response::SERVICE_NOT_AVAILABLE, remark);
            self.core.answers.refuse_send(connection, caller, &refusal);
            return Flow::Next;
        }
        if let Some(refusal) = self.refused_by_role(entry) {
            self.core.answers.refuse_send(connection, caller, &refusal);
            return Flow::Next;
        }
        let flow = self.serve(connection, caller, header, frame.body, entry.kind);
        effects::carry_out(&self.core);
        flow
    }

    fn refused_by_role(&self, entry: &Entry) -> Option<Refusal> {
        let replication = self.core.replication.as_ref()?;
        let is_slave = self.core.store.follows();
        let refusal = is_slave.then(|| entry.refused_by_slave(replication.serves_reads()));
        refusal.flatten()
    }

    fn serve(
        &self,
        connection: &Rc<Connection<I::Stream>>,
        caller: Caller,
        header: &Header<'_>,
        body: &[u8],
        kind: Kind,
    ) -> Flow {
        match kind {
            Kind::Send => return self.sends.send(connection, caller, header, body),
            Kind::SendReply => return self.sends.send_reply(connection, caller, header, body),
            Kind::Recall => return self.sends.recall(connection, caller, header),
            Kind::SendBack => self.sends.send_back_request(connection, caller, header),
            Kind::Pull { .. } => self.pulls.pull(connection, caller, header),
            Kind::EndTransaction | Kind::ResumeTransaction => {
                self.transactions.request(connection, caller, header);
            }
            Kind::Pop | Kind::Peek | Kind::Notification | Kind::PollingInfo | Kind::Assignment => {
                self.pops.ask(connection, caller, header, body);
            }
            Kind::Ack | Kind::BatchAck | Kind::ChangeInvisibleTime => {
                self.pops.acknowledge(connection, caller, header, body);
            }
            Kind::Handle(handler) => {
                let requests = &self.requests;
                requests.handle(connection, caller, header, body, handler);
            }
        }
        Flow::Next
    }
}

fn too_long(code: i32, body: &[u8]) -> Option<Refusal> {
    requests::find(code)?.check_body(body).err()
}

impl<I: Io> Service<I::Stream> for Shard<I> {
    fn frame(
        self: &Rc<Self>,
        connection: &Rc<Connection<I::Stream>>,
        frame: Frame<'_>,
        scratch: &mut Scratch,
    ) -> Flow {
        self.core.stages.frame_begins(&self.core.io);
        match header::decode(&frame, scratch) {
            Ok(header) => match &self.core.checks {
                None => self.dispatch(connection, &frame, &header),
                Some(checks) => self.dispatch_checked(checks, connection, &frame, &header),
            },
            Err(error) => {
                warn!(peer = %connection.peer, %error, "closing a connection that sent a broken header");
                Flow::Close
            }
        }
    }

    async fn room(&self, connection: &Connection<I::Stream>, bytes: usize) {
        // Its own permit keeps all others out, itself included.
        connection.grant().end_offer();
        let room = self.core.admission.enter(bytes).await;
        connection.grant().give_room(room);
    }

    async fn round(&self, connection: &Connection<I::Stream>, units: usize) {
        self.core.rounds.take(units).await;
        connection.grant().give_share();
    }

    async fn saved(&self) {
        self.core.saves.topics_tried().await;
    }

    fn closed(self: &Rc<Self>, connection: &Connection<I::Stream>) {
        self.calls.closed(connection.id);
        self.pulls.closed(connection);
        self.pops.closed(connection.id);
        self.core
            .broker
            .borrow_mut()
            .connection_closed(ConnId(connection.id), self.core.now_ms());
        effects::carry_out(&self.core);
    }
}

/// Whenever the log has been committed further: acknowledges the sends up to there, and wakes the pulls that wait for them.
async fn release_committed<I: Io>(shard: Rc<Shard<I>>) {
    let core = &*shard.core;
    let mut seen = core.store.committed();
    let mut arrivals = Vec::new();
    loop {
        match core.store.committed_beyond(seen).await {
            Ok(position) => seen = position,
            Err(reason) => {
                // The store has logged it as an error.
                debug!(%reason, "nothing more is acknowledged");
                return release::failed(core, &reason.to_string()).await;
            }
        }
        release::committed(core, seen).await;
        core.store.take_arrivals(&mut arrivals);
        let mut grown = arrivals.drain(..);
        in_slices(QUEUES_AT_A_TIME, || {
            let Some(queue) = grown.next() else {
                return false;
            };
            shard.pulls.queue_grew(queue);
            core.queue_listeners.notify(&core.store, queue);
            shard.pops.queue_grew(queue);
            true
        })
        .await;
        drop(grown);
        shard.pulls.serve_woken();
        shard.pops.serve_woken();
    }
}

async fn tick<I: Io>(shard: Rc<Shard<I>>) {
    let core = &shard.core;
    let mut second_due_ns = 0;
    let mut standstill = Standstill::new(core.io.now().mono_ns);
    while !core.is_stopping() {
        let now = core.io.now();
        let now_ms = now.unix_ms as u64;
        core.admission.observe(now);
        core.connections
            .check_some(now.mono_ns, core.setup.connection_idle_s);
        if !standstill.was_before(now.mono_ns) {
            release::overdue(core, now.mono_ns).await;
        }
        shard.transactions.write_due_op(now_ms);
        core.broker.borrow_mut().notify_members(now_ms);
        effects::carry_out(core);
        if now.mono_ns >= second_due_ns {
            second_due_ns = now.mono_ns + SECOND_NS;
            core.broker.borrow_mut().housekeeping(now_ms);
            effects::carry_out(core);
            let reserved_ms = core.broker.borrow_mut().take_reserved_ms();
            if let Some(reserved_ms) = reserved_ms {
                core.store.keep_topics(reserved_ms);
            }
        }
        core.io.sleep_until(now.mono_ns + TICK_NS).await;
    }
}
