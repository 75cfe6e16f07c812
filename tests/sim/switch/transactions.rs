//! Protects transactions that are open when their master dies: its successor asks the producer about each whose end did not arrive, and what was
//! committed is seen, what was rolled back is not.

use std::collections::BTreeMap;
use std::time::Duration;

use ringmq::io::Clock;
use ringmq::reactor::Role;
use ringmq::store::Flush;
use ringmq::wire::transaction::{TRANSACTION_COMMIT_TYPE, TRANSACTION_ROLLBACK_TYPE};

use super::{hold_back_the_log, succeed, succeed_with_less};
use crate::client::Client;
use crate::cluster::{CHECK_INTERVAL_MS, CHECK_TIMEOUT_MS, OP_BATCH_INTERVAL_MS};
use crate::dice::Dice;
use crate::replication::{MASTER, Pair, SLAVE, TOPIC};
use crate::requests::{self, Half};
use crate::sent::{Sent, number_of};

const COUNT: u64 = 12;

/// A question comes with the first round after the timeout.
const LONGEST_MS: u64 = CHECK_INTERVAL_MS + CHECK_TIMEOUT_MS + 1_000;

async fn producer_at(pair: &Pair, host: &str) -> Client {
    let mut client = pair.client(host).await;
    requests::heartbeat(&mut client, "producer").await.unwrap();
    client
}

async fn send_half(client: &mut Client, number: u64) -> Half {
    let sent = Sent {
        number,
        topic: TOPIC.into(),
        body_bytes: 100,
        delay_level: 0,
        is_half: true,
        born_ms: client.io.now().unix_ms,
    };
    requests::send(client, &sent, 0);
    client.flush().await.unwrap();
    let reply = client.reply().await.unwrap();
    assert!(reply.is_success(), "{reply:?}");
    Half::sent(&reply)
}

async fn end(client: &mut Client, half: Half, commit_or_rollback: i32) {
    requests::end_transaction(client, half, commit_or_rollback);
    client.flush().await.unwrap();
    let reply = client.reply().await.unwrap();
    assert!(reply.is_success(), "{reply:?}");
}

/// Answers questions with a commit until none comes any more; how often each was asked about.
async fn commit_all(client: &mut Client) -> BTreeMap<u64, usize> {
    let mut asked = BTreeMap::new();
    client.patience = Duration::from_millis(2 * LONGEST_MS);
    while let Ok(question) = client.question().await {
        let number = number_of(&requests::records(&question.body)[0]);
        *asked.entry(number).or_default() += 1;
        let half = Half::asked(&question);
        requests::end_transaction_oneway(client, half, TRANSACTION_COMMIT_TYPE);
        client.flush().await.unwrap();
    }
    asked
}

/// How often consumers see each message of the successor.
async fn seen(pair: &Pair) -> BTreeMap<u64, usize> {
    let mut seen = BTreeMap::new();
    for number in pair.bodies(SLAVE).await {
        if number < COUNT {
            *seen.entry(number).or_default() += 1;
        }
    }
    seen
}

#[test]
fn the_successor_asks_about_what_has_not_ended() {
    for seed in 0..6 {
        let pair = Pair::new(seed, Flush::Sync, Role::SyncMaster);
        pair.sim.run(async {
            let dice = Dice::new(seed, 4);
            let (_master, slave, _) = pair.start_both().await;
            let mut producer = producer_at(&pair, MASTER).await;
            let mut halves = Vec::new();
            for number in 0..COUNT {
                halves.push(send_half(&mut producer, number).await);
            }
            for number in 0..COUNT {
                let half = halves[number as usize];
                match number % 3 {
                    0 => end(&mut producer, half, TRANSACTION_COMMIT_TYPE).await,
                    1 => end(&mut producer, half, TRANSACTION_ROLLBACK_TYPE).await,
                    _ => {}
                }
            }
            // So that it is known by the log what has ended; then a round may have asked, or not yet.
            pair.sleep_ms(OP_BATCH_INTERVAL_MS + 300 + dice.below(2_500))
                .await;
            // A commit that the dead master never gets.
            requests::end_transaction_oneway(&mut producer, halves[2], TRANSACTION_COMMIT_TYPE);
            pair.sim.partition(MASTER, "client");
            let _ = producer.flush().await;
            succeed(&pair, &slave).await;
            let mut producer = producer_at(&pair, SLAVE).await;
            let asked = commit_all(&mut producer).await;
            let open = (0..COUNT).filter(|number| number % 3 == 2);
            assert_eq!(Vec::from_iter(asked.keys().copied()), Vec::from_iter(open));
            let seen = seen(&pair).await;
            let committed = (0..COUNT).filter(|number| number % 3 != 1);
            assert!(seen.keys().copied().eq(committed), "{seen:?}");
            // What the dead master had just asked about is twice in the half queue, and only the first end of it counts.
            assert!(seen.values().all(|times| *times == 1), "{seen:?}");
        });
    }
}

/// The dead master has written the half messages again to ask about them, and its offset is behind their first places. Only it has the copies.
#[test]
fn the_successor_asks_about_what_only_the_dead_master_has_written_again() {
    for seed in 0..6 {
        let pair = Pair::new(seed, Flush::Sync, Role::AsyncMaster);
        pair.sim.run(async {
            let _both = pair.start_both().await;
            pair.sleep_ms(1_500).await;
            let mut producer = producer_at(&pair, MASTER).await;
            for number in 0..COUNT {
                send_half(&mut producer, number).await;
            }
            pair.sleep_ms(300).await;
            hold_back_the_log(&pair);
            producer.patience = Duration::from_millis(LONGEST_MS);
            producer.question().await.unwrap();
            pair.sleep_ms(CHECK_INTERVAL_MS + 3_000).await;
            let _successor = succeed_with_less(&pair).await;
            let mut producer = producer_at(&pair, SLAVE).await;
            let asked = commit_all(&mut producer).await;
            assert!(asked.keys().copied().eq(0..COUNT), "{asked:?}");
            let expected = BTreeMap::from_iter((0..COUNT).map(|number| (number, 1)));
            assert_eq!(seen(&pair).await, expected);
        });
    }
}
