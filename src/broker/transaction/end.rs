//! How a transaction ends, and how one that was given up begins again (RocketMQ: `EndTransactionProcessor`,
//! `AdminBrokerProcessor.resumeCheckHalfMessage`).

use std::borrow::Cow;

use super::half::{Half, property, rewritten};
use super::{HALF, HalfOffset};
use crate::broker::send_plan::{OwnMessage, SendPlan, check_properties};
use crate::broker::send_properties::{SendProperties, delay_level};
use crate::broker::{Broker, Refusal};
use crate::message::{Record, properties, sys_flag};
use crate::wire::codes::response;
use crate::wire::transaction::{
    EndTransaction, TRANSACTION_COMMIT_TYPE, TRANSACTION_NOT_TYPE, TRANSACTION_ROLLBACK_TYPE,
};

/// The end of a half message.
#[derive(Debug)]
pub struct Ending<'a> {
    pub half: HalfOffset,
    pub real_topic: &'a str,
    pub born_timestamp_ms: i64,
    /// The real message, if it was committed.
    pub message: Option<SendPlan<'a>>,
}

/// Where a half message belongs, which its real message shows by being there.
const PLACE: [&str; 2] = [properties::REAL_TOPIC, properties::REAL_QUEUE_ID];

/// The same for a message that has to wait. RocketMQ writes the properties of that anew, and then takes out the mark of the
/// half message, which it means to take out of every one; from it the Java consumer makes its transaction id.
const PLACE_AND_MARK: [&str; 3] = [
    properties::REAL_TOPIC,
    properties::REAL_QUEUE_ID,
    properties::TRANSACTION_PREPARED,
];

impl Broker {
    /// Whether the request says how it ends; it may also say that its producer does not know yet, which is not answered.
    pub fn ends_transaction(request: &EndTransaction<'_>) -> Result<bool, Refusal> {
        match request.commit_or_rollback {
            TRANSACTION_COMMIT_TYPE | TRANSACTION_ROLLBACK_TYPE => Ok(true),
            TRANSACTION_NOT_TYPE => Ok(false),
            other => Err(wrong(format!(
                "commitOrRollback field wrong: {other}, expected {TRANSACTION_COMMIT_TYPE}, \
                 {TRANSACTION_ROLLBACK_TYPE} or {TRANSACTION_NOT_TYPE}"
            ))),
        }
    }

    /// Decides on the end of the half message that `record` is. [`Broker::half_ended`] is to follow once the real
    /// message is in the log. `None`: it has ended already, by this request or by another one.
    pub fn admit_end<'a>(
        &self,
        request: &EndTransaction<'_>,
        record: Option<&Record<'a>>,
        now_ms: u64,
    ) -> Result<Option<Ending<'a>>, Refusal> {
        let half = record
            .filter(|record| record.topic == HALF)
            .and_then(|record| Half::of(record.queue_offset, record));
        let Some(half) = half else {
            return Err(wrong("Find prepared transaction message failed".into()));
        };
        self.check_in_time(request, &half, now_ms)?;
        check_same(request, half.record)?;
        if self.transactions.has_ended(half.at) {
            return Ok(None);
        }
        let message = match request.commit_or_rollback {
            TRANSACTION_COMMIT_TYPE => Some(self.committed(&half, now_ms)?),
            _ => None,
        };
        Ok(Some(Ending {
            half: half.at,
            real_topic: half.real_topic,
            born_timestamp_ms: half.record.born_timestamp_ms,
            message,
        }))
    }

    /// Counts an end.
    pub fn transaction_ended(&mut self, ending: &Ending<'_>, now_ms: u64) {
        let counts = self.stats.rare_mut(ending.real_topic);
        match &ending.message {
            Some(_) => {
                let age_ms = now_ms as i64 - ending.born_timestamp_ms;
                counts.committed((age_ms / 1_000).max(0) as u64);
            }
            None => counts.rolled_back(),
        }
    }

    /// The half message of a send to this topic is in the log.
    pub fn half_stored(&mut self, real_topic: &str) {
        self.stats.rare_mut(real_topic).half += 1;
    }

    /// Decides on asking anew about the message that `record` is, however often it was asked about before.
    pub fn admit_resume<'a>(
        &self,
        record: Option<&Record<'a>>,
        msg_id: &str,
    ) -> Result<SendPlan<'a>, Refusal> {
        let failed = |why: &str| {
            wrong(format!(
                "Put message back to RMQ_SYS_TRANS_HALF_TOPIC failed: {msg_id} {why}"
            ))
        };
        let record = record.ok_or_else(|| failed("is not in the log"))?;
        if Half::of(record.queue_offset, record).is_none() {
            return Err(failed("is no half message"));
        }
        let mut all = rewritten(
            record,
            &[
                properties::TRANSACTION_CHECK_TIMES,
                properties::TRANSACTION_PREPARED_QUEUE_OFFSET,
            ],
        );
        properties::push(&mut all, properties::TRANSACTION_CHECK_TIMES, "0");
        let plan = self.half_plan(record, all);
        check_properties(plan.properties())?;
        Ok(plan)
    }

    /// A producer that has asked for a time without questions must not come later than that by itself.
    fn check_in_time(
        &self,
        request: &EndTransaction<'_>,
        half: &Half<'_, '_>,
        now_ms: u64,
    ) -> Result<(), Refusal> {
        let timeout_ms = self.config.transaction_timeout_ms as i64;
        let Some(immunity_ms) = half.immunity_ms(timeout_ms) else {
            return Ok(());
        };
        let (age_ms, limit_ms) = (half.age_ms(now_ms), immunity_ms.max(timeout_ms));
        if request.from_transaction_check || age_ms <= limit_ms {
            return Ok(());
        }
        Err(Refusal::new(
            response::ILLEGAL_OPERATION,
            format!(
                "the half message is {age_ms} ms old, limit {limit_ms} ms \
                 (CHECK_IMMUNITY_TIME_IN_SECONDS); its producer will be asked"
            ),
        ))
    }

    fn committed<'a>(&self, half: &Half<'_, 'a>, now_ms: u64) -> Result<SendPlan<'a>, Refusal> {
        let delay = property(half.record, properties::DELAY);
        let delay_level = delay_level(delay)?;
        let properties = match delay_level > 0 {
            true => rewritten(half.record, &PLACE_AND_MARK),
            false => rewritten(half.record, &PLACE),
        };
        let said = properties.clone();
        let own = OwnMessage {
            topic: Cow::Borrowed(half.real_topic),
            queue_id: half.real_queue_id,
            queue: self.known_queue(half.real_topic, half.real_queue_id),
            reconsume_times: half.record.reconsume_times,
            properties,
        };
        let mut plan = SendPlan::of_record(half.record, own);
        plan.sys_flag = sys_flag::with_transaction(plan.sys_flag, sys_flag::TRANSACTION_COMMIT);
        plan.prepared_transaction_offset = half.record.physical_offset;
        let noted = SendProperties::of(&said);
        if delay_level > 0 {
            self.schedule(&mut plan, delay_level, now_ms);
        } else if noted.timer.is_timed() {
            self.postpone(&mut plan, &noted, now_ms)?;
        }
        check_properties(plan.properties())?;
        Ok(plan)
    }
}

fn check_same(request: &EndTransaction<'_>, record: &Record<'_>) -> Result<(), Refusal> {
    let group = property(record, properties::PRODUCER_GROUP);
    if group != Some(request.producer_group) {
        return Err(wrong("The producer group wrong".into()));
    }
    if record.queue_offset as i64 != request.half_queue_offset {
        return Err(wrong("The transaction state table offset wrong".into()));
    }
    if record.physical_offset as i64 != request.half_physical_offset {
        return Err(wrong("The commit log offset wrong".into()));
    }
    Ok(())
}

fn wrong(remark: String) -> Refusal {
    Refusal::new(response::SYSTEM_ERROR, remark)
}
