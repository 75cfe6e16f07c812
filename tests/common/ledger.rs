//! Producers that write down what the broker has acknowledged, and the comparison with what it has.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use ringmq::wire::codes::{request, response};

use super::client::{Client, send_to};
use super::random::Random;
use super::wait_until;

/// Unanswered sends of one producer.
const IN_FLIGHT: usize = 16;

const TOPIC: &str = "Ledger";

/// Each queue's acknowledged messages by offset. A message is known by its number, from which its body follows.
#[derive(Default)]
pub struct Ledger {
    acknowledged: BTreeMap<(i32, u64), u64>,
    next_number: u64,
    /// Acknowledged, but of what a power cut may take.
    unsure: BTreeMap<(i32, u64), u64>,
}

/// Producers at work, one a queue.
pub struct Load {
    producers: Vec<JoinHandle<Vec<(i32, u64, u64)>>>,
    acknowledged: Arc<AtomicUsize>,
    enough: Arc<AtomicBool>,
}

impl Ledger {
    /// Starts producers that send until they are stopped or the broker ends.
    pub fn start_load(&mut self, broker: SocketAddr) -> Load {
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let enough = Arc::new(AtomicBool::new(false));
        let producers = (0..4).map(|queue_id| {
            let (count, enough) = (acknowledged.clone(), enough.clone());
            let first = self.next_number;
            self.next_number += 1 << 32;
            // Here, as the broker may be gone before the last thread runs.
            let client = Client::connect(broker);
            std::thread::spawn(move || produce(client, queue_id, first, &count, &enough))
        });
        Load {
            producers: producers.collect(),
            acknowledged,
            enough,
        }
    }

    /// Waits for the end of the producers and takes down what was acknowledged to them.
    pub fn close(&mut self, load: Load) {
        for producer in load.producers {
            for (queue_id, offset, number) in producer.join().expect("a producer does not panic") {
                let before = self.acknowledged.insert((queue_id, offset), number);
                assert_eq!(
                    before, None,
                    "offset {offset} of queue {queue_id} was given out twice"
                );
            }
        }
    }

    /// As [`Self::close`], for messages that the power cut that follows may take.
    pub fn close_unsure(&mut self, load: Load) {
        for producer in load.producers {
            for (queue_id, offset, number) in producer.join().expect("a producer does not panic") {
                self.unsure.insert((queue_id, offset), number);
            }
        }
    }

    /// Which of those the broker still has: from here on it has to keep them. Of each queue only the last may be gone. How
    /// many are.
    pub fn settle(&mut self, broker: SocketAddr) -> usize {
        let mut client = Client::connect(broker);
        let mut lost = 0;
        for queue_id in 0..4 {
            let queue = client.read_queue(TOPIC, queue_id);
            let end = queue.len() as u64;
            let unsure = self.unsure.range((queue_id, 0)..(queue_id + 1, 0));
            lost += unsure
                .clone()
                .filter(|((_, offset), _)| *offset >= end)
                .count();
            let kept = unsure.filter(|((_, offset), _)| *offset < end);
            self.acknowledged
                .extend(kept.map(|(at, number)| (*at, *number)));
        }
        self.unsure.clear();
        lost
    }

    /// Every acknowledged message is where the broker said, and every queue is dense and in order.
    pub fn check(&self, broker: SocketAddr) {
        let mut client = Client::connect(broker);
        let mut found = 0;
        for queue_id in 0..4 {
            let mut last_number = None;
            for (offset, message) in client.read_queue(TOPIC, queue_id).iter().enumerate() {
                assert_eq!(
                    (message.queue_id, message.queue_offset),
                    (queue_id as u32, offset as u64)
                );
                let number = number_of(&message.body);
                assert!(
                    message.body == body_of(number),
                    "message {number} is not what was sent"
                );
                assert!(
                    last_number < Some(number),
                    "message {number} comes after {last_number:?}"
                );
                last_number = Some(number);
                if let Some(expected) = self.acknowledged.get(&(queue_id, offset as u64)) {
                    assert_eq!(number, *expected, "at offset {offset} of queue {queue_id}");
                    found += 1;
                }
            }
        }
        assert_eq!(
            found,
            self.acknowledged.len(),
            "acknowledged messages are lost"
        );
    }
}

impl Load {
    /// Waits until so many messages have been acknowledged.
    pub fn until_acknowledged(&self, count: usize) {
        wait_until("acknowledgements", || {
            self.acknowledged.load(Ordering::Relaxed) >= count
        });
    }

    /// No more; what was sent is still answered.
    pub fn stop(&self) {
        self.enough.store(true, Ordering::Relaxed);
    }
}

fn produce(
    mut client: Client,
    queue_id: i32,
    first: u64,
    acknowledged: &AtomicUsize,
    enough: &AtomicBool,
) -> Vec<(i32, u64, u64)> {
    let mut unanswered = 0;
    let mut done = Vec::new();
    for number in first.. {
        let send = send_to(TOPIC, queue_id);
        let frame = client.encode(request::SEND_MESSAGE_V2, 0, &send.ext(), &body_of(number));
        let is_sent = !enough.load(Ordering::Relaxed) && client.wire.0.write_all(&frame).is_ok();
        unanswered += usize::from(is_sent);
        // Once the broker has gone, what it had answered before is still to be read.
        while unanswered >= IN_FLIGHT || !is_sent {
            if unanswered == 0 {
                return done;
            }
            let Some(reply) = client.receive() else {
                return done;
            };
            unanswered -= 1;
            if reply.code == response::SUCCESS {
                // The first request's opaque is 1.
                let number = first + reply.opaque as u64 - 1;
                done.push((queue_id, reply.number("queueOffset") as u64, number));
                acknowledged.fetch_add(1, Ordering::Relaxed);
            } else {
                // On its way out, and while its disk is too slow, it refuses.
                let is_busy = reply.code == response::SYSTEM_BUSY;
                assert!(
                    is_busy || reply.code == response::SERVICE_NOT_AVAILABLE,
                    "{reply:?}"
                );
            }
        }
    }
    done
}

fn body_of(number: u64) -> Vec<u8> {
    let mut random = Random::new(number);
    let len = 1 + random.below(3000);
    let mut body = number.to_be_bytes().to_vec();
    body.extend(random.bytes(len));
    body
}

fn number_of(body: &[u8]) -> u64 {
    let head = body.first_chunk().expect("a body starts with its number");
    u64::from_be_bytes(*head)
}
