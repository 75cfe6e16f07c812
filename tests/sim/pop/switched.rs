//! Protects what was popped at a master that dies: its successor delivers again what was not acknowledged, after its time, and nothing else.

use ringmq::reactor::Role;

use super::*;
use crate::replication::{MASTER, Pair, SLAVE};
use crate::switch::{hold_back_the_log, succeed, succeed_with_less};

const COUNT: u64 = 24;

async fn popper_at(pair: &Pair, host: &str) -> Popper {
    let io = pair.sim.host("client");
    let client = Client::connect(&io, pair.addr(host), Codec::Json).await;
    Popper {
        client: client.unwrap(),
    }
}

/// The topic, with messages that the slave has, too.
async fn filled(pair: &Pair) -> Popper {
    let mut popper = popper_at(pair, MASTER).await;
    requests::make_topic(&mut popper.client, TOPIC).await;
    popper.send(0..COUNT).await;
    pair.sleep_ms(1_500).await;
    popper
}

#[test]
fn the_successor_delivers_again_what_was_not_acknowledged() {
    for seed in SEEDS {
        let flush = *Dice::new(seed, 3).pick(&[Flush::Sync, Flush::Async]);
        let pair = Pair::new(seed, flush, Role::SyncMaster);
        pair.sim.run(async {
            let dice = Dice::new(seed, 4);
            let (_master, slave, _) = pair.start_both().await;
            let mut popper = filled(&pair).await;
            let hidden = Pop {
                invisible_ms: 10_000,
                ..ALL
            };
            let messages = popper.pop(&hidden).await;
            assert_eq!(numbers(&messages), Vec::from_iter(0..COUNT));
            let (acked, open) = messages.split_at(dice.within(1, COUNT - 1) as usize);
            popper.ack_all(acked).await;
            // The slave has asked for the group, which is made by the pop, and may have asked for the offsets of now, or not yet.
            pair.sleep_ms(1_300 + dice.below(1_500)).await;
            succeed(&pair, &slave).await;
            let mut popper = popper_at(&pair, SLAVE).await;
            assert_eq!(popper.pop_numbers(&ALL).await, NONE, "still hidden");
            pair.sleep_ms(10_000 + SLACK_MS).await;
            let back = popper.pop(&ALL).await;
            assert_eq!(numbers(&back), numbers(open));
            popper.ack_all(&back).await;
            pair.sleep_ms(5_000).await;
            assert_eq!(popper.pop_numbers(&ALL).await, NONE);
        });
    }
}

/// The group's offset at the master is behind messages whose check points only the master has.
#[test]
fn what_only_the_dead_master_knew_to_be_popped_is_popped_at_its_successor() {
    for seed in SEEDS {
        let pair = Pair::new(seed, Flush::Sync, Role::AsyncMaster);
        pair.sim.run(async {
            let _both = pair.start_both().await;
            let mut popper = filled(&pair).await;
            hold_back_the_log(&pair);
            // Longer than the master lives.
            let hidden = Pop {
                invisible_ms: 10_000,
                ..ALL
            };
            let messages = popper.pop(&hidden).await;
            assert_eq!(messages.len() as u64, COUNT);
            pair.sleep_ms(3_000).await;
            let _successor = succeed_with_less(&pair).await;
            let mut popper = popper_at(&pair, SLAVE).await;
            let mut found = Vec::new();
            // The write that was held back may outlive the kill. Then the successor has check points, too, and their messages come later.
            for _ in 0..2 {
                let messages = popper.pop(&ALL).await;
                popper.ack_all(&messages).await;
                found.extend(numbers(&messages));
                pair.sleep_ms(10_000 + SLACK_MS).await;
            }
            found.sort_unstable();
            assert_eq!(found, Vec::from_iter(0..COUNT));
        });
    }
}

/// The successor knows neither who had the queue nor until when. It goes on with the first message that was not acknowledged, or some before it.
#[test]
fn a_queue_that_is_popped_in_order_stays_in_order() {
    for seed in SEEDS {
        let pair = Pair::new(seed, Flush::Sync, Role::SyncMaster);
        pair.sim.run(async {
            let dice = Dice::new(seed, 4);
            let (_master, slave, _) = pair.start_both().await;
            let mut popper = filled(&pair).await;
            let orderly = Pop {
                max: 2,
                queue_id: 0,
                order: true,
                ..ALL
            };
            let first = popper.pop(&orderly).await;
            popper.ack_all(&first).await;
            pair.sleep_ms(dice.below(2_500)).await;
            let second = popper.pop(&orderly).await;
            succeed(&pair, &slave).await;
            let mut popper = popper_at(&pair, SLAVE).await;
            let mut offsets = Vec::new();
            loop {
                let messages = popper.pop(&orderly).await;
                if messages.is_empty() {
                    break;
                }
                offsets.extend(messages.iter().map(|message| message.offset));
                popper.ack_all(&messages).await;
            }
            let begin = offsets.first().copied().expect("some are left");
            assert!(begin <= second[0].offset, "{offsets:?}");
            let end = COUNT as i64 / i64::from(QUEUES);
            assert_eq!(offsets, Vec::from_iter(begin..end));
        });
    }
}
