//! Who is connected and subscribed: 203, 204, 300, 328, 343, 345.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::broker::clients::Member;
use crate::broker::reply::{Reply, required};
use crate::broker::{Broker, Refusal};
use crate::wire::codes::response;
use crate::wire::heartbeat::{ConsumeFromWhere, ConsumeType, MessageModel, SubscriptionData};
use crate::wire::{Ext, Language};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Connection<'a> {
    client_addr: String,
    client_id: &'a str,
    language: Language,
    version: i32,
}

impl<'a> From<&'a Member> for Connection<'a> {
    fn from(member: &'a Member) -> Self {
        Self {
            client_addr: member.addr.to_string(),
            client_id: &member.client_id,
            language: member.language,
            version: member.version,
        }
    }
}

impl Broker {
    pub(in crate::broker) fn consumer_connections(&self, ext: &Ext<'_>) -> Result<Reply, Refusal> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct ConsumerConnection<'a> {
            connection_set: Vec<Connection<'a>>,
            consume_from_where: ConsumeFromWhere,
            consume_type: ConsumeType,
            message_model: MessageModel,
            subscription_table: BTreeMap<&'a str, &'a SubscriptionData>,
        }
        let name = required(ext, "consumerGroup")?;
        let Some(group) = self.clients.consumers(name) else {
            return Err(Refusal::new(
                response::CONSUMER_NOT_ONLINE,
                format!("the consumer group[{name}] not online"),
            ));
        };
        Ok(Reply::json(&ConsumerConnection {
            connection_set: group.members().map(Connection::from).collect(),
            consume_from_where: group.consume_from_where,
            consume_type: group.consume_type,
            message_model: group.message_model,
            subscription_table: group.subscriptions(),
        }))
    }

    pub(in crate::broker) fn producer_connections(&self, ext: &Ext<'_>) -> Result<Reply, Refusal> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct ProducerConnection<'a> {
            connection_set: Vec<Connection<'a>>,
        }
        let name = required(ext, "producerGroup")?;
        let Some(members) = self.clients.producers(name) else {
            return Err(Refusal::new(
                response::SYSTEM_ERROR,
                format!("the producer group[{name}] not exist"),
            ));
        };
        Ok(Reply::json(&ProducerConnection {
            connection_set: members.map(Connection::from).collect(),
        }))
    }

    pub(in crate::broker) fn all_producers(&self) -> Result<Reply, Refusal> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Producer<'a> {
            client_id: &'a str,
            language: Language,
            last_update_timestamp: u64,
            #[serde(rename = "remoteIP")]
            remote_ip: String,
            version: i32,
        }
        #[derive(Serialize)]
        struct ProducerTable<'a> {
            data: BTreeMap<&'a str, Vec<Producer<'a>>>,
        }
        let producer = |member: &'_ Member| -> (String, u64) {
            // Java prints an address with a leading slash, and tools show what they get.
            (format!("/{}", member.addr), member.heartbeat_ms)
        };
        let groups = self.clients.all_producers().into_iter();
        let data = groups.map(|(group, members)| {
            let members = members.into_iter().map(|member| {
                let (remote_ip, last_update_timestamp) = producer(member);
                Producer {
                    client_id: &member.client_id,
                    language: member.language,
                    last_update_timestamp,
                    remote_ip,
                    version: member.version,
                }
            });
            (group, members.collect())
        });
        Ok(Reply::json(&ProducerTable {
            data: data.collect(),
        }))
    }

    /// Groups that are online for the topic or have offsets in it.
    pub(in crate::broker) fn groups_of_topic(&self, ext: &Ext<'_>) -> Result<Reply, Refusal> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct GroupList<'a> {
            group_list: Vec<&'a str>,
        }
        let topic = required(ext, "topic")?;
        let mut group_list = self.clients.groups_of(topic);
        group_list.extend(self.offsets.groups_of(topic));
        group_list.sort_unstable();
        group_list.dedup();
        Ok(Reply::json(&GroupList { group_list }))
    }

    pub(in crate::broker) fn topics_of_group(&self, ext: &Ext<'_>) -> Result<Reply, Refusal> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct TopicList<'a> {
            broker_addr: String,
            topic_list: Vec<&'a str>,
        }
        let group = required(ext, "group")?;
        Ok(Reply::json(&TopicList {
            broker_addr: self.config.advertise.to_string(),
            topic_list: self.offsets.topics_of(group),
        }))
    }

    pub(in crate::broker) fn subscription_of_group(&self, ext: &Ext<'_>) -> Result<Reply, Refusal> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct QueriedSubscription<'a> {
            group: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            subscription_data: Option<&'a SubscriptionData>,
            topic: &'a str,
        }
        let (group, topic) = (required(ext, "group")?, required(ext, "topic")?);
        let online = self.clients.consumers(group);
        let subscription = online.and_then(|group| group.subscription(topic));
        Ok(Reply::json(&QueriedSubscription {
            group,
            subscription_data: subscription.map(|subscription| &subscription.data),
            topic,
        }))
    }
}
