//! The producers and consumers of one client, on its thread.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use tokio::sync::mpsc;
use tokio::task::spawn_local;

use super::ClientError;
use super::config::ClientConfig;
use super::instance::{Instance, Members};
use super::push::member::Member;
use super::remote::Asked;
use super::sender::Sender;
use crate::wire::heartbeat::{HeartbeatData, ProducerData};

pub struct Session {
    pub instance: Rc<Instance>,
    /// By group, as are the consumers.
    producers: RefCell<BTreeMap<String, Rc<Sender>>>,
    consumers: RefCell<BTreeMap<String, Rc<Member>>>,
    left: Cell<bool>,
}

impl Session {
    /// With the requests that brokers send to this client.
    pub fn start(
        config: ClientConfig,
    ) -> Result<(Rc<Self>, mpsc::UnboundedReceiver<Asked>), ClientError> {
        let (instance, requests) = Instance::start(config)?;
        let session = Rc::new(Self {
            instance,
            producers: RefCell::default(),
            consumers: RefCell::default(),
            left: Cell::new(false),
        });
        let weak = Rc::downgrade(&session);
        let members: Weak<dyn Members> = weak;
        session.instance.set_members(members);
        spawn_local(Rc::clone(&session).keep_offsets());
        Ok((session, requests))
    }

    pub fn has_left(&self) -> bool {
        self.left.get()
    }

    /// Ends everything, in the order that loses and repeats least.
    pub async fn leave(&self) {
        if self.left.replace(true) {
            return;
        }
        let consumers: Vec<_> = self.consumers.borrow().values().cloned().collect();
        for consumer in consumers {
            self.remove_consumer(&consumer).await;
        }
        let groups: Vec<_> = self.producers.borrow().keys().cloned().collect();
        for group in groups {
            self.remove_producer(&group).await;
        }
        self.instance.close();
    }

    pub fn add_producer(&self, sender: Sender) -> Result<(), ClientError> {
        let mut producers = self.producers.borrow_mut();
        if producers.contains_key(&sender.config.group) {
            return Err(ClientError::illegal(format!(
                "this client has a producer of the group {} already",
                sender.config.group
            )));
        }
        producers.insert(sender.config.group.clone(), Rc::new(sender));
        Ok(())
    }

    pub fn producer(&self, group: &str) -> Result<Rc<Sender>, ClientError> {
        let known = self.producers.borrow().get(group).cloned();
        known.ok_or(ClientError::Stopped)
    }

    pub async fn remove_producer(&self, group: &str) {
        if self.producers.borrow_mut().remove(group).is_some() {
            self.instance.unregister(Some(group), None).await;
        }
    }

    pub fn add_consumer(&self, member: &Rc<Member>) -> Result<(), ClientError> {
        let mut consumers = self.consumers.borrow_mut();
        if consumers.contains_key(member.group()) {
            return Err(ClientError::illegal(format!(
                "this client has a consumer of the group {} already",
                member.group()
            )));
        }
        consumers.insert(member.group().to_owned(), Rc::clone(member));
        Ok(())
    }

    pub fn consumer(&self, group: &str) -> Option<Rc<Member>> {
        self.consumers.borrow().get(group).cloned()
    }

    pub async fn remove_consumer(&self, member: &Rc<Member>) {
        member.stop(&self.instance).await;
        let removed = self.consumers.borrow_mut().remove(member.group());
        if removed.is_some() {
            self.instance.unregister(None, Some(member.group())).await;
        }
    }

    async fn keep_offsets(self: Rc<Self>) {
        loop {
            tokio::time::sleep(self.instance.config.offset_interval).await;
            let consumers: Vec<_> = self.consumers.borrow().values().cloned().collect();
            for consumer in consumers {
                consumer.save_offsets(&self.instance).await;
            }
        }
    }
}

impl Members for Session {
    fn describe(&self, heartbeat: &mut HeartbeatData) {
        let consumers = self.consumers.borrow();
        heartbeat
            .consumer_data_set
            .extend(consumers.values().map(|member| member.data()));
        let producers = self.producers.borrow();
        heartbeat
            .producer_data_set
            .extend(producers.keys().map(|group| ProducerData {
                group_name: group.clone(),
            }));
    }
}
