//! A slave gives its master the offsets that consumers have committed at the slave, which they do while no master is in their routes.
//!
//! RocketMQ's slave does not: its next question for the offsets (43) puts the master's in their place.

use crate::broker::{ConfigFile, LeftCommit};
use crate::io::Io;
use crate::reactor::core::Core;
use crate::reactor::remoting_client::{AskError, RemotingClient};
use crate::wire::codes::request;
use crate::wire::offset::{QueryConsumerOffset, UpdateConsumerOffset};

/// All that is kept. The log was compared with the master's: what a consumer has read here is in it.
pub(super) async fn hand_over<I: Io>(
    core: &Core<I>,
    client: &mut RemotingClient<I>,
    patience_ns: u64,
) -> Result<(), AskError> {
    let mut has_given = false;
    loop {
        let Some(commit) = core.broker.borrow_mut().take_left_commit() else {
            if has_given {
                // A later start gives nothing again.
                core.saves.soon(ConfigFile::ConsumerOffsets);
            }
            return Ok(());
        };
        has_given = true;
        match give(core, client, &commit, patience_ns).await {
            // The master knows neither topic nor group, for instance.
            Ok(()) | Err(AskError::Refused { .. }) => {}
            Err(error) => {
                core.broker.borrow_mut().put_left_commit_back(&commit);
                return Err(error);
            }
        }
    }
}

/// An offset behind the one that the master has changes nothing: the consumer has gone on there already.
async fn give<I: Io>(
    core: &Core<I>,
    client: &mut RemotingClient<I>,
    commit: &LeftCommit,
    patience_ns: u64,
) -> Result<(), AskError> {
    let LeftCommit {
        group,
        topic,
        queue_id,
        offset,
    } = commit;
    let queue = u32::try_from(*queue_id).ok();
    let queue = queue.and_then(|queue_id| core.store.find_queue(topic, queue_id));
    let end = queue.map_or(0, |queue| core.store.bounds(queue).max as i64);
    // What it speaks of has been cut off.
    if *offset > end {
        return Ok(());
    }
    let known = QueryConsumerOffset {
        consumer_group: group,
        topic,
        queue_id: *queue_id,
        set_zero_if_not_found: Some(false),
    };
    let code = request::QUERY_CONSUMER_OFFSET;
    let known = client.ask(code, &known.ext(), &[], patience_ns).await;
    let known = match known {
        Ok(answer) => answer
            .field("offset")
            .and_then(|offset| offset.parse().ok()),
        Err(AskError::Refused { .. }) => None,
        Err(error) => return Err(error),
    };
    if known.is_some_and(|known: i64| known >= *offset) {
        return Ok(());
    }
    let update = UpdateConsumerOffset {
        consumer_group: group,
        topic,
        queue_id: *queue_id,
        commit_offset: *offset,
    };
    let code = request::UPDATE_CONSUMER_OFFSET;
    client.ask(code, &update.ext(), &[], patience_ns).await?;
    Ok(())
}
