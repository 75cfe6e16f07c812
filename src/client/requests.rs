//! What brokers ask of a client: a group has changed (40), the state of a transaction (39), a reset of offsets (220), what a
//! consumer is subscribed to (307).
//!
//! Source: `ClientRemotingProcessor`. Every other request is answered with REQUEST_CODE_NOT_SUPPORTED, as mqadmin then reports.

use std::rc::Rc;

use tokio::sync::mpsc;
use tokio::task::spawn_local;

use super::ClientError;
use super::half_message::check;
use super::received::received_alone;
use super::remote::Asked;
use super::session::Session;
use crate::message::properties;
use crate::wire::codes::{not_supported_remark, request, response};
use crate::wire::loose_json;
use crate::wire::stats::ResetOffsetBody;

pub async fn answer(session: Rc<Session>, mut requests: mpsc::UnboundedReceiver<Asked>) {
    while let Some(asked) = requests.recv().await {
        spawn_local(answer_one(Rc::clone(&session), asked));
    }
}

async fn answer_one(session: Rc<Session>, asked: Asked) {
    match asked.code {
        request::NOTIFY_CONSUMER_IDS_CHANGED => {
            let group = asked.find("consumerGroup").unwrap_or_default();
            if let Some(member) = session.consumer(group) {
                member.look_around();
            }
        }
        request::CHECK_TRANSACTION_STATE => {
            if let Err(error) = check_transaction(&session, &asked).await {
                tracing::warn!("{} asked about a transaction: {error}", asked.peer);
            }
        }
        request::RESET_CONSUMER_CLIENT_OFFSET => reset_offsets(&session, &asked).await,
        request::GET_CONSUMER_RUNNING_INFO => running_info(&session, &asked).await,
        code if !asked.is_one_way => {
            if let Some(remote) = session.instance.remote_of(&asked).await {
                let code_unknown = response::REQUEST_CODE_NOT_SUPPORTED;
                let remark = not_supported_remark(code);
                remote.answer(&asked, code_unknown, Some(&remark), &[]);
            }
        }
        code => tracing::debug!("request {code} of {} is ignored", asked.peer),
    }
}

/// CHECK_TRANSACTION_STATE (39): the answer goes back on the connection of the request.
async fn check_transaction(session: &Rc<Session>, asked: &Asked) -> Result<(), ClientError> {
    let Some(remote) = session.instance.remote_of(asked).await else {
        return Ok(());
    };
    let half = received_alone(&asked.body)?;
    let group = half.find(properties::PRODUCER_GROUP).unwrap_or_default();
    let sender = session.producer(group)?;
    check(&sender, half, asked, &remote).await
}

/// GET_CONSUMER_RUNNING_INFO (307): what tools need to compare the members of a group.
async fn running_info(session: &Rc<Session>, asked: &Asked) {
    let Some(remote) = session.instance.remote_of(asked).await else {
        return;
    };
    let group = asked.find("consumerGroup").unwrap_or_default();
    match session.consumer(group) {
        Some(member) => {
            let body = loose_json::to_vec(&member.running_info());
            remote.answer(asked, response::SUCCESS, None, &body);
        }
        None => {
            let remark = format!("The Consumer Group <{group}> not exist in this consumer");
            remote.answer(asked, response::SYSTEM_ERROR, Some(&remark), &[]);
        }
    }
}

async fn reset_offsets(session: &Rc<Session>, asked: &Asked) {
    let group = asked.find("group").unwrap_or_default();
    let Some(member) = session.consumer(group) else {
        return;
    };
    match loose_json::from_slice::<ResetOffsetBody>(&asked.body) {
        Ok(body) => member.reset(&session.instance, body.offset_table).await,
        Err(error) => tracing::warn!("{} resets offsets of {group}: {error}", asked.peer),
    }
}
