//! A slave: connects to its master, appends what comes, and reports what its own device has.
//!
//! It introduces itself in the protocol with epochs. RocketMQ's master without a controller does not answer that (it waits for a position and
//! gets -1), so the slave connects once more and speaks the classic one.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use tracing::{info, warn};

use super::inbox::{receive, receive_into};
use super::link::Protocol;
use super::repair;
use super::setup::MasterAddr;
use super::state::Replication;
use crate::io::{Either, Io, Stream, select};
use crate::reactor::core::Core;
use crate::reactor::remoting_client::{RemotingClient, within};
use crate::replication::epochs::{Epoch, EpochError};
use crate::replication::follow::{self, Differs, Start};
use crate::replication::frames::epoch::{self, EpochList};
use crate::replication::frames::stream::{Event, Frame, FrameStream};
use crate::replication::frames::{FrameError, classic};
use crate::replication::replicas::Link;
use crate::store::{FollowError, ReadError, Resume, Store};
use crate::wire::codes::request;

const RETRY_NS: u64 = 1_000_000_000;

/// The same where a controller has named the master, which may not have begun its term yet.
const RETRY_CONTROLLED_NS: u64 = 100_000_000;

const CONNECT_NS: u64 = 3_000_000_000;

/// Log that one receive brings at most: as much as the master sends at once.
const RECEIVE_BYTES: usize = 256 << 10;

/// A master that knows epochs answers at once.
const ANSWER_NS: u64 = 2_000_000_000;

/// How often a slave that catches up looks how far it has come.
const CATCH_UP_NS: u64 = 10_000_000;

/// The controller number of a slave without a controller.
const NO_CONTROLLER: i64 = -1;

#[derive(Debug, thiserror::Error)]
enum SlaveError {
    #[error(transparent)]
    Connection(#[from] io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Epoch(#[from] EpochError),
    #[error(transparent)]
    Differs(#[from] Differs),
    #[error(transparent)]
    Follow(#[from] FollowError),
    #[error(transparent)]
    Store(#[from] ReadError),
    #[error("it does not answer in the protocol with epochs")]
    NoAnswer,
    #[error("the epochs cannot be saved: {0}")]
    Save(String),
    #[error(
        "this log ends at {own_end}, and the master's has {from} next: empty the store of this slave to copy the master's"
    )]
    Gap { own_end: u64, from: u64 },
    #[error("what this log has behind {0} is not in the master's: it is cut off")]
    Cut(u64),
    #[error("the master's log begins at {0}: this one begins there as well")]
    Begin(u64),
    /// The group has lost acknowledged messages, or this is another group's master.
    #[error(
        "this log has to be cut at {point}, and its group has confirmed it up to {confirmed}: it is not cut, and the master is not followed"
    )]
    Confirmed { point: u64, confirmed: u64 },
}

/// Follows until the shard stops.
pub(super) async fn follow<I: Io>(core: Rc<Core<I>>) {
    let Some(replication) = &core.replication else {
        return;
    };
    let mut protocol = Protocol::Epochs;
    let mut last_error = String::new();
    while !core.is_stopping() {
        let Some(addr) = find_master(&core, replication).await else {
            wait_to_retry(&core).await;
            continue;
        };
        let followed = async {
            // It goes on where its log ends, and says how far it has that for good: the two must be the same.
            let tail = core.store.tail();
            if core.store.persisted() < tail {
                core.store.persisted_beyond(tail - 1).await?;
            }
            let stream = connect(&core, replication, addr).await?;
            let link = replication.opened(&stream);
            let mut session = Session::new(&core, replication, link, stream.clone(), protocol);
            replication.first_confirm.set(None);
            let ended = session.run().await;
            let has_followed = session.has_followed;
            replication.master_disconnected();
            stream.shutdown();
            replication.closed(link);
            if has_followed {
                last_error.clear();
            }
            ended
        };
        match followed.await {
            // A log with epochs is of a master that knows them: without the comparison two logs could part unseen.
            Err(SlaveError::NoAnswer) if replication.epochs.borrow().is_empty() => {
                info!(master = %addr, "the master knows no epochs");
                protocol = Protocol::Classic;
                continue;
            }
            Ok(()) => {}
            Err(error) => {
                protocol = Protocol::Epochs;
                replication.forget_found_master();
                copy_again(&core, &error).await;
                let text = error.to_string();
                if !core.is_stopping() && text != last_error {
                    warn!(master = %addr, error = text, "the master is not followed; trying again every second");
                    last_error = text;
                }
            }
        }
        wait_to_retry(&core).await;
    }
}

/// Bytes that are no record are received once more: they may have been changed on their way, or on this device. If it was on the master's device,
/// the master finds out when it is asked for that record.
async fn copy_again<I: Io>(core: &Core<I>, error: &SlaveError) {
    let SlaveError::Follow(trouble) = error else {
        return;
    };
    let now_ns = core.io.now().mono_ns;
    let wrong_from = trouble.wrong_from();
    if let Some(position) = wrong_from {
        core.orders.is_wrong_from(position);
    }
    let may_copy = |position: &u64| core.orders.may_copy_again(*position, now_ns);
    if let Some(position) = wrong_from.filter(may_copy) {
        repair::let_master_look(core, position).await;
        warn!(
            position,
            "what was received of the master's log is cut off, to be received again"
        );
        core.orders.ask_to_resume(Resume::CutAt(position));
    }
}

async fn wait_to_retry<I: Io>(core: &Core<I>) {
    let replication = core.replication.as_ref();
    let is_controlled =
        replication.is_some_and(|replication| replication.setup.controller.is_some());
    let retry_ns = if is_controlled {
        RETRY_CONTROLLED_NS
    } else {
        RETRY_NS
    };
    let later = core.io.sleep_until(core.io.now().mono_ns + retry_ns);
    later.await;
}

async fn connect<I: Io>(
    core: &Core<I>,
    replication: &Replication<I>,
    addr: SocketAddr,
) -> io::Result<I::Stream> {
    let connecting = async {
        match replication.setup.is_secured {
            true => core.io.connect_remoting(addr, &addr.ip().to_string()).await,
            false => core.io.connect(addr).await,
        }
    };
    within(&core.io, CONNECT_NS, connecting).await
}

/// Where the master's port for replicas is. A controller says only where the master serves requests, so the master itself is asked. One that has not taken its
/// role yet does not say it.
async fn find_master<I: Io>(core: &Core<I>, replication: &Replication<I>) -> Option<SocketAddr> {
    if let Some(known) = replication.master_ha() {
        return Some(known);
    }
    let remoting = replication.master.borrow().remoting?;
    let mut link = RemotingClient::connect(&core.io, remoting, core.credentials(), CONNECT_NS)
        .await
        .ok()?;
    let code = request::EXCHANGE_BROKER_HA_INFO;
    let answer = link.ask(code, &[], &[], ANSWER_NS).await.ok()?;
    let ha = answer.field("masterHaAddress")?.parse().ok()?;
    let found = MasterAddr {
        remoting: Some(remoting),
        ha: Some(ha),
    };
    replication.master.replace(found);
    Some(ha)
}

impl<I: Io> Replication<I> {
    fn master_ha(&self) -> Option<SocketAddr> {
        self.setup.master.or(self.master.borrow().ha)
    }

    /// Whether all is found to be records that the master had confirmed when the connection began. A master without epochs does not say it.
    fn has_caught_up(&self, store: &Store<I>) -> bool {
        match self.first_confirm.get() {
            Some(first) => {
                store.committed() >= first || store.persisted() >= first && store.has_taken_all()
            }
            None => false,
        }
    }

    /// The master said it, and may be elsewhere by now.
    fn forget_found_master(&self) {
        if self.setup.controller.is_some() {
            self.master.borrow_mut().ha = None;
        }
    }
}

/// One connection to the master.
struct Session<'c, I: Io> {
    core: &'c Core<I>,
    replication: &'c Replication<I>,
    link: Link,
    stream: I::Stream,
    protocol: Protocol,
    frames: FrameStream,
    /// Where the next bytes of the log belong.
    at: u64,
    has_followed: bool,
}

impl<'c, I: Io> Session<'c, I> {
    fn new(
        core: &'c Core<I>,
        replication: &'c Replication<I>,
        link: Link,
        stream: I::Stream,
        protocol: Protocol,
    ) -> Self {
        Self {
            core,
            replication,
            link,
            stream,
            protocol,
            frames: match protocol {
                Protocol::Classic => FrameStream::classic(),
                Protocol::Epochs => FrameStream::with_epochs(),
            },
            at: core.store.tail(),
            has_followed: false,
        }
    }

    async fn run(&mut self) -> Result<(), SlaveError> {
        match self.protocol {
            Protocol::Epochs => self.introduce().await?,
            // Such a master does not say what is confirmed, and no controller elects.
            Protocol::Classic => {
                self.core.store.confirm(u64::MAX);
                self.core.store.trust_end();
            }
        }
        info!(master = %self.stream.peer_addr(), from = self.at, protocol = ?self.protocol, "following the master");
        self.has_followed = true;
        let has_epochs = self.protocol == Protocol::Epochs;
        self.replication.master_connected(has_epochs);
        let (core, replication) = (self.core, self.replication);
        let (stream, protocol) = (self.stream.clone(), self.protocol);
        let reports = report(core, replication, (self.link, &stream), protocol);
        match select(self.receive_log(), reports).await {
            Either::Left(ended) | Either::Right(ended) => ended,
        }
    }

    /// Compares the epochs, and finds where to go on.
    async fn introduce(&mut self) -> Result<(), SlaveError> {
        let controller = self.replication.setup.controller.as_ref();
        let hello = epoch::Hello {
            from_last_file: false,
            is_learner: controller.is_some_and(|controller| controller.is_learner),
            controller_id: self.replication.own_id.unwrap_or(NO_CONTROLLER),
        };
        self.stream.send(hello.encode()).await.0?;
        let list = self.receive_epochs().await?;
        // An epoch of which nothing came is not in this log: another master may begin one at the same place.
        self.replication.epochs.borrow_mut().cut(self.at);
        // What is removed at a log's beginning is in no epoch that both have.
        let may_lose_all = self.core.term.mandate.is_some()
            && self.core.store.log_min() == 0
            && self.core.orders.was_never_confirmed();
        let start = {
            let epochs = self.replication.epochs.borrow();
            follow::start(&epochs, self.at, &list, may_lose_all)?
        };
        match start {
            Start::CutAt(point) if !mutant!(CutMissing) => Err(self.cut(point)),
            Start::CutAt(_) | Start::At(_) => {
                self.core.store.confirm(self.core.store.committed());
                Ok(())
            }
        }
    }

    /// Ends the term, to begin anew with a shorter log.
    fn cut(&self, point: u64) -> SlaveError {
        let confirmed = self.core.orders.confirmed();
        if point < confirmed {
            if self.core.term.mandate.is_some() {
                return SlaveError::Confirmed { point, confirmed };
            }
            // Without a controller a master may confirm what no other replica has.
            warn!(
                point,
                confirmed, "messages that a former master had confirmed are cut off"
            );
        }
        self.core.orders.ask_to_resume(Resume::CutAt(point));
        SlaveError::Cut(point)
    }

    async fn receive_epochs(&mut self) -> Result<EpochList, SlaveError> {
        let answer = async {
            loop {
                // The answer itself is late earlier.
                let chunk = receive(&self.core.io, &self.stream, 2 * ANSWER_NS).await?;
                let mut bytes = &chunk[..];
                // Nothing else comes before the slave's report.
                if let Some(Event::Epochs(list)) = self.frames.next(&mut bytes)? {
                    return Ok(list);
                }
            }
        };
        let late = self
            .core
            .io
            .sleep_until(self.core.io.now().mono_ns + ANSWER_NS);
        match select(answer, late).await {
            Either::Left(answer) => answer,
            Either::Right(()) => Err(SlaveError::NoAnswer),
        }
    }

    async fn receive_log(&mut self) -> Result<(), SlaveError> {
        let silence_ns = self.replication.setup.silence_ms * 1_000_000;
        let mut buf = vec![0; RECEIVE_BYTES];
        loop {
            let (len, back) = receive_into(&self.core.io, &self.stream, buf, silence_ns).await?;
            buf = back;
            let mut bytes = &buf[..len];
            while let Some(event) = self.frames.next(&mut bytes)? {
                match event {
                    // It stands before the log only, and was read.
                    Event::Epochs(_) => {}
                    Event::Frame(frame) => self.begin_frame(frame).await?,
                    Event::Body(body) => {
                        append(self.core, self.at, body).await?;
                        self.at += body.len() as u64;
                        let now = self.core.io.now();
                        self.replication.transferred(self.link, body.len(), now);
                    }
                }
            }
        }
    }

    async fn begin_frame(&mut self, frame: Frame) -> Result<(), SlaveError> {
        if frame.position != self.at {
            let (own_end, from) = (self.at, frame.position);
            let begins_file = from.is_multiple_of(self.core.store.segment_bytes());
            if !self.core.store.is_empty() || !begins_file {
                return Err(SlaveError::Gap { own_end, from });
            }
            self.core.orders.ask_to_resume(Resume::BeginAt(from));
            return Err(SlaveError::Begin(from));
        }
        if let Some((epoch, confirm)) = frame.reign {
            if frame.size > 0 {
                self.enter(epoch).await?;
            }
            self.replication
                .first_confirm
                .set(self.replication.first_confirm.get().or(Some(confirm)));
            let confirm = match mutant!(ConfirmNotAwaited) {
                true => u64::MAX,
                false => confirm,
            };
            self.core.store.confirm(confirm);
            // In whole messages: the half of one was not acknowledged, and a restart drops it.
            let visible = self.core.store.visible_to();
            self.core.orders.confirm(confirm.min(visible));
        }
        Ok(())
    }

    /// The bytes that follow are of this epoch: it is in the file before they are in the log.
    async fn enter(&self, epoch: Epoch) -> Result<(), SlaveError> {
        let last = self.replication.epochs.borrow().last();
        if last == Some(epoch) {
            return Ok(());
        }
        self.replication.epochs.borrow_mut().append(epoch)?;
        let saved = self.replication.save_epochs().await;
        saved.map_err(|error| SlaveError::Save(error.to_string()))
    }
}

async fn append<I: Io>(core: &Core<I>, mut at: u64, mut bytes: &[u8]) -> Result<(), SlaveError> {
    while !bytes.is_empty() {
        let taken = core.store.append_log(at, bytes)?;
        if taken == 0 {
            core.store.wait_for_log_room().await;
        }
        at += taken as u64;
        bytes = &bytes[taken..];
    }
    Ok(())
}

/// Says how far this slave's device has the log: first where it goes on, then whenever a write has ended, and every so often.
///
/// While it catches up, it says only what it has found to be records: with what the master had confirmed before, it may join the in-sync set, and a master may
/// send damage of its own device.
async fn report<I: Io>(
    core: &Core<I>,
    replication: &Replication<I>,
    (link, stream): (Link, &I::Stream),
    protocol: Protocol,
) -> Result<(), SlaveError> {
    let heartbeat_ns = replication.setup.heartbeat_ms * 1_000_000;
    // In the classic protocol a master does not say what is confirmed.
    let (began_at, mut catches_up) = (core.store.persisted(), protocol == Protocol::Epochs);
    loop {
        if let Some(trouble) = core.store.follow_trouble() {
            return Err(trouble.into());
        }
        if catches_up && replication.has_caught_up(&core.store) {
            catches_up = false;
            core.store.trust_end();
        }
        // The master sends an empty log from where its own begins.
        let has = match core.store.is_empty() {
            true => 0,
            false if mutant!(ReportBeforeWrite) => core.store.tail(),
            false if catches_up => began_at.max(core.store.committed()),
            false => core.store.persisted(),
        };
        let report = match protocol {
            Protocol::Classic => classic::encode_report(has),
            Protocol::Epochs => epoch::encode_report(has),
        };
        stream.send(report).await.0?;
        replication.reported_at(link, core.io.now().unix_ms);
        let pause_ns = match catches_up && replication.first_confirm.get().is_some() {
            true => CATCH_UP_NS.min(heartbeat_ns),
            false => heartbeat_ns,
        };
        let due = core.io.sleep_until(core.io.now().mono_ns + pause_ns);
        let grown = core.store.persisted_beyond(core.store.persisted());
        if let Either::Left(persisted) = select(grown, due).await {
            persisted?;
        }
    }
}
