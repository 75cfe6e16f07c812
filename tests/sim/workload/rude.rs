//! Clients that nobody wants: they send parts of frames and rubbish, hang up in the middle, and ask for much and do not read it.
//! The broker has to bear them, and nobody else may notice.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use ringmq::sim::SimIo;
use ringmq::wire::Codec;

use super::{CREATED, Shared};
use crate::client::{Client, sleep};
use crate::dice::Dice;
use crate::oracle::Queue;
use crate::requests::{self, Pull, QUEUES};

const GROUP: &str = "rude";

pub async fn annoy(io: SimIo, shared: Rc<Shared>, stream: u64) {
    let dice = Dice::new(shared.seed, stream);
    loop {
        sleep(&io, Duration::from_millis(dice.below(300))).await;
        if shared.is_closed.get() {
            continue;
        }
        let codec = *dice.pick(&[Codec::Json, Codec::Rocketmq]);
        if let Ok(mut client) = Client::connect(&io, shared.addr, codec).await {
            // Whatever comes of it is the broker's business.
            let _ = be_rude(&mut client, &dice).await;
        }
    }
}

async fn be_rude(client: &mut Client, dice: &Dice) -> io::Result<()> {
    for _ in 0..dice.within(1, 60) {
        let queue = Queue {
            topic: dice.pick(&CREATED).to_string(),
            id: dice.below(QUEUES as u64) as i32,
        };
        let pull = Pull {
            group: GROUP,
            queue: &queue,
            offset: dice.below(20),
            expression: "*",
            hold_ms: *dice.pick(&[0, 0, 5_000]),
        };
        requests::ask_pull(client, &pull);
    }
    match dice.below(4) {
        0 => client.flush_part(dice).await?,
        1 => {
            client.flush_part(dice).await?;
            client.stream.finish_sending();
        }
        2 => {
            let rubbish = (0..dice.within(1, 200)).map(|_| dice.next() as u8);
            let rubbish = Vec::from_iter(rubbish);
            client.flush().await?;
            client.send_raw(rubbish).await?;
        }
        _ => {
            client.flush().await?;
            let slow = Duration::from_millis(dice.below(2_500));
            sleep(&client.io, slow).await;
            // Some of it, at last.
            for _ in 0..dice.below(20) {
                let reply = client.reply().await?;
                requests::records(&reply.body);
            }
        }
    }
    let still_there = Duration::from_millis(dice.below(1_000));
    sleep(&client.io, still_there).await;
    Ok(())
}
