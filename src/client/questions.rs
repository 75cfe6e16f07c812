//! What brokers ask of a client: that its groups look who is there (40), what became of a transaction (39), to go on from other
//! offsets (220).
//!
//! Source: `ClientRemotingProcessor`. What is not answered here gets REQUEST_CODE_NOT_SUPPORTED, as mqadmin then says.

use std::rc::Rc;

use tokio::sync::mpsc;
use tokio::task::spawn_local;

use super::instance::Instance;
use super::remote::Asked;
use super::transaction;
use crate::wire::codes::{not_supported_remark, request, response};
use crate::wire::loose_json;
use crate::wire::stats::ResetOffsetBody;

pub async fn answer(instance: Rc<Instance>, mut questions: mpsc::UnboundedReceiver<Asked>) {
    while let Some(asked) = questions.recv().await {
        spawn_local(answer_one(Rc::clone(&instance), asked));
    }
}

async fn answer_one(instance: Rc<Instance>, asked: Asked) {
    match asked.code {
        request::NOTIFY_CONSUMER_IDS_CHANGED => {
            let group = asked.find("consumerGroup").unwrap_or_default();
            if let Some(member) = instance.consumer(group) {
                member.look_around();
            }
        }
        request::CHECK_TRANSACTION_STATE => {
            if let Some(remote) = instance.remote_of(&asked).await {
                transaction::check(instance, asked, remote).await;
            }
        }
        request::RESET_CONSUMER_CLIENT_OFFSET => reset_offsets(&instance, &asked).await,
        code if !asked.is_one_way => {
            if let Some(remote) = instance.remote_of(&asked).await {
                let code_unknown = response::REQUEST_CODE_NOT_SUPPORTED;
                let remark = not_supported_remark(code);
                remote.answer(&asked, code_unknown, Some(&remark), &[]);
            }
        }
        code => tracing::debug!("{} said {code}, which says nothing to us", asked.peer),
    }
}

async fn reset_offsets(instance: &Rc<Instance>, asked: &Asked) {
    let group = asked.find("group").unwrap_or_default();
    let Some(member) = instance.consumer(group) else {
        return;
    };
    match loose_json::from_slice::<ResetOffsetBody>(&asked.body) {
        Ok(body) => member.reset(instance, body.offset_table).await,
        Err(error) => tracing::warn!("{} resets offsets of {group}: {error}", asked.peer),
    }
}
