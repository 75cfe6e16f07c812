//! Members of a group that consume in order: they come and go, lock queues, consume what they have locked, and let go.

use std::collections::BTreeSet;
use std::io;
use std::rc::Rc;

use ringmq::sim::SimIo;
use ringmq::wire::codes::request;
use ringmq::wire::consumer::{ConsumerGroup, ConsumerList, UnregisterClient};
use ringmq::wire::lock::{LockBatch, LockedQueues};
use ringmq::wire::{MessageQueue, loose_json};

use super::consume::{commit, consume_some};
use super::{CREATED, Connected, Shared};
use crate::dice::Dice;
use crate::oracle::Queue;
use crate::requests::{self, QUEUES};

const GROUP: &str = "orderlies";
const TOPIC: &str = CREATED[0];

pub async fn take_part(io: SimIo, shared: Rc<Shared>, stream: u64) {
    let dice = Dice::new(shared.seed, stream);
    let mut member = Member {
        client_id: format!("member-{stream}"),
        owned: BTreeSet::new(),
        life: 0,
    };
    loop {
        let mut connected = Connected::to_broker(&io, &shared, &dice).await;
        if let Err(error) = member.stay_for_a_while(&mut connected, &dice).await {
            connected.excuse(&error);
        }
    }
}

struct Member {
    client_id: String,
    /// Ids of the queues that it has locked in this life of the broker.
    owned: BTreeSet<i32>,
    life: u64,
}

impl Member {
    async fn stay_for_a_while(
        &mut self,
        connected: &mut Connected<'_>,
        dice: &Dice,
    ) -> io::Result<()> {
        self.join(connected).await?;
        assert!(
            self.is_listed(connected).await?,
            "joined, and is not listed"
        );
        for _ in 0..dice.within(3, 30) {
            if self.life != connected.shared.life.get() {
                self.life = connected.shared.life.get();
                self.owned.clear();
            }
            let owned = self.owned.iter().nth(dice.below(QUEUES as u64) as usize);
            match (dice.below(6), owned.copied()) {
                (0..=1, _) | (_, None) => self.lock(connected, dice).await?,
                (2, Some(id)) => self.unlock(connected, id).await?,
                (_, Some(id)) => consume_on(connected, dice, id).await?,
            }
            connected.pause(dice.below(60)).await;
        }
        self.leave(connected).await?;
        assert!(!self.is_listed(connected).await?, "left, and is listed");
        connected.pause(dice.below(500)).await;
        Ok(())
    }

    async fn join(&self, connected: &mut Connected<'_>) -> io::Result<()> {
        let body = format!(
            r#"{{"clientID":"{}","consumerDataSet":[{{"groupName":"{GROUP}","consumeType":"CONSUME_PASSIVELY","messageModel":"CLUSTERING","consumeFromWhere":"CONSUME_FROM_FIRST_OFFSET","subscriptionDataSet":[{{"topic":"{TOPIC}","subString":"*","subVersion":1,"expressionType":"TAG"}}]}}]}}"#,
            self.client_id
        );
        let called = connected.call(request::HEART_BEAT, &[], body.as_bytes());
        let (reply, _) = called.await?;
        // A new group that a full disk cannot keep exists until the next restart.
        assert!(
            reply.is_success() || connected.is_made_but_not_saved(&reply),
            "{reply:?}"
        );
        Ok(())
    }

    async fn is_listed(&self, connected: &mut Connected<'_>) -> io::Result<bool> {
        let fields = ConsumerGroup {
            consumer_group: GROUP,
        };
        let code = request::GET_CONSUMER_LIST_BY_GROUP;
        let (reply, _) = connected.call(code, &fields.ext(), &[]).await?;
        if !reply.is_success() {
            // Nobody is there.
            return Ok(false);
        }
        let list: ConsumerList = loose_json::from_slice(&reply.body).expect("a list");
        Ok(list.consumer_id_list.contains(&self.client_id))
    }

    async fn lock(&mut self, connected: &mut Connected<'_>, dice: &Dice) -> io::Result<()> {
        let asked_ms = connected.now_ms() as u64;
        let ids: Vec<_> = (0..QUEUES).filter(|_| dice.one_in(2)).collect();
        let body = self.batch(&ids);
        let called = connected.call(request::LOCK_BATCH_MQ, &[], &body);
        let (reply, _) = called.await?;
        // The lock has made the group, which cannot be saved at the moment. A client that gets this answer does not hold the lock.
        if connected.is_made_but_not_saved(&reply) {
            return Ok(());
        }
        assert!(reply.is_success(), "{reply:?}");
        // An answer of the broker's life before counts for nothing.
        if connected.shared.life.get() != self.life {
            return Ok(());
        }
        let locked: LockedQueues = loose_json::from_slice(&reply.body).expect("queues");
        let now_ms = connected.now_ms() as u64;
        for id in ids {
            if locked.queues.contains(&message_queue(id)) {
                let times_ms = [asked_ms, now_ms];
                let mut oracle = connected.oracle();
                oracle.locked(GROUP, &queue(id), &self.client_id, self.life, times_ms);
                self.owned.insert(id);
            } else {
                assert!(!self.owned.contains(&id), "somebody took queue {id}");
            }
        }
        Ok(())
    }

    async fn unlock(&mut self, connected: &mut Connected<'_>, id: i32) -> io::Result<()> {
        connected
            .oracle()
            .unlocks(GROUP, &queue(id), &self.client_id);
        self.owned.remove(&id);
        let body = self.batch(&[id]);
        let called = connected.call(request::UNLOCK_BATCH_MQ, &[], &body);
        let (reply, _) = called.await?;
        assert!(reply.is_success(), "{reply:?}");
        Ok(())
    }

    async fn leave(&mut self, connected: &mut Connected<'_>) -> io::Result<()> {
        for id in std::mem::take(&mut self.owned) {
            self.unlock(connected, id).await?;
        }
        let fields = UnregisterClient {
            client_id: &self.client_id,
            producer_group: None,
            consumer_group: Some(GROUP),
        };
        let code = request::UNREGISTER_CLIENT;
        let (reply, _) = connected.call(code, &fields.ext(), &[]).await?;
        assert!(reply.is_success(), "{reply:?}");
        Ok(())
    }

    fn batch(&self, ids: &[i32]) -> Vec<u8> {
        loose_json::to_vec(&LockBatch {
            client_id: self.client_id.clone(),
            consumer_group: GROUP.into(),
            mq_set: ids.iter().map(|id| message_queue(*id)).collect(),
            only_this_broker: false,
        })
    }
}

async fn consume_on(connected: &mut Connected<'_>, dice: &Dice, id: i32) -> io::Result<()> {
    let queue = queue(id);
    let committed = requests::query_offset(&mut connected.client, GROUP, &queue).await?;
    let offset = committed.unwrap_or(0) as u64;
    let next = consume_some(connected, dice, GROUP, &queue, offset, 0).await?;
    match next > offset {
        true => commit(connected, GROUP, &queue, next).await,
        false => Ok(()),
    }
}

fn queue(id: i32) -> Queue {
    Queue {
        topic: TOPIC.to_owned(),
        id,
    }
}

fn message_queue(id: i32) -> MessageQueue {
    MessageQueue {
        topic: TOPIC.to_owned(),
        broker_name: "broker-a".to_owned(),
        queue_id: id,
    }
}
