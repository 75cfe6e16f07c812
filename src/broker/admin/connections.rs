//! Who is connected and subscribed: 203, 204, 300, 328, 343, 345.

use crate::broker::clients::Member;
use crate::broker::reply::Reply;
use crate::broker::{Broker, Refusal};
use crate::wire::Ext;
use crate::wire::codes::response;
use crate::wire::consumer::ConsumerGroup;
use crate::wire::route::TopicList;
use crate::wire::stats::{
    Connection, ConsumerConnection, GroupAndTopic, GroupList, ProducerConnection, ProducerGroup,
    ProducerInfo, ProducerTableInfo, QuerySubscriptionReply,
};
use crate::wire::topic::TopicRequest;

impl Broker {
    pub(in crate::broker) fn consumer_connections(&self, ext: &Ext<'_>) -> Result<Reply, Refusal> {
        let name = ConsumerGroup::decode(ext)?.consumer_group;
        let Some(group) = self.clients.consumers(name) else {
            return Err(Refusal::new(
                response::CONSUMER_NOT_ONLINE,
                format!("the consumer group[{name}] not online"),
            ));
        };
        let subscriptions = group.subscriptions().into_iter();
        Ok(Reply::json(&ConsumerConnection {
            connection_set: group.members().map(connection).collect(),
            consume_from_where: group.consume_from_where,
            consume_type: group.consume_type,
            message_model: group.message_model,
            subscription_table: subscriptions
                .map(|(topic, data)| (topic.to_owned(), data.clone()))
                .collect(),
        }))
    }

    pub(in crate::broker) fn producer_connections(&self, ext: &Ext<'_>) -> Result<Reply, Refusal> {
        let name = ProducerGroup::decode(ext)?.producer_group;
        let Some(members) = self.clients.producers(name) else {
            return Err(Refusal::new(
                response::SYSTEM_ERROR,
                format!("the producer group[{name}] not exist"),
            ));
        };
        Ok(Reply::json(&ProducerConnection {
            connection_set: members.map(connection).collect(),
        }))
    }

    pub(in crate::broker) fn all_producers(&self) -> Result<Reply, Refusal> {
        let groups = self.clients.all_producers().into_iter();
        let data = groups.map(|(group, members)| {
            let members = members.into_iter().map(|member| ProducerInfo {
                client_id: member.client_id.clone(),
                language: member.language,
                last_update_timestamp_ms: member.heartbeat_ms as i64,
                // Java prints an address with a leading slash.
                remote_ip: format!("/{}", member.addr),
                version: member.version,
            });
            (group.to_owned(), members.collect())
        });
        Ok(Reply::json(&ProducerTableInfo {
            data: data.collect(),
        }))
    }

    /// Groups that are online for the topic or have offsets in it.
    pub(in crate::broker) fn groups_of_topic(&self, ext: &Ext<'_>) -> Result<Reply, Refusal> {
        let topic = TopicRequest::decode(ext)?.topic;
        let mut groups = self.clients.groups_of(topic);
        groups.extend(self.offsets.groups_of(topic));
        groups.sort_unstable();
        groups.dedup();
        Ok(Reply::json(&GroupList {
            group_list: groups.into_iter().map(str::to_owned).collect(),
        }))
    }

    pub(in crate::broker) fn topics_of_group(&self, ext: &Ext<'_>) -> Result<Reply, Refusal> {
        let group = GroupAndTopic::decode(ext)?.group;
        let topics = self.offsets.topics_of(group).into_iter();
        Ok(Reply::json(&TopicList {
            broker_addr: Some(self.config.advertise.to_string()),
            topic_list: topics.map(str::to_owned).collect(),
        }))
    }

    pub(in crate::broker) fn subscription_of_group(&self, ext: &Ext<'_>) -> Result<Reply, Refusal> {
        let request = GroupAndTopic::decode(ext)?;
        let topic = request.topic.unwrap_or("");
        let online = self.clients.consumers(request.group);
        let subscription = online.and_then(|group| group.subscription(topic));
        Ok(Reply::json(&QuerySubscriptionReply {
            group: request.group.into(),
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
