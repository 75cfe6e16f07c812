//! What one request decides, in one turn or in several.

use std::rc::Rc;

use super::answers::unreadable;
use super::core::Core;
use super::effects;
use super::rounds::SLICE_UNITS;
use super::view::View;
use crate::broker::step::{MessagePlace, Progress, Work};
use crate::broker::store_view::At;
use crate::broker::{Broker, ConfigFiles, Refusal};
use crate::io::Io;
use crate::wire::Reply;
use crate::wire::codes::response;

/// Queues of a deleted topic that are removed in one turn.
const QUEUES_AT_A_TIME: usize = 1024;

/// The decisions of one request, and the files of `config/` that they have changed. The answer waits for these files: a topic or
/// group that was made must exist after a power cut, and one that was deleted must not.
pub(super) struct Decisions<I: Io> {
    core: Rc<Core<I>>,
    changed: ConfigFiles,
    /// If this request has deleted topics: how many deletions there were then. Others' deletions are not awaited.
    deletions: Option<u64>,
}

impl<I: Io> Decisions<I> {
    pub fn new(core: Rc<Core<I>>) -> Self {
        Self {
            core,
            changed: ConfigFiles::default(),
            deletions: None,
        }
    }

    /// Decides, and carries out the effects in the same turn: in a later turn another task may already have taken them.
    pub fn decide<T>(&mut self, decision: impl FnOnce(&mut Broker) -> T) -> T {
        let decided = decision(&mut self.core.broker.borrow_mut());
        self.changed.add_all(effects::carry_out(&self.core));
        decided
    }

    /// Carries work out: a slice in each turn, and of all such work together one in each round.
    pub async fn carry_out(&mut self, mut work: Box<dyn Work>) -> Result<Reply, Refusal> {
        let core = self.core.clone();
        loop {
            core.rounds.take(SLICE_UNITS).await;
            let (store, now_ms) = (&View { core: &core }, core.now_ms());
            let at = At { now_ms, store };
            match self.decide(|broker| work.turn(broker, at))? {
                Progress::Done(reply) => return Ok(reply),
                Progress::More => {}
                Progress::Times(places) => work.times(store_times(&core, &places).await?),
                Progress::RemoveQueues(topic) => self.remove_queues(&topic).await,
            }
        }
    }

    async fn remove_queues(&mut self, topic: &str) {
        while self.core.store.delete_some(topic, QUEUES_AT_A_TIME) {
            self.core.rounds.take(SLICE_UNITS).await;
        }
        self.deletions = Some(self.core.store.deletions());
    }

    /// Whether the answer need not wait for a file.
    pub fn changed_nothing(&self) -> bool {
        self.changed.is_empty()
    }

    /// Returns the answer once the changed files are durable.
    pub async fn once_saved(self, reply: Reply) -> Reply {
        if self.changed_nothing() {
            return reply;
        }
        if let Err(reason) = self.core.saves.done(self.changed).await {
            let remark = format!("done, but a restart will take it back: {reason}");
            return Refusal::new(response::SYSTEM_ERROR, remark).into();
        }
        if let Some(deletions) = self.deletions {
            self.core.store.deleted_up_to(deletions).await;
        }
        reply
    }
}

async fn store_times<I: Io>(
    core: &Core<I>,
    places: &[MessagePlace],
) -> Result<Vec<Option<i64>>, Refusal> {
    let mut times = Vec::with_capacity(places.len());
    for place in places {
        let queue = core.store.find_queue(&place.topic, place.queue_id);
        times.push(match queue {
            Some(queue) => {
                let time = core.store.store_time(queue, place.offset).await;
                time.map_err(unreadable)?
            }
            None => None,
        });
    }
    Ok(times)
}
