//! Batches of acknowledgements.

use super::*;
use crate::broker::ShardFigures;
use crate::wire::pop::{BatchAck, BatchAckRequest, Bits, ORDERLY_REVIVE_QUEUE};

/// A queue whose first messages are gone.
struct FromHundred;

impl StoreView for FromHundred {
    fn bounds(&self, _: &str, _: u32) -> QueueBounds {
        bounds(100, 200)
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

#[test]
fn the_bits_of_a_batch_are_examined_up_to_what_one_pop_can_have() {
    let freed = |bits: Vec<u8>| {
        let mut broker = broker();
        let asked = PopRequest {
            order: true,
            ..request()
        };
        let plan = broker.admit_pop(&asked, 0).unwrap();
        broker.popped_in_order(&plan, &source("T", 1), &[100, 101], 0);
        let ack = BatchAck {
            consumer_group: "g".into(),
            topic: "T".into(),
            retry_flag: "0".into(),
            revive_queue: ORDERLY_REVIVE_QUEUE,
            bits: Bits(bits),
            queue_id: 1,
            ..BatchAck::default()
        };
        let request = BatchAckRequest {
            broker_name: "b".into(),
            acks: vec![ack],
        };
        let done = broker.admit_batch_ack(&request, &FromHundred, 0).unwrap();
        done.freed.len()
    };
    let mut both = vec![0; 13];
    both[12] = 0b0011_0000;
    assert_eq!(freed(both.clone()), 1, "bits 100 and 101");
    let mut behind_others = both;
    behind_others[..8].fill(0xff);
    assert_eq!(freed(behind_others), 0, "64 bits come before them");
}
