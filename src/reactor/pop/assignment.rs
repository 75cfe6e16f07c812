//! QUERY_ASSIGNMENT: the queues of all brokers, as a name server knows them, divided among the group's members.

use std::rc::Rc;

use super::super::caller::Caller;
use super::super::connection::Connection;
use super::super::remoting_client::{AskError, RemotingClient};
use super::Pops;
use crate::broker::Refusal;
use crate::broker::perm;
use crate::io::{Either, Io, select};
use crate::wire::assignment::QueryAssignment;
use crate::wire::codes::request;
use crate::wire::route::{RouteRequest, TopicRouteData};
use crate::wire::{MessageQueue, loose_json};

/// Queues of one broker that are assigned, whatever a name server says.
const MAX_QUEUES: i32 = 4_096;

/// Clients wait for 3 s.
const PATIENCE_NS: u64 = 2_000_000_000;

impl<I: Io> Pops<I> {
    pub(super) fn query_assignment(
        self: &Rc<Self>,
        connection: &Rc<Connection<I::Stream>>,
        caller: Caller,
        body: &[u8],
    ) -> Result<(), Refusal> {
        let query = QueryAssignment::decode(body)?;
        let (pops, connection) = (self.clone(), connection.clone());
        let reading = connection.start_reading();
        self.core.io.spawn("query-assignment", async move {
            let _reading = reading;
            let deadline_ns = pops.core.io.now().mono_ns + PATIENCE_NS;
            let asked = select(
                pops.queues_of_all_brokers(&query.topic),
                pops.core.io.sleep_until(deadline_ns),
            );
            let queues = match asked.await {
                Either::Left(queues) => queues,
                Either::Right(()) => None,
            };
            let reply = pops.core.broker.borrow().assign(&query, queues);
            connection.answer(caller, reply.code, None, &[], &reply.body);
        });
        Ok(())
    }

    /// `None` if no name server knows the topic, or none can be reached.
    async fn queues_of_all_brokers(&self, topic: &str) -> Option<Vec<MessageQueue>> {
        for name_server in &self.core.setup.namesrv {
            let kept = self.link.borrow_mut().take();
            let mut link = match kept {
                Some(link) => link,
                None => match RemotingClient::connect_to_names(
                    &self.core.io,
                    name_server,
                    self.core.credentials(),
                    PATIENCE_NS,
                )
                .await
                {
                    Ok(link) => link,
                    Err(_) => continue,
                },
            };
            let fields = RouteRequest {
                topic,
                accept_standard_json_only: true,
            };
            let code = request::GET_ROUTEINFO_BY_TOPIC;
            match link.ask(code, &fields.ext(), &[], PATIENCE_NS).await {
                Ok(answer) => {
                    self.link.replace(Some(link));
                    let route = loose_json::from_slice(&answer.body).ok()?;
                    return Some(readable_queues(topic, &route));
                }
                // It does not know the topic, or does not answer; the next one may.
                Err(AskError::Refused { .. } | AskError::Connection(_)) => {}
            }
        }
        None
    }
}

fn readable_queues(topic: &str, route: &TopicRouteData) -> Vec<MessageQueue> {
    let readable = route.queue_datas.iter();
    let readable = readable.filter(|data| perm::is_readable(data.perm));
    readable
        .flat_map(|data| {
            let queue_nums = data.read_queue_nums.clamp(0, MAX_QUEUES);
            (0..queue_nums).map(|queue_id| MessageQueue {
                broker_name: data.broker_name.clone(),
                queue_id,
                topic: topic.into(),
            })
        })
        .collect()
}
