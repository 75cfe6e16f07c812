//! What must be true of a group: what was acknowledged is in every log that can be elected, and nobody has seen what is gone.
//!
//! The devices are looked at from outside, without an operation of the brokers.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};

use ringmq::message::{Check, Record};
use ringmq::sim::SimIo;

use crate::controllers::Controllers;
use crate::oracle::Told;
use crate::pairs::copies::Device;
use crate::sent::{Sent, number_of};

/// A queue and an offset in it.
type Place = (i32, u64);

pub struct Ledger {
    controllers: Controllers,
    /// By host.
    devices: BTreeMap<&'static str, Device>,
    sent: RefCell<HashMap<u64, Sent>>,
    /// What was acknowledged or seen: the number of the message.
    places: RefCell<BTreeMap<Place, u64>>,
    /// What was acknowledged, by its position in the log.
    acked: RefCell<BTreeMap<u64, (u64, Told)>>,
    /// When the newest of those was sent.
    newest_ns: Cell<u64>,
    seen: RefCell<u64>,
    rotten: Cell<Option<Rotten>>,
}

/// A bit of an acknowledged record has flipped at a broker, which has not got the record again.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Rotten {
    host: &'static str,
    position: u64,
    /// The broker's next start may end the log there: what is behind it may be missing as well.
    ends_log: bool,
}

impl Ledger {
    pub fn new(controllers: Controllers, devices: BTreeMap<&'static str, SimIo>) -> Self {
        let devices = devices
            .into_iter()
            .map(|(host, io)| (host, Device::new(io)));
        Self {
            controllers,
            devices: devices.collect(),
            sent: RefCell::default(),
            places: RefCell::default(),
            acked: RefCell::default(),
            newest_ns: Cell::new(0),
            seen: RefCell::default(),
            rotten: Cell::new(None),
        }
    }

    pub fn sends(&self, topic: &str, body_bytes: usize, now_ms: i64) -> Sent {
        let mut sent = self.sent.borrow_mut();
        let message = Sent {
            number: sent.len() as u64 + 1,
            topic: topic.to_owned(),
            body_bytes,
            delay_level: 0,
            is_half: false,
            born_ms: now_ms,
        };
        sent.insert(message.number, message.clone());
        message
    }

    pub fn acknowledged(&self, sent: &Sent, place: Place, position: u64, told: Told) {
        self.stands(place, sent.number, told);
        self.newest_ns.set(self.newest_ns.get().max(told.asked_ns));
        let before = self
            .acked
            .borrow_mut()
            .insert(position, (sent.number, told));
        assert!(
            before.is_none(),
            "two messages were acknowledged at {position}"
        );
        for host in self.electable() {
            self.check(host, position, sent.number, told);
        }
    }

    /// Whether a message that was sent after this time is acknowledged.
    pub fn has_acknowledged_since(&self, ns: u64) -> bool {
        self.newest_ns.get() > ns
    }

    /// A consumer of any of the brokers has got this.
    pub fn seen(&self, place: Place, record: &Record<'_>, told: Told) {
        *self.seen.borrow_mut() += 1;
        assert_eq!(
            (record.queue_id as i32, record.queue_offset),
            place,
            "{record:?}"
        );
        let number = number_of(record);
        let sent = self.sent.borrow();
        let sent = sent
            .get(&number)
            .unwrap_or_else(|| panic!("nobody has sent {record:?}"));
        sent.check(record);
        sent.check_properties(record);
        self.stands(place, number, told);
    }

    /// All that was acknowledged is on every member of the SyncStateSet.
    pub fn is_kept(&self) {
        for host in self.electable() {
            for (position, (number, told)) in &*self.acked.borrow() {
                self.check(host, *position, *number, *told);
            }
        }
    }

    /// At the end: what a broker has, by queue from offset 0 on, is what was acknowledged and seen at its place.
    pub fn are_all(&self, stored: &BTreeMap<Place, u64>) {
        for (place, number) in &*self.places.borrow() {
            let found = stored.get(place);
            assert_eq!(
                found,
                Some(number),
                "at {place:?}: was acknowledged or seen, and is gone"
            );
        }
    }

    /// Where the log of each broker ends.
    pub fn log_ends(&self) -> Vec<u64> {
        self.devices
            .values()
            .map(|device| device.log_end(0))
            .collect()
    }

    /// The logs of all are the same up to their ends.
    pub fn logs_are_the_same(&self) {
        let end = self.log_ends()[0];
        let mut at = 0;
        while at < end {
            let len = (end - at).min(64 << 10) as usize;
            let mut logs = self.devices.values().map(|device| device.log(at, len));
            let first = logs.next().expect("there are brokers");
            assert!(
                logs.all(|log| log == first),
                "the logs differ between {at} and {}",
                at + len as u64
            );
            at += first.len() as u64;
        }
    }

    pub fn counts(&self) -> [(&'static str, u64); 2] {
        [
            ("acknowledged", self.acked.borrow().len() as u64),
            ("read", *self.seen.borrow()),
        ]
    }

    fn stands(&self, place: Place, number: u64, told: Told) {
        let before = *self.places.borrow_mut().entry(place).or_insert(number);
        assert_eq!(
            before, number,
            "two messages at {place:?}, the second {told:?}"
        );
    }

    /// Hosts that the controller may elect.
    fn electable(&self) -> Vec<&'static str> {
        let agreed = self.controllers.agreed();
        let Some((_, group)) = agreed.groups().next() else {
            return Vec::new();
        };
        let addresses = group.set.iter().filter_map(|id| group.address(*id));
        let hosts = addresses.filter_map(|address| {
            let ip = address.rsplit_once(':')?.0;
            self.devices
                .iter()
                .find(|(_, device)| device.ip().to_string() == ip)
                .map(|(host, _)| *host)
        });
        hosts.collect()
    }

    /// A bit of an old record flips at a broker, if there is one that another has, too, and what has rotted before was repaired. `nth` and `byte` are any numbers.
    pub fn flips(&self, host: &'static str, buffer_bytes: u64, nth: u64, byte: u64) {
        if self.rotten().is_some() {
            return;
        }
        let acked = self.acked.borrow();
        // What is in the log buffer is read from there, and the last of a log cannot be told from a torn write.
        let end = self.devices[host].log_end(0);
        let old = acked.range(..end.saturating_sub(buffer_bytes));
        let old: Vec<_> = old.map(|(position, _)| *position).collect();
        let nth = (nth as usize).checked_rem(old.len());
        let Some(position) = nth.map(|nth| old[nth]) else {
            return;
        };
        let Some(record) = self.devices[host].record(position) else {
            return;
        };
        // A master that was alone in the set may have acknowledged what no other broker has yet.
        let mut others = self.devices.iter().filter(|(other, _)| **other != host);
        if others.any(|(_, other)| other.record(position).as_ref() == Some(&record)) {
            self.flip(host, position, byte, false);
        }
    }

    /// The same with one of the last records that were acknowledged, after this time. The broker is down. Whether there was one.
    pub fn flips_end(&self, host: &'static str, since_ns: u64, nth: u64, byte: u64) -> bool {
        if self.rotten().is_some() {
            return false;
        }
        let newest = {
            let acked = self.acked.borrow();
            let newest = acked.iter().rev();
            let newest = newest.take_while(|(_, (_, told))| told.told_ns >= since_ns);
            let newest: Vec<_> = newest.map(|(position, _)| *position).collect();
            newest
        };
        let nth = (nth as usize).checked_rem(newest.len());
        match nth {
            Some(nth) => self.flip(host, newest[nth], byte, true),
            None => return false,
        }
        true
    }

    fn flip(&self, host: &'static str, position: u64, byte: u64, ends_log: bool) {
        let device = &self.devices[host];
        let Some(record) = device.record(position) else {
            return;
        };
        device.rot(position + byte % record.len() as u64);
        self.rotten.set(Some(Rotten {
            host,
            position,
            ends_log,
        }));
    }

    /// Where a record has rotted and was not repaired yet.
    pub fn rotten(&self) -> Option<(&'static str, u64)> {
        let rotten = self.rotten.get()?;
        let acked = self.acked.borrow();
        let lost = match rotten.ends_log {
            true => acked.range(rotten.position..),
            false => acked.range(rotten.position..=rotten.position),
        };
        let mut lost = lost.map(|(position, (number, _))| (*position, *number));
        if lost.all(|(position, number)| self.number_at(rotten.host, position) == Some(number)) {
            self.rotten.set(None);
        }
        let rotten = self.rotten.get()?;
        Some((rotten.host, rotten.position))
    }

    /// Whether the rot excuses that a record is missing there.
    fn is_excused(&self, host: &str, position: u64) -> bool {
        self.rotten.get().is_some_and(|rotten| {
            let is_lost = match rotten.ends_log {
                true => position >= rotten.position,
                false => position == rotten.position,
            };
            rotten.host == host && is_lost
        })
    }

    fn number_at(&self, host: &str, position: u64) -> Option<u64> {
        let bytes = self.devices[host].record(position)?;
        Some(number_of(
            &Record::decode(&bytes, Check::Crc).expect("decoded before"),
        ))
    }

    fn check(&self, host: &'static str, position: u64, number: u64, told: Told) {
        if self.is_excused(host, position) {
            return;
        }
        let found = self.number_at(host, position);
        assert_eq!(
            found,
            Some(number),
            "acknowledged {told:?} at {position}, and not there on {host}, which can be elected"
        );
    }
}
