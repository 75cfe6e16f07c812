//! Bits of the slave's log flip, while it runs or is down: it gets the records again from its master, and nobody sees a gap meanwhile.
//!
//! Only old records rot, as many bytes ahead of the log's end as the log buffer has. Newer ones are read from there, where they are whole; and at a start a
//! log ends at what cannot be read, unless more stands behind it than may be unflushed: the last of it cannot be told from a torn write.

use ringmq::wire::Codec;

use super::copies::Copies;
use super::pair::Pair;
use crate::client::Client;
use crate::cluster::LOG_BUFFER_BYTES;
use crate::dice::Dice;
use crate::requests;
use crate::workload::Shared;

/// How long a slave that follows may take to repair its log.
const LIMIT_MS: u64 = 20_000;

/// A bit of an old record flips at the slave, anywhere in it.
pub fn flip_a_bit(pair: &Pair, shared: &Shared, dice: &Dice) {
    let copies = shared.copies.as_ref().expect("there is a slave");
    let (nth, byte) = (dice.next(), dice.next());
    let log_end = copies.slave().log_end(0);
    let Some(position) = copies.one_at_slave(nth, log_end.saturating_sub(LOG_BUFFER_BYTES as u64))
    else {
        return;
    };
    // What rots again later might be repaired of the first flip only.
    let Some(record) = copies.slave().record(position) else {
        return;
    };
    copies.slave().rot(position + byte % record.len() as u64);
    copies.is_rotten_at_slave(position);
    pair.slave_may_be_damaged();
}

/// Somebody asks the slave for each record that has rotted, as it finds damage of what nobody reads once a day only. Returns when it has all.
pub async fn until_repaired(pair: &Pair, copies: &Copies) {
    let deadline_ns = pair.sim().mono_ns() + LIMIT_MS * 1_000_000;
    loop {
        let rotten = copies.rotten_at_slave();
        if rotten.is_empty() {
            return;
        }
        assert!(
            pair.sim().mono_ns() < deadline_ns,
            "the slave does not repair {rotten:?}\n{}",
            pair.sim().recent()
        );
        let io = pair.sim().host("reader");
        // It takes no connection while it begins anew, and gives an error until it has been repaired.
        if let Ok(mut client) = Client::connect(&io, pair.slave_addr(), Codec::Rocketmq).await {
            for position in rotten {
                let _ = requests::view_from_device(&mut client, position).await;
            }
        }
        pair.cluster.sleep_ms(200).await;
    }
}
