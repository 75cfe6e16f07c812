//! Answers of many rows, made a slice at a time.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Write;

use serde::Serialize;

use super::limits::{MAX_COLD_TIMES, MAX_REPLY_BYTES};
use super::step::{MessagePlace, Progress, Step, Work};
use super::store_view::{At, ShardFigures, StoreView};
use super::timer::figures::TimerFigures;
use super::{Broker, Refusal};
use crate::store::QueueBounds;
use crate::wire::Reply;
use crate::wire::codes::response;
use crate::wire::loose_json;

/// What makes the rows of one answer.
///
/// A slice whose store times have to be read first is discarded and made again when they are known; hence `Clone`.
pub(super) trait Rows: Clone + std::fmt::Debug {
    /// Writes [`super::limits::ROWS_PER_TURN`] rows or so; whether that were all. Rows of what is no longer there are left out.
    fn slice(&mut self, at: &Now<'_>, out: &mut Json) -> Result<bool, Refusal>;

    /// Writes what stands behind the rows; the reply, without its body.
    fn finish(&self, at: &Now<'_>, out: &mut Json) -> Reply;
}

/// What rows are made of.
pub(super) struct Now<'a> {
    pub broker: &'a Broker,
    pub store: &'a dyn StoreView,
    pub now_ms: u64,
}

/// An answer in the making.
#[derive(Debug)]
pub(super) struct Sliced<R> {
    rows: R,
    out: Json,
    known: BTreeMap<MessagePlace, Option<i64>>,
    asked: Vec<MessagePlace>,
    cold_times: usize,
}

impl<R: Rows + 'static> Sliced<R> {
    /// `head` is the body in front of the rows.
    pub(super) fn step(head: impl Into<String>, rows: R) -> Step {
        Step::Work(Box::new(Self {
            rows,
            out: Json::new(head.into()),
            known: BTreeMap::new(),
            asked: Vec::new(),
            cold_times: 0,
        }))
    }
}

impl<R: Rows> Work for Sliced<R> {
    fn turn(&mut self, broker: &mut Broker, at: At<'_>) -> Result<Progress, Refusal> {
        let view = ViewWithTimes {
            view: at.store,
            known: &self.known,
            missed: RefCell::default(),
        };
        let now = Now {
            broker,
            store: &view,
            now_ms: at.now_ms,
        };
        let (before, bookmark) = (self.rows.clone(), self.out.bookmark());
        let is_done = self.rows.slice(&now, &mut self.out)?;
        let missed = view.missed.take();
        if !missed.is_empty() && self.cold_times < MAX_COLD_TIMES {
            self.rows = before;
            self.out.go_back(bookmark);
            self.cold_times += missed.len();
            self.asked.clone_from(&missed);
            return Ok(Progress::Times(missed));
        }
        if !is_done {
            self.known.clear();
            return Ok(Progress::More);
        }
        let now = Now {
            broker,
            store: at.store,
            now_ms: at.now_ms,
        };
        let mut reply = self.rows.finish(&now, &mut self.out);
        reply.body = self.out.take();
        Ok(Progress::Done(reply))
    }

    fn times(&mut self, times: Vec<Option<i64>>) {
        self.known.extend(self.asked.drain(..).zip(times));
    }
}

/// A JSON text that grows by whole members, in fastjson's dialect, and not beyond what clients take.
#[derive(Debug)]
pub(super) struct Json {
    bytes: Vec<u8>,
    is_first: bool,
}

impl Json {
    pub fn new(head: String) -> Self {
        Self {
            bytes: head.into_bytes(),
            is_first: true,
        }
    }

    /// An element of an array.
    pub fn element<V: Serialize + ?Sized>(&mut self, value: &V) -> Result<(), Refusal> {
        self.comma();
        loose_json::write(&mut self.bytes, value);
        self.check()
    }

    /// A member of an object. A key may be an object itself.
    pub fn member<K: Serialize + ?Sized, V: Serialize>(
        &mut self,
        key: &K,
        value: &V,
    ) -> Result<(), Refusal> {
        self.comma();
        loose_json::write(&mut self.bytes, key);
        self.bytes.push(b':');
        loose_json::write(&mut self.bytes, value);
        self.check()
    }

    /// A member of an object whose keys and values are numbers.
    pub fn number(&mut self, key: i32, value: i64) -> Result<(), Refusal> {
        self.comma();
        write!(self.bytes, "{key}:{value}").expect("a vector takes all");
        self.check()
    }

    /// Text between the members; the next one is the first of its list.
    pub fn text(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
        self.is_first = true;
    }

    pub fn value<V: Serialize + ?Sized>(&mut self, value: &V) {
        loose_json::write(&mut self.bytes, value);
    }

    /// The whole text.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// The comma in front of a member that is written piece by piece.
    pub fn comma(&mut self) {
        if !std::mem::replace(&mut self.is_first, false) {
            self.bytes.push(b',');
        }
    }

    /// The list goes on behind a member that was written piece by piece.
    pub fn go_on(&mut self) {
        self.is_first = false;
    }

    fn check(&self) -> Result<(), Refusal> {
        bounded(self.bytes.len(), "")
    }

    fn bookmark(&self) -> (usize, bool) {
        (self.bytes.len(), self.is_first)
    }

    fn go_back(&mut self, (len, is_first): (usize, bool)) {
        self.bytes.truncate(len);
        self.is_first = is_first;
    }
}

/// Refuses a body that clients would not take.
pub(super) fn bounded(bytes: usize, advice: &str) -> Result<(), Refusal> {
    if bytes <= MAX_REPLY_BYTES {
        return Ok(());
    }
    Err(Refusal::new(
        response::SYSTEM_ERROR,
        format!(
            "the answer is larger than {MAX_REPLY_BYTES} bytes, the most that clients take{advice}"
        ),
    ))
}

/// A view that also knows the times in `known`, and notes which further ones it was asked for.
struct ViewWithTimes<'a> {
    view: &'a dyn StoreView,
    known: &'a BTreeMap<MessagePlace, Option<i64>>,
    missed: RefCell<Vec<MessagePlace>>,
}

impl StoreView for ViewWithTimes<'_> {
    fn bounds(&self, topic: &str, queue_id: u32) -> QueueBounds {
        self.view.bounds(topic, queue_id)
    }

    fn store_time_ms(&self, topic: &str, queue_id: u32, offset: u64) -> Option<i64> {
        if let Some(time_ms) = self.view.store_time_ms(topic, queue_id, offset) {
            return Some(time_ms);
        }
        let bounds = self.view.bounds(topic, queue_id);
        if !(bounds.min..bounds.max).contains(&offset) {
            return None;
        }
        let place = MessagePlace {
            topic: topic.to_owned(),
            queue_id,
            offset,
        };
        match self.known.get(&place) {
            Some(time_ms) => *time_ms,
            None => {
                self.missed.borrow_mut().push(place);
                None
            }
        }
    }

    fn is_recent(&self, topic: &str, queue_id: u32, offset: u64) -> bool {
        self.view.is_recent(topic, queue_id, offset)
    }

    fn figures(&self) -> ShardFigures {
        self.view.figures()
    }

    fn timers(&self) -> Option<TimerFigures> {
        self.view.timers()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::tests::{FakeStore, broker};

    /// Counts to `end` in slices of 10, with the store times of queue 0.
    #[derive(Clone, Debug)]
    struct Numbers {
        next: u64,
        end: u64,
    }

    impl Rows for Numbers {
        fn slice(&mut self, at: &Now<'_>, out: &mut Json) -> Result<bool, Refusal> {
            let upper = (self.next + 10).min(self.end);
            for n in self.next..upper {
                let time_ms = at.store.store_time_ms("cold", 0, n);
                out.element(&time_ms.unwrap_or(-1))?;
            }
            self.next = upper;
            Ok(upper == self.end)
        }

        fn finish(&self, _: &Now<'_>, out: &mut Json) -> Reply {
            out.text("]");
            Reply::ok()
        }
    }

    /// Nothing is in memory of the queue `cold`.
    struct ColdStore;

    fn at(store: &dyn StoreView) -> At<'_> {
        At { now_ms: 0, store }
    }

    impl StoreView for ColdStore {
        fn bounds(&self, _: &str, _: u32) -> QueueBounds {
            QueueBounds {
                min: 0,
                max: u64::MAX,
                next: u64::MAX,
            }
        }

        fn store_time_ms(&self, _: &str, _: u32, _: u64) -> Option<i64> {
            None
        }

        fn is_recent(&self, _: &str, _: u32, _: u64) -> bool {
            false
        }

        fn figures(&self) -> ShardFigures {
            ShardFigures::default()
        }
    }

    fn work(end: u64) -> Box<dyn Work> {
        match Sliced::step("[", Numbers { next: 0, end }) {
            Step::Work(work) => work,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn rows_come_in_slices_and_with_the_times_that_were_read() {
        let (mut broker, mut work) = (broker(), work(15));
        let mut asked = Vec::new();
        let body = loop {
            match work.turn(&mut broker, at(&ColdStore)).unwrap() {
                Progress::More => {}
                Progress::Times(places) => {
                    asked.push(places.len());
                    let times = places.iter().map(|place| Some(place.offset as i64 * 2));
                    work.times(times.collect());
                }
                Progress::Done(reply) => break String::from_utf8(reply.body).unwrap(),
                Progress::RemoveQueues(topic) => panic!("{topic}"),
            }
        };
        assert_eq!(asked, [10, 5], "once for each slice");
        assert_eq!(body, "[0,2,4,6,8,10,12,14,16,18,20,22,24,26,28]");
    }

    #[test]
    fn times_beyond_the_limit_are_shown_as_unknown() {
        let (mut broker, mut work) = (broker(), work(10_000));
        let (mut read, mut turns) = (0, 0);
        let body = loop {
            turns += 1;
            match work.turn(&mut broker, at(&ColdStore)).unwrap() {
                Progress::More => {}
                Progress::Times(places) => {
                    read += places.len();
                    work.times(vec![Some(7); places.len()]);
                }
                Progress::Done(reply) => break String::from_utf8(reply.body).unwrap(),
                Progress::RemoveQueues(topic) => panic!("{topic}"),
            }
        };
        assert!((MAX_COLD_TIMES..MAX_COLD_TIMES + 10).contains(&read));
        assert!(turns > 1000 && body.ends_with(",-1,-1]"));
    }

    #[test]
    fn a_body_that_clients_would_not_take_is_refused() {
        #[derive(Clone, Debug)]
        struct Endless;
        impl Rows for Endless {
            fn slice(&mut self, _: &Now<'_>, out: &mut Json) -> Result<bool, Refusal> {
                out.member("name", &"x".repeat(1 << 20)).map(|()| false)
            }
            fn finish(&self, _: &Now<'_>, _: &mut Json) -> Reply {
                Reply::ok()
            }
        }
        let Step::Work(mut work) = Sliced::step("{", Endless) else {
            panic!("it is made in slices");
        };
        let mut broker = broker();
        let refusal = (0..20)
            .find_map(|_| work.turn(&mut broker, at(&FakeStore)).err())
            .unwrap();
        assert!(refusal.remark.contains("larger than 15728640 bytes"));
    }
}
