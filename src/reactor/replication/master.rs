//! A master's side of the connections to its replicas: their first words, and their reports.
//!
//! A connection sends nothing before the slave's first report, and keeps no part of the log until then: probes of the port cost nothing.

use std::rc::Rc;

use tracing::{debug, info, warn};

use super::inbox::Inbox;
use super::link::{LinkError, Protocol};
use super::sender;
use super::state::Replication;
use crate::io::{ACCEPTED_PER_TURN, Either, Io, Listener, PerTurn, Stream, select};
use crate::reactor::core::Core;
use crate::replication::frames::{classic, epoch};
use crate::replication::members::MemberId;
use crate::replication::replicas::{Link, ReportError};
use crate::store::Store;

/// Pause after a failed accept.
const ACCEPT_RETRY_NS: u64 = 100_000_000;

/// A replica that has introduced itself.
struct Introduced {
    protocol: Protocol,
    /// Where the log is sent from.
    from: u64,
    /// What it has, which is its first report.
    has: u64,
    /// With a controller: its number.
    id: Option<MemberId>,
    is_learner: bool,
}

pub(super) async fn accept<I: Io>(core: Rc<Core<I>>, listener: I::Listener) {
    let Some(replication) = &core.replication else {
        return;
    };
    let share = PerTurn::new(ACCEPTED_PER_TURN);
    while !core.is_stopping() {
        share.pass().await;
        let stop = replication.stop_accepting.notified();
        match select(listener.accept(), stop).await {
            // It may be there together with the order to end.
            Either::Left(Ok(_)) if core.is_stopping() => return,
            Either::Left(Ok(stream)) => core.io.spawn("replica", serve(core.clone(), stream)),
            Either::Left(Err(error)) => {
                warn!(%error, "a replica's connection cannot be accepted");
                let later = core.io.now().mono_ns + ACCEPT_RETRY_NS;
                core.io.sleep_until(later).await;
            }
            Either::Right(()) => return,
        }
    }
}

async fn serve<I: Io>(core: Rc<Core<I>>, stream: I::Stream) {
    let Some(replication) = &core.replication else {
        return;
    };
    let link = replication.opened(&stream);
    let peer = stream.peer_addr();
    let silence_ns = replication.setup.silence_ms * 1_000_000;
    let mut inbox = Inbox::new(&core.io, stream.clone(), silence_ns);
    match introduce(&core.store, replication, &stream, &mut inbox).await {
        Err(error @ LinkError::OutOfLog { .. }) => warn!(%peer, %error, "a slave is refused"),
        // Such as a probe of the port.
        Err(error) => debug!(%peer, %error, "a connection to the port for replicas is closed"),
        Ok(replica) => {
            replication.introduced(link);
            info!(%peer, protocol = ?replica.protocol, from = replica.from, "a replica is connected");
            let served = serve_replica(&core, &stream, inbox, link, replica).await;
            if !core.is_stopping()
                && let Err(error) = &served
            {
                warn!(%peer, %error, "a replica is disconnected");
            }
        }
    }
    stream.shutdown();
    replication.closed(link);
}

/// Its first words decide the protocol.
async fn introduce<I: Io>(
    store: &Store<I>,
    replication: &Replication<I>,
    stream: &I::Stream,
    inbox: &mut Inbox<I>,
) -> Result<Introduced, LinkError> {
    let words: [u8; classic::REPORT_BYTES] = inbox.take().await?;
    if !epoch::Hello::may_begin_with(&words) {
        let has = classic::decode_report(&words)?;
        let from = first_position(store, has, false)?;
        return Ok(Introduced {
            protocol: Protocol::Classic,
            from,
            has,
            id: None,
            is_learner: false,
        });
    }
    let mut hello = [0; epoch::HELLO_BYTES];
    hello[..8].copy_from_slice(&words);
    hello[8..].copy_from_slice(&inbox.take::<8>().await?);
    let hello = epoch::Hello::decode(&hello)?;
    let list = epoch::EpochList {
        log_end: store.tail(),
        epochs: replication.epochs.borrow().clone(),
    };
    stream.send(list.encode()).await.0?;
    let has = epoch::decode_report(&inbox.take().await?)?;
    Ok(Introduced {
        protocol: Protocol::Epochs,
        from: first_position(store, has, hello.from_last_file)?,
        has,
        id: (hello.controller_id > 0).then_some(hello.controller_id),
        is_learner: hello.is_learner,
    })
}

/// Where a slave begins that has the log up to `has`.
fn first_position<I: Io>(
    store: &Store<I>,
    has: u64,
    from_last_file: bool,
) -> Result<u64, LinkError> {
    let (min, end) = (store.log_min(), store.tail());
    let wanted = match has {
        0 if from_last_file => end - end % store.segment_bytes(),
        0 => min,
        has => has,
    };
    match (min..=end).contains(&wanted) {
        true => Ok(wanted),
        false => Err(LinkError::OutOfLog { wanted, min, end }),
    }
}

/// Sends and takes reports until one of them fails.
async fn serve_replica<I: Io>(
    core: &Core<I>,
    stream: &I::Stream,
    inbox: Inbox<I>,
    link: Link,
    replica: Introduced,
) -> Result<(), LinkError> {
    let Some(replication) = &core.replication else {
        return Ok(());
    };
    let now_ns = core.io.now().mono_ns;
    let Introduced {
        protocol,
        from,
        has,
        id,
        is_learner,
    } = replica;
    replication
        .replicas
        .borrow_mut()
        .connected(link, id, is_learner, now_ns);
    // Without an id, 0 is where a slave begins; a member may have nothing as there is nothing.
    if has > 0 || id.is_some() {
        replication.reported(core, link, has)?;
    }
    let reports = read_reports(core, replication, inbox, link, protocol);
    let sends = sender::run(core, replication, (link, stream), from, protocol);
    match select(reports, sends).await {
        Either::Left(ended) | Either::Right(ended) => ended,
    }
}

async fn read_reports<I: Io>(
    core: &Core<I>,
    replication: &Replication<I>,
    mut inbox: Inbox<I>,
    link: Link,
    protocol: Protocol,
) -> Result<(), LinkError> {
    loop {
        let (has, more) = match protocol {
            Protocol::Classic => {
                let report = inbox.take().await?;
                (classic::decode_report(&report)?, classic::REPORT_BYTES)
            }
            Protocol::Epochs => {
                let report = inbox.take().await?;
                (epoch::decode_report(&report)?, epoch::REPORT_BYTES)
            }
        };
        // Of several only the last counts.
        if !inbox.has(more) {
            replication.reported(core, link, has)?;
        }
    }
}

impl<I: Io> Replication<I> {
    /// A replica has the log up to here.
    fn reported(&self, core: &Core<I>, link: Link, has: u64) -> Result<(), ReportError> {
        let confirmed = {
            let mut replicas = self.replicas.borrow_mut();
            let now_ns = core.io.now().mono_ns;
            replicas.reported(link, has, core.store.tail(), now_ns)?;
            replicas.confirm()
        };
        core.confirm(confirmed);
        Ok(())
    }
}
