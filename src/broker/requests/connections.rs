//! Connected clients and their subscriptions: 203, 204, 300, 328, 343, 345.

use std::ops::ControlFlow;

use crate::broker::clients::{ConnId, Member};
use crate::broker::limits::ROWS_PER_TURN;
use crate::broker::rows::{Json, Now, Rows, Sliced};
use crate::broker::step::Step;
use crate::broker::{Broker, Refusal};
use crate::wire::Reply;
use crate::wire::codes::response;
use crate::wire::consumer::ConsumerGroup;
use crate::wire::stats::{
    Connection, GroupAndTopic, ProducerGroup, ProducerInfo, QuerySubscriptionReply,
};
use crate::wire::topic::TopicRequest;

impl Broker {
    pub(super) fn consumer_connections(&self, asked: ConsumerGroup<'_>) -> Result<Step, Refusal> {
        let name = asked.consumer_group;
        if self.clients.consumers(name).is_none() {
            return Err(Refusal::new(
                response::CONSUMER_NOT_ONLINE,
                format!("the consumer group[{name}] not online"),
            ));
        }
        let rows = Connections {
            group: name.into(),
            is_consumer: true,
            after: None,
            after_topic: None,
        };
        Ok(Sliced::step(r#"{"connectionSet":["#, rows))
    }

    pub(super) fn producer_connections(&self, asked: ProducerGroup<'_>) -> Result<Step, Refusal> {
        let name = asked.producer_group;
        if self.clients.producers_after(name, None).next().is_none() {
            return Err(Refusal::new(
                response::SYSTEM_ERROR,
                format!("the producer group[{name}] not exist"),
            ));
        }
        let rows = Connections {
            group: name.into(),
            is_consumer: false,
            after: None,
            after_topic: None,
        };
        Ok(Sliced::step(r#"{"connectionSet":["#, rows))
    }

    pub(super) fn all_producers(&self) -> Result<Step, Refusal> {
        let rows = Producers {
            group: None,
            after: None,
        };
        Ok(Sliced::step(r#"{"data":{"#, rows))
    }

    /// Groups that are online for the topic or have offsets in it.
    pub(super) fn groups_of_topic(&self, asked: TopicRequest<'_>) -> Step {
        let rows = GroupsOfTopic {
            topic: asked.topic.into(),
            after: None,
        };
        Sliced::step(r#"{"groupList":["#, rows)
    }

    /// Topics that the group has offsets in.
    pub(super) fn topics_of_group(&self, asked: GroupAndTopic<'_>) -> Step {
        let addr = self.config.advertise;
        let head = format!(r#"{{"brokerAddr":"{addr}","topicList":["#);
        let rows = TopicsOfGroup {
            group: asked.group.into(),
            after: None,
        };
        Sliced::step(head, rows)
    }

    pub(super) fn subscription_of_group(&self, asked: GroupAndTopic<'_>) -> Result<Reply, Refusal> {
        let topic = asked.topic.unwrap_or("");
        let online = self.clients.consumers(asked.group);
        let subscription = online.and_then(|group| group.subscription(topic));
        Ok(Reply::json(&QuerySubscriptionReply {
            group: asked.group.into(),
            subscription_data: subscription.map(|subscription| subscription.data.clone()),
            topic: topic.into(),
        }))
    }
}

fn connection(member: &Member) -> Connection {
    Connection {
        client_addr: member.addr.to_string(),
        client_id: member.client_id.clone(),
        language: member.language,
        version: member.version,
    }
}

/// Members of a group, and of consumers what they are subscribed to.
#[derive(Clone, Debug)]
struct Connections {
    group: String,
    is_consumer: bool,
    after: Option<ConnId>,
    /// All members are written; the subscriptions follow, behind this topic.
    after_topic: Option<String>,
}

impl Rows for Connections {
    fn slice(&mut self, at: &Now<'_>, out: &mut Json) -> Result<bool, Refusal> {
        if self.after_topic.is_none() && self.members(at, out)?.is_continue() {
            return Ok(false);
        }
        let group = at.broker.clients.consumers(&self.group);
        let (true, Some(group)) = (self.is_consumer, group) else {
            return Ok(true);
        };
        if self.after_topic.is_none() {
            out.text(r#"],"consumeFromWhere":"#);
            out.value(&group.consume_from_where);
            out.text(r#","consumeType":"#);
            out.value(&group.consume_type);
            out.text(r#","messageModel":"#);
            out.value(&group.message_model);
            out.text(r#","subscriptionTable":{"#);
            self.after_topic = Some(String::new());
        }
        let after = self.after_topic.clone().unwrap_or_default();
        let mut left = ROWS_PER_TURN;
        for (topic, data) in group.subscriptions_after(&after).take(ROWS_PER_TURN) {
            out.member(topic, data)?;
            self.after_topic = Some(topic.into());
            left -= 1;
        }
        Ok(left > 0)
    }

    fn finish(&self, _: &Now<'_>, out: &mut Json) -> Reply {
        out.text(match self.after_topic {
            Some(_) => "}}",
            // Of producers; or the group has gone meanwhile.
            None => "]}",
        });
        Reply::ok()
    }
}

impl Connections {
    /// Breaks when all members are written.
    fn members(&mut self, at: &Now<'_>, out: &mut Json) -> Result<ControlFlow<()>, Refusal> {
        let (clients, before) = (&at.broker.clients, self.after);
        let mut write = |(conn, member): (ConnId, &Member)| {
            self.after = Some(conn);
            out.element(&connection(member))
        };
        match self.is_consumer {
            true => clients
                .consumers(&self.group)
                .into_iter()
                .flat_map(|group| group.members_after(before))
                .take(ROWS_PER_TURN)
                .try_for_each(&mut write)?,
            false => clients
                .producers_after(&self.group, before)
                .take(ROWS_PER_TURN)
                .try_for_each(&mut write)?,
        }
        Ok(match self.after == before {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        })
    }
}

#[derive(Clone, Debug)]
struct GroupsOfTopic {
    topic: String,
    after: Option<String>,
}

impl Rows for GroupsOfTopic {
    fn slice(&mut self, at: &Now<'_>, out: &mut Json) -> Result<bool, Refusal> {
        let (topic, broker) = (&*self.topic, at.broker);
        for _ in 0..ROWS_PER_TURN {
            let after = self.after.as_deref();
            let online = broker.clients.groups_of_after(topic, after).next();
            let known = broker.offsets.groups_of_after(topic, after).next();
            let Some(group) = online.into_iter().chain(known).min() else {
                return Ok(true);
            };
            out.element(group)?;
            self.after = Some(group.to_owned());
        }
        Ok(false)
    }

    fn finish(&self, _: &Now<'_>, out: &mut Json) -> Reply {
        out.text("]}");
        Reply::ok()
    }
}

#[derive(Clone, Debug)]
struct TopicsOfGroup {
    group: String,
    after: Option<String>,
}

impl Rows for TopicsOfGroup {
    fn slice(&mut self, at: &Now<'_>, out: &mut Json) -> Result<bool, Refusal> {
        let offsets = &at.broker.offsets;
        let mut left = ROWS_PER_TURN;
        let after = self.after.take();
        for topic in offsets
            .topics_after(&self.group, after.as_deref())
            .take(left)
        {
            out.element(topic)?;
            left -= 1;
            if left == 0 {
                self.after = Some(topic.to_owned());
            }
        }
        Ok(left > 0)
    }

    fn finish(&self, _: &Now<'_>, out: &mut Json) -> Reply {
        out.text("]}");
        Reply::ok()
    }
}

/// All producers, by group.
#[derive(Clone, Debug)]
struct Producers {
    /// The group whose list is open.
    group: Option<String>,
    after: Option<ConnId>,
}

impl Rows for Producers {
    fn slice(&mut self, at: &Now<'_>, out: &mut Json) -> Result<bool, Refusal> {
        let clients = &at.broker.clients;
        for _ in 0..ROWS_PER_TURN {
            let open = self.group.as_deref();
            let next = open.and_then(|group| clients.producers_after(group, self.after).next());
            if let Some((conn, member)) = next {
                self.after = Some(conn);
                out.element(&ProducerInfo {
                    client_id: member.client_id.clone(),
                    language: member.language,
                    last_update_timestamp_ms: member.heartbeat_ms as i64,
                    // Java prints an address with a leading slash.
                    remote_ip: format!("/{}", member.addr),
                    version: member.version,
                })?;
                continue;
            }
            let group = clients.producer_group_after(open).map(str::to_owned);
            if open.is_some() {
                out.text("]");
                out.go_on();
            }
            (self.group, self.after) = (group, None);
            let Some(group) = &self.group else {
                return Ok(true);
            };
            out.comma();
            out.value(group);
            out.text(":[");
        }
        Ok(false)
    }

    fn finish(&self, _: &Now<'_>, out: &mut Json) -> Reply {
        out.text("}}");
        Reply::ok()
    }
}
