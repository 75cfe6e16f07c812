//! A shard's part in replication: its role, the epochs, the replicas and the connections to them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use tracing::info;

use super::setup::{MasterAddr, ReplicationSetup};
use crate::broker::limits::MAX_UNKNOWN_REPLICAS;
use crate::broker::store_view::{ReplicaView, ReplicationView, SlaveView};
use crate::io::{Io, Notify, Now, Stream};
use crate::reactor::acks::Acks;
use crate::reactor::controlled::steering::SendGate;
use crate::reactor::term::Term;
use crate::reactor::{ServeError, ShardSetup};
use crate::replication::epochs::{self, Epoch, Epochs};
use crate::replication::members::{MemberId, Membership};
use crate::replication::rate::Rate;
use crate::replication::repair::{SlaveState, had_others};
use crate::replication::replicas::{Link, Replicas, Rule};
use crate::store::{Medium, Store, TextFiles};

/// A shard's part in it.
pub struct Replication<I: Io> {
    pub(super) setup: ReplicationSetup,
    pub(super) replicas: RefCell<Replicas>,
    pub(super) epochs: RefCell<Epochs>,
    files: TextFiles<I>,
    /// Open connections to replicas or to the master.
    links: RefCell<BTreeMap<Link, Open<I::Stream>>>,
    next_link: Cell<Link>,
    /// Sends that wait for no replica (`WAIT=false`).
    pub(in crate::reactor) alone: Acks<I::Stream>,
    /// The master, as the term or the name server says.
    pub(super) master: RefCell<MasterAddr>,
    /// It does not change within the term.
    has_given_master: bool,
    pub(super) stop_accepting: Notify,
    /// The controller's number of this broker.
    pub(super) own_id: Option<MemberId>,
    /// Up to where the log was acknowledged, if it ended before that when the term began.
    pub(super) lost_up_to: Option<u64>,
    pub(super) gate: Cell<SendGate>,
    /// Another broker of the group is there, or was.
    pub(super) had_others: Cell<bool>,
    slave_state: Cell<SlaveState>,
    /// What the master of this slave said first of how far the log is confirmed, over the present connection.
    pub(super) first_confirm: Cell<Option<u64>>,
}

/// An open connection.
struct Open<S> {
    stream: S,
    /// It has said that it is a replica, and what it has.
    is_known: bool,
    /// What goes over it of the log.
    rate: Rate,
    /// Of the log.
    last_read_ms: i64,
    /// Of a report.
    last_write_ms: i64,
}

fn rule_of(setup: &ReplicationSetup, term: &Term) -> Rule {
    let (Some(mandate), Some(controller)) = (&term.mandate, &setup.controller) else {
        return Rule::Count(setup.needed());
    };
    let members = Membership::new(mandate.own_id, mandate.set.clone());
    let members = members.with_least(controller.min_in_sync);
    match controller.all_ack {
        true => Rule::Members(members),
        false => Rule::Counted {
            members,
            count: setup.needed(),
        },
    }
}

/// Before the manager has looked.
fn gate_of(rule: &Rule) -> SendGate {
    match rule {
        Rule::Members(members) | Rule::Counted { members, .. } if !members.are_enough() => {
            SendGate::TooFewInSync
        }
        _ => SendGate::Open,
    }
}

impl<I: Io> Replication<I> {
    /// Reads the epochs. A master begins the next one.
    pub async fn open(
        medium: &Medium<I>,
        replication: ReplicationSetup,
        setup: &ShardSetup,
        term: &Term,
        store: &Store<I>,
    ) -> Result<Self, ServeError> {
        let files = TextFiles::open(medium.clone(), &setup.store.dir).await?;
        let text = files.load(epochs::FILE).await?;
        let parsed = text.map(|text| Epochs::parse(&text)).transpose();
        let mut epochs = parsed.map_err(ServeError::Epochs)?.unwrap_or_default();
        let tail = store.tail();
        let before = epochs.clone();
        epochs.cut(tail);
        epochs.forget_before(store.log_min());
        let has_changed = epochs != before;
        let rule = rule_of(&replication, term);
        let missing = store.figures().missing;
        let gate = gate_of(&rule);
        let confirmed = store.committed();
        let mandate = term.mandate.as_ref();
        let had_others = mandate.is_some_and(|it| had_others(it.own_id, it.epoch, &it.set));
        let opened = Self {
            replicas: RefCell::new(Replicas::new(rule, confirmed)),
            epochs: RefCell::new(epochs),
            files,
            links: RefCell::default(),
            next_link: Cell::new(1),
            alone: Acks::default(),
            master: RefCell::new(term.master.clone().unwrap_or_default()),
            has_given_master: term.master.is_some() || replication.controller.is_some(),
            stop_accepting: Notify::default(),
            own_id: term.mandate.as_ref().map(|mandate| mandate.own_id),
            lost_up_to: missing.map(|missing| tail + missing.bytes),
            gate: Cell::new(gate),
            had_others: Cell::new(had_others),
            slave_state: Cell::default(),
            first_confirm: Cell::default(),
            setup: replication,
        };
        if has_changed {
            // Before the log grows: what goes must not count for what comes in its place.
            opened.save_epochs().await?;
        }
        if !opened.setup.is_slave() {
            let number = term.mandate.as_ref().map(|mandate| mandate.epoch);
            // The first master of this log answers for all of it: a slave that is still empty has to get it as a whole.
            let is_first = opened.epochs.borrow().is_empty();
            let start = if is_first { store.log_min() } else { tail };
            opened.begin_epoch(number, start).await?;
            store.confirm(opened.replicas.borrow_mut().confirm());
        }
        Ok(opened)
    }

    /// Begins the epoch of this number, or else the one behind the last.
    async fn begin_epoch(&self, number: Option<i32>, start: u64) -> Result<(), ServeError> {
        let number = {
            let mut epochs = self.epochs.borrow_mut();
            let last = epochs.last().map(|last| last.number);
            if number.is_some() && number == last {
                // The same master under the same mandate.
                return Ok(());
            }
            let next = last.map_or(1, |last| last.saturating_add(1));
            let number = number.unwrap_or(next);
            epochs
                .begin(Epoch { number, start })
                .map_err(ServeError::Epochs)?;
            number
        };
        self.save_epochs().await?;
        info!(epoch = number, start, "master of a new epoch");
        Ok(())
    }

    pub(super) async fn save_epochs(&self) -> Result<(), ServeError> {
        let text = self.epochs.borrow().to_text();
        self.files.save(epochs::FILE, text).await?;
        Ok(())
    }

    /// A slave that follows no master: only a registration says where the master is.
    pub fn lacks_master(&self) -> bool {
        self.setup.is_slave() && self.links.borrow().is_empty()
    }

    pub fn setup(&self) -> &ReplicationSetup {
        &self.setup
    }

    /// A name server said where the master is. One that does not know it, as the master is away or registered elsewhere, changes nothing.
    pub fn learn_master(&self, master: MasterAddr) {
        let is_news = master.remoting.is_some() && *self.master.borrow() != master;
        if !self.setup.is_slave() || self.has_given_master || !is_news {
            return;
        }
        info!(remoting = ?master.remoting, ha = ?master.ha, "the name server knows the master");
        self.master.replace(master);
    }

    /// Of a slave.
    pub(super) fn slave_state(&self) -> SlaveState {
        self.slave_state.get()
    }

    /// The log comes from a master from now on.
    pub(super) fn master_connected(&self, has_epochs: bool) {
        self.slave_state
            .set(self.slave_state.get().connected(has_epochs));
    }

    pub(super) fn master_disconnected(&self) {
        self.slave_state.set(self.slave_state.get().disconnected());
    }

    /// Closes its connections.
    pub fn stop(&self) {
        self.stop_accepting.notify();
        for open in self.links.borrow().values() {
            open.stream.shutdown();
        }
    }

    /// A connection is open from now on. Of those that are not known to be replicas the oldest ends, if there are very many: a replica says what it
    /// is at once.
    pub(super) fn opened(&self, stream: &I::Stream) -> Link {
        let mut links = self.links.borrow_mut();
        let mut unknown = links.iter().filter(|(_, open)| !open.is_known);
        let oldest = unknown.next().map(|(link, _)| *link);
        if unknown.count() + 1 >= MAX_UNKNOWN_REPLICAS
            && let Some(ended) = oldest.and_then(|link| links.remove(&link))
        {
            ended.stream.shutdown();
        }
        let link = self.next_link.get();
        self.next_link.set(link + 1);
        let open = Open {
            stream: stream.clone(),
            is_known: false,
            rate: Rate::default(),
            last_read_ms: 0,
            last_write_ms: 0,
        };
        links.insert(link, open);
        link
    }

    /// A connection is one to a replica.
    pub(super) fn introduced(&self, link: Link) {
        if let Some(open) = self.links.borrow_mut().get_mut(&link) {
            open.is_known = true;
        }
    }

    /// So many bytes of the log went over a connection.
    pub(super) fn transferred(&self, link: Link, bytes: usize, now: Now) {
        if let Some(open) = self.links.borrow_mut().get_mut(&link) {
            open.rate.add(bytes as u64, now.mono_ns);
            open.last_read_ms = now.unix_ms;
        }
    }

    /// A slave has sent a report.
    pub(super) fn reported_at(&self, link: Link, now_ms: i64) {
        if let Some(open) = self.links.borrow_mut().get_mut(&link) {
            open.last_write_ms = now_ms;
        }
    }

    /// What is asked of it.
    pub fn view(&self, tail: u64, now_ns: u64) -> ReplicationView {
        let links = self.links.borrow();
        if self.setup.is_slave() {
            let slave = links.values().next().map(|open| SlaveView {
                master_addr: open.stream.peer_addr().to_string(),
                last_read_ms: open.last_read_ms,
                last_write_ms: open.last_write_ms,
                bytes_per_s: open.rate.per_second(now_ns),
            });
            return ReplicationView::Slave(slave.unwrap_or_default());
        }
        let most = self.setup.max_gap_bytes;
        let replicas = self.replicas.borrow();
        let members = replicas.members();
        let replicas = replicas.all().filter_map(|(link, replica)| {
            let open = links.get(&link)?;
            let has = replica.has.unwrap_or(0);
            let is_near = replica.has.is_some() && tail.saturating_sub(has) <= most;
            let is_in_sync = match members {
                Some(members) => replica.id.is_some_and(|id| members.has(id)),
                None => is_near,
            };
            Some(ReplicaView {
                addr: open.stream.peer_addr().to_string(),
                has,
                is_in_sync,
                bytes_per_s: open.rate.per_second(now_ns),
            })
        });
        ReplicationView::Master {
            port: self.setup.listen.port(),
            replicas: replicas.collect(),
        }
    }

    pub(super) fn closed(&self, link: Link) {
        self.links.borrow_mut().remove(&link);
        self.replicas.borrow_mut().disconnected(link);
    }
}
