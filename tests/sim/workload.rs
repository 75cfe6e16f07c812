//! Clients that do what clients do, at random, and tell the oracle. They outlive the broker's crashes.
//!
//! [`produce`] and [`consume`] are the common ones, [`popping`] are those that pop, [`orderly`] are members of a group that lock
//! their queues, [`keeper`] makes and deletes topics and groups, and [`rude`] are those that nobody wants.

pub mod consume;
pub mod keeper;
pub mod orderly;
pub mod popping;
pub mod produce;
pub mod rude;

use std::cell::{Cell, RefCell, RefMut};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use ringmq::io::Clock;
use ringmq::message::Record;
use ringmq::sim::SimIo;
use ringmq::wire::Codec;
use ringmq::wire::codes::response;
use ringmq::wire::transaction::{TRANSACTION_COMMIT_TYPE, TRANSACTION_ROLLBACK_TYPE};

use crate::client::{Client, Fields, Reply, sleep};
use crate::dice::Dice;
use crate::oracle::{End, Oracle, Told};
use crate::pairs::copies::Copies;
use crate::requests;

/// Topics that exist from the start; the others come with their first message.
pub const CREATED: [&str; 2] = ["first", "second"];
/// What remarks say of ENOSPC, and of EMFILE.
const NO_SPACE: &str = "No space left";
const NO_DESCRIPTORS: &str = "Too many open files";

pub const AUTO_CREATED: [&str; 3] = ["third", "fourth", "fifth"];

/// What all clients of a run share.
pub struct Shared {
    pub oracle: RefCell<Oracle>,
    pub addr: SocketAddr,
    pub seed: u64,
    /// Where the clients are.
    pub hosts: RefCell<Vec<String>>,
    /// Counts what may break connections; one that breaks without it was broken by the broker.
    pub disturbances: Cell<u64>,
    /// The same for what breaks those of one host only.
    pub disturbed_hosts: RefCell<BTreeMap<IpAddr, u64>>,
    /// Counts the broker's ends.
    pub life: Cell<u64>,
    /// Nobody connects meanwhile.
    pub is_closed: Cell<bool>,
    /// No new messages, please.
    pub is_ending: Cell<bool>,
    /// When somebody popped something last, after all else was done.
    pub popped_ms: Cell<i64>,
    /// There is no space, or there was none a moment ago.
    pub is_disk_full: Cell<bool>,
    /// The broker's process may open no more files, or few, or that was so a moment ago.
    pub lacks_descriptors: Cell<bool>,
    /// Entries of the key index have rotten: messages may not be found by their keys.
    pub is_index_rotten: Cell<bool>,
    /// The log cannot be written, until the next start.
    pub is_log_failing: Cell<bool>,
    /// How long messages are kept.
    pub reserved_ms: u64,
    /// How far the clocks are ahead of where they would be without steps, now and at most so far.
    pub stepped_ms: Cell<i64>,
    pub most_stepped_ms: Cell<i64>,
    /// What the keeper's topics and groups may be.
    pub kept: RefCell<keeper::Kept>,
    /// What the broker's slave has of it, if it has one.
    pub copies: Option<Copies>,
    /// What the clients of the second shard share, if there is one.
    pub beside: Option<Rc<Shared>>,
}

impl Shared {
    /// Of each shard of the broker's process.
    pub fn each(&self, act: impl Fn(&Shared)) {
        act(self);
        if let Some(beside) = &self.beside {
            act(beside);
        }
    }

    /// The broker runs, and nothing is done to it.
    pub fn calm_down(&self, now_ms: i64) {
        self.each(|shard| shard.oracle.borrow_mut().is_calm(now_ms));
    }

    /// What is due may be late from now on.
    pub fn disturb_timing(&self, now_ms: i64) {
        self.each(|shard| shard.oracle.borrow_mut().is_disturbed(now_ms));
    }

    pub fn disturb(&self) {
        self.disturbances.set(self.disturbances.get() + 1);
    }

    pub fn disturb_host(&self, ip: IpAddr) {
        *self.disturbed_hosts.borrow_mut().entry(ip).or_default() += 1;
    }

    /// The clocks of all hosts are set.
    pub fn clocks_are_stepped(&self, by_ms: i64) {
        self.stepped_ms.set(self.stepped_ms.get() + by_ms);
        let most_ms = self.most_stepped_ms.get().max(self.stepped_ms.get());
        self.most_stepped_ms.set(most_ms);
    }

    /// What is younger has to be there. By a clock that was set back, more may have gone than it says.
    pub fn kept_from_ms(&self, now_ms: i64) -> i64 {
        now_ms + self.most_stepped_ms.get() - self.stepped_ms.get() - self.reserved_ms as i64
    }

    /// A consumer has got these from the broker.
    pub fn are_seen(&self, records: &[Record<'_>], told: Told) {
        if let Some(copies) = &self.copies {
            records
                .iter()
                .for_each(|record| copies.is_seen(record, told));
        }
    }

    /// Grows with each disturbance that a client on this host may feel.
    fn disturbances_of(&self, io: &SimIo) -> u64 {
        let of_host = self.disturbed_hosts.borrow().get(&io.ip()).copied();
        self.disturbances.get() + of_host.unwrap_or(0)
    }
}

/// A client with the time of its connecting.
pub struct Connected<'a> {
    client: Client,
    shared: &'a Shared,
    since: u64,
}

impl<'a> Connected<'a> {
    pub async fn to_broker(io: &SimIo, shared: &'a Shared, dice: &Dice) -> Self {
        loop {
            let since = shared.disturbances_of(io);
            if !shared.is_closed.get() {
                let codec = *dice.pick(&[Codec::Json, Codec::Rocketmq]);
                match Client::connect(io, shared.addr, codec).await {
                    Ok(mut client) => {
                        client.is_replicated = shared.copies.is_some();
                        return Connected {
                            client,
                            shared,
                            since,
                        };
                    }
                    Err(error) => assert!(
                        shared.disturbances_of(io) != since,
                        "cannot connect to an undisturbed broker: {error}"
                    ),
                }
            }
            sleep(io, Duration::from_millis(dice.within(1, 50))).await;
        }
    }

    fn is_disturbed(&self) -> bool {
        self.shared.disturbances_of(&self.client.io) != self.since
    }

    /// An error must have a reason.
    fn excuse(&self, error: &io::Error) {
        assert!(
            self.is_disturbed(),
            "an undisturbed connection has failed: {error}"
        );
    }

    /// Sends what was asked and waits for its one answer.
    async fn answer(&mut self) -> io::Result<(Reply, Told)> {
        let asked_ns = self.now_ns();
        self.client.flush().await?;
        let reply = self.client.reply().await?;
        let told_ns = self.now_ns();
        Ok((reply, Told { asked_ns, told_ns }))
    }

    async fn call(
        &mut self,
        code: i32,
        fields: Fields<'_>,
        body: &[u8],
    ) -> io::Result<(Reply, Told)> {
        self.client.ask(code, fields, body);
        self.answer().await
    }

    async fn pause(&self, ms: u64) {
        sleep(&self.client.io, Duration::from_millis(ms)).await;
    }

    fn now_ns(&self) -> u64 {
        self.client.io.now().mono_ns
    }

    fn now_ms(&self) -> i64 {
        self.client.io.now().unix_ms
    }

    fn oracle(&self) -> RefMut<'_, Oracle> {
        let mut oracle = self.shared.oracle.borrow_mut();
        oracle.time_is(self.now_ns());
        oracle
    }

    /// A change that was made and that a full disk, or a process without descriptors, could not save: a restart may or may not know of it.
    fn is_made_but_not_saved(&self, reply: &Reply) -> bool {
        let is_reason = |reason| requests::is_made_but_not_saved(reply, reason);
        (self.shared.is_disk_full.get() && is_reason(NO_SPACE))
            || (self.shared.lacks_descriptors.get() && is_reason(NO_DESCRIPTORS))
    }

    /// It was refused because the file that it needs cannot be opened at the moment.
    fn lacks_a_descriptor(&self, reply: &Reply) -> bool {
        let says_so = |remark: &String| remark.contains(NO_DESCRIPTORS);
        self.shared.lacks_descriptors.get()
            && matches!(
                reply.code,
                // The second: the topic of a message is new, and cannot be saved.
                response::SYSTEM_ERROR | response::SERVICE_NOT_AVAILABLE
            )
            && reply.remark.as_ref().is_some_and(says_so)
    }

    /// Whether a refusal for want of space, of a log, of a broker or of a disk that keeps up has a reason.
    fn excuses(&self, reply: &Reply) -> bool {
        match reply.code {
            response::SERVICE_NOT_AVAILABLE | response::SYSTEM_ERROR
                if self.shared.is_log_failing.get() =>
            {
                true
            }
            response::SERVICE_NOT_AVAILABLE => {
                self.is_disturbed()
                    || self.shared.is_disk_full.get()
                    || self.lacks_a_descriptor(reply)
            }
            // The disk has been slow for too long.
            response::SYSTEM_BUSY => true,
            _ => self.lacks_a_descriptor(reply),
        }
    }
}

pub fn on_wire(end: End) -> i32 {
    match end {
        End::Commit => TRANSACTION_COMMIT_TYPE,
        End::Rollback => TRANSACTION_ROLLBACK_TYPE,
    }
}
