//! Whether both logs have a record, from what the two devices hold at that moment.
//!
//! The files are looked at from outside, without an operation of the brokers: what is acknowledged has to be there when the acknowledgement
//! arrives, and what a consumer of the master gets has to be at the slave by then, unless its sender was told that it is not.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

use ringmq::message::{Check, Record};
use ringmq::sim::SimIo;
use ringmq::store::Flush;

use crate::client::Reply;
use crate::cluster::{FLUSH_INTERVAL_MS, SEGMENT_BYTES};
use crate::oracle::Told;

/// What is this much older than a power cut was flushed before it.
pub const FLUSHED_NS: u64 = (FLUSH_INTERVAL_MS + 100) * 1_000_000;

/// The size of a record stands first; no record is larger.
const SIZE_BYTES: usize = 4;
const MAX_RECORD_BYTES: usize = 256 << 10;
/// Most records of a history are no longer.
const MOST_RECORD_BYTES: usize = 1 << 10;
/// In front of what fills the rest of a file.
const BLANK_MAGIC: [u8; 4] = 0xcbd4_3194_u32.to_be_bytes();

pub struct Copies {
    flush: Flush,
    master: Device,
    slave: Device,
    /// Positions in the log of what was acknowledged as being on both.
    acked: RefCell<BTreeMap<u64, Told>>,
    /// The same without what the slave may have lost since, and gets again when it follows.
    at_slave: RefCell<BTreeMap<u64, Told>>,
    /// Positions of what a consumer has seen while the slave did not have it.
    seen_alone: RefCell<BTreeSet<u64>>,
    /// Positions of records of which a bit has flipped at the slave, until it has them again.
    rotten: RefCell<BTreeSet<u64>>,
    has_rotted: Cell<bool>,
}

/// The device of one of the two.
pub struct Device {
    io: SimIo,
    /// When what was not flushed may have been lost.
    losses_ns: RefCell<Vec<u64>>,
    /// Up to here the log has been seen to be whole since the last loss.
    whole_to: Cell<u64>,
}

impl Device {
    pub fn new(io: SimIo) -> Self {
        Self {
            io,
            losses_ns: RefCell::default(),
            whole_to: Cell::new(0),
        }
    }

    pub fn ip(&self) -> IpAddr {
        self.io.ip()
    }

    /// The bytes of the log from `position` on, up to the end of their file.
    pub fn log(&self, position: u64, len: usize) -> Vec<u8> {
        let (path, at) = file_of(position);
        let len = len.min((SEGMENT_BYTES - at) as usize);
        self.io.peek(&path, at, len).unwrap_or_default()
    }

    /// A bit flips at this position of the log.
    pub fn rot(&self, position: u64) {
        let (path, at) = file_of(position);
        self.io.rot_byte(&path, at).expect("a file of the log");
    }

    /// The bytes of the record at `position`, if there is one.
    pub fn record(&self, position: u64) -> Option<Vec<u8>> {
        let mut bytes = self.log(position, MOST_RECORD_BYTES);
        let size = size_of_record(&bytes)?;
        if size > bytes.len() {
            bytes = self.log(position, size);
        }
        bytes.truncate(record_at(&bytes, position)?);
        Some(bytes)
    }

    /// Where the whole records end that begin at `from`.
    pub fn log_end(&self, from: u64) -> u64 {
        let mut at = from;
        loop {
            let rest = SEGMENT_BYTES - at % SEGMENT_BYTES;
            let file = self.log(at, rest as usize);
            let mut read = 0;
            while let Some(size) = record_at(&file[read..], at + read as u64) {
                read += size;
            }
            at += read as u64;
            let rest = rest as usize - read;
            if rest == 0 {
                continue;
            }
            let head = &file[read..];
            let is_blank = head[SIZE_BYTES.min(head.len())..].starts_with(&BLANK_MAGIC)
                && head.starts_with(&(rest as u32).to_be_bytes());
            if !is_blank {
                return at;
            }
            at += rest as u64;
        }
    }

    /// Whether the log is whole up to the record at `position`, that one included. A recovery cuts off what stands behind a gap.
    fn is_whole_to(&self, position: u64) -> bool {
        if position >= self.whole_to.get() {
            self.whole_to.set(self.log_end(self.whole_to.get()));
        }
        position < self.whole_to.get()
    }

    /// From now on it may lose what is not flushed at any time.
    fn begins_to_fail(&self) {
        self.losses_ns.borrow_mut().push(u64::MAX);
    }

    /// It has lost power, or has ended to fail, by now.
    fn has_lost(&self, now_ns: u64) {
        let mut losses_ns = self.losses_ns.borrow_mut();
        losses_ns.retain(|loss_ns| *loss_ns < u64::MAX);
        losses_ns.push(now_ns);
        self.whole_to.set(0);
    }

    fn may_have_lost(&self, flush: Flush, told: Told) -> bool {
        flush == Flush::Async
            && self
                .losses_ns
                .borrow()
                .iter()
                .any(|loss_ns| told.asked_ns < *loss_ns)
    }
}

impl Copies {
    pub fn new(flush: Flush, master: SimIo, slave: SimIo) -> Self {
        Self {
            flush,
            master: Device::new(master),
            slave: Device::new(slave),
            acked: RefCell::default(),
            at_slave: RefCell::default(),
            seen_alone: RefCell::default(),
            rotten: RefCell::default(),
            has_rotted: Cell::new(false),
        }
    }

    pub fn master(&self) -> &Device {
        &self.master
    }

    pub fn slave(&self) -> &Device {
        &self.slave
    }

    /// The sender of the message at `position` has got this reply.
    pub fn are_acknowledged(&self, position: u64, reply: &Reply, told: Told) {
        if reply.lacks.is_some() {
            return;
        }
        assert!(
            !self.seen_alone.borrow().contains(&position),
            "was visible at {position} before the slave had it: {reply:?}"
        );
        for (device, name) in [(&self.master, "master"), (&self.slave, "slave")] {
            assert!(
                device.record(position).is_some() || device.may_have_lost(self.flush, told),
                "acknowledged, and not on the {name} at {position}: {reply:?}, {told:?}"
            );
        }
        if !self.master.may_have_lost(self.flush, told)
            && !self.slave.may_have_lost(self.flush, told)
        {
            let (there, here) = (self.master.record(position), self.slave.record(position));
            assert!(there == here, "two records are at {position}: {reply:?}");
            self.acked.borrow_mut().insert(position, told);
            self.at_slave.borrow_mut().insert(position, told);
        }
    }

    /// A consumer of the master has got this record.
    pub fn is_seen(&self, record: &Record<'_>, told: Told) {
        let position = record.physical_offset;
        let is_missing = self.slave.record(position).is_none();
        if is_missing
            && !self.rotten.borrow().contains(&position)
            && !self.slave.may_have_lost(self.flush, told)
        {
            self.seen_alone.borrow_mut().insert(position);
        }
    }

    /// A consumer of the slave has got this record; whether it is known to stay.
    pub fn is_seen_at_slave(&self, record: &Record<'_>, told: Told) -> bool {
        let position = record.physical_offset;
        let there = self.master.record(position);
        let is_there = there.as_ref().is_some_and(|bytes| {
            let there = Record::decode(bytes, Check::Crc).expect("decoded before");
            there.body == record.body && there.queue_offset == record.queue_offset
        });
        let is_there = is_there && self.master.is_whole_to(position);
        // What the master has lost with its power is shown until the slave cuts it off.
        let is_lost = self.flush == Flush::Async && !self.master.losses_ns.borrow().is_empty();
        assert!(
            is_there || is_lost,
            "visible at the slave, and not on the master: {} of queue {} of {} at {position}, {told:?}",
            record.queue_offset,
            record.queue_id,
            record.topic
        );
        is_there
    }

    /// The master's host has lost its power now, and nothing was flushed since `since_ns`. What it has lost by that, the slave cuts off.
    pub fn master_has_lost(&self, since_ns: u64, now_ns: u64) {
        self.master.has_lost(now_ns);
        // Other records will be at these positions.
        self.seen_alone.borrow_mut().clear();
        for acked in [&self.acked, &self.at_slave] {
            self.forget_unflushed(acked, since_ns);
        }
        check("master", &self.master, &self.acked);
    }

    pub fn slave_begins_to_fail(&self) {
        self.slave.begins_to_fail();
    }

    /// The slave's host has lost its power now, or what was not flushed at `since_ns`.
    pub fn slave_has_lost(&self, since_ns: u64, now_ns: u64) {
        self.slave.has_lost(now_ns);
        self.forget_unflushed(&self.at_slave, since_ns);
        self.forget_repaired();
        let rotten = self.rotten.borrow();
        self.at_slave
            .borrow_mut()
            .retain(|position, _| !rotten.contains(position));
        check("slave", &self.slave, &self.at_slave);
    }

    /// One of the acknowledged records at the slave that begin before `to`; `nth` is any number.
    pub fn one_at_slave(&self, nth: u64, to: u64) -> Option<u64> {
        let at_slave = self.at_slave.borrow();
        let old: Vec<_> = at_slave
            .range(..to)
            .map(|(position, _)| *position)
            .collect();
        let nth = (nth as usize).checked_rem(old.len())?;
        Some(old[nth])
    }

    /// It may have been repaired since.
    pub fn has_rotted(&self) -> bool {
        self.has_rotted.get()
    }

    /// A bit of the record at this position has flipped at the slave.
    pub fn is_rotten_at_slave(&self, position: u64) {
        self.has_rotted.set(true);
        self.rotten.borrow_mut().insert(position);
    }

    /// The records that the slave cannot read, and that it has not got again.
    pub fn rotten_at_slave(&self) -> BTreeSet<u64> {
        self.forget_repaired();
        self.rotten.borrow().clone()
    }

    fn forget_repaired(&self) {
        let is_rotten =
            |position: &u64| self.slave.record(*position) != self.master.record(*position);
        self.rotten.borrow_mut().retain(is_rotten);
    }

    /// All that was acknowledged is on both.
    pub fn are_whole(&self) {
        check("master", &self.master, &self.acked);
        check("slave", &self.slave, &self.acked);
    }

    fn forget_unflushed(&self, acked: &RefCell<BTreeMap<u64, Told>>, now_ns: u64) {
        if self.flush == Flush::Async {
            let is_flushed = |told: &Told| told.told_ns + FLUSHED_NS <= now_ns;
            acked.borrow_mut().retain(|_, told| is_flushed(told));
        }
    }
}

/// The file of the log that has a position, and where in it that is.
fn file_of(position: u64) -> (PathBuf, u64) {
    let at = position % SEGMENT_BYTES;
    let path = format!("/store/commitlog/{:020}", position - at);
    (path.into(), at)
}

/// The size of the record that begins with `bytes`, as it says itself.
fn size_of_record(bytes: &[u8]) -> Option<usize> {
    let size = u32::from_be_bytes(*bytes.first_chunk()?) as usize;
    (SIZE_BYTES..=MAX_RECORD_BYTES)
        .contains(&size)
        .then_some(size)
}

/// The size of the whole record of `position` that stands at the beginning of `bytes`.
fn record_at(bytes: &[u8], position: u64) -> Option<usize> {
    let size = size_of_record(bytes)?;
    let record = Record::decode(bytes.get(..size)?, Check::Crc).ok()?;
    (record.physical_offset == position).then_some(size)
}

fn check(name: &str, device: &Device, acked: &RefCell<BTreeMap<u64, Told>>) {
    for (position, told) in &*acked.borrow() {
        assert!(
            device.record(*position).is_some(),
            "acknowledged {told:?}, and no longer on the {name} at {position}"
        );
    }
}
