//! The routes that a client knows: queried once, and refreshed periodically. A known route is kept when the name server has none any
//! more or cannot be reached.
//!
//! Source: `MQClientInstance.updateTopicRouteInfoFromNameServer`.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::ClientError;
use super::route::{NameServer, RoutedQueue, TopicRoute};

pub struct Routes {
    names: NameServer,
    known: RefCell<BTreeMap<String, Rc<Routed>>>,
    /// Of topics that did not exist when they were first sent to: where they may come to be.
    stand_ins: RefCell<BTreeMap<String, Rc<Routed>>>,
}

/// A topic's route with what is derived from it.
#[derive(Debug, Default)]
pub struct Routed {
    pub route: TopicRoute,
    /// In the order in which a producer uses them in turn.
    pub to_send: Vec<RoutedQueue>,
    pub to_pull: Vec<RoutedQueue>,
}

impl From<TopicRoute> for Routed {
    fn from(route: TopicRoute) -> Self {
        Self {
            to_send: route.queues_to_send(),
            to_pull: route.queues_to_pull(),
            route,
        }
    }
}

impl Routes {
    pub fn new(names: NameServer) -> Self {
        Self {
            names,
            known: RefCell::default(),
            stand_ins: RefCell::default(),
        }
    }

    /// The topic's route, if it is known or the name server has it.
    pub async fn route(&self, topic: &str) -> Result<Option<Rc<Routed>>, ClientError> {
        if let Some(known) = self.known.borrow().get(topic) {
            return Ok(Some(Rc::clone(known)));
        }
        let route = self.names.route(topic).await?;
        Ok(route.map(|route| self.keep(topic, route)))
    }

    /// The topic's route; for one that does not exist yet, that of the brokers which would make it.
    pub async fn route_to_send(&self, topic: &str) -> Result<Rc<Routed>, ClientError> {
        if let Some(known) = self.stand_ins.borrow().get(topic) {
            return Ok(Rc::clone(known));
        }
        if let Some(route) = self.route(topic).await? {
            return Ok(route);
        }
        let no_route = || ClientError::NoRoute {
            topic: topic.to_owned(),
            names: self.name_servers(),
        };
        let route = self.names.route_of_stand_in().await?.ok_or_else(no_route)?;
        let routed = Rc::new(Routed::from(route));
        self.stand_ins
            .borrow_mut()
            .insert(topic.to_owned(), Rc::clone(&routed));
        Ok(routed)
    }

    /// Queries the name server again.
    pub async fn refresh(&self, topic: &str) -> Result<(), ClientError> {
        if let Some(route) = self.names.route(topic).await? {
            self.keep(topic, route);
        }
        Ok(())
    }

    fn keep(&self, topic: &str, route: TopicRoute) -> Rc<Routed> {
        let routed = Rc::new(Routed::from(route));
        self.stand_ins.borrow_mut().remove(topic);
        self.known
            .borrow_mut()
            .insert(topic.to_owned(), Rc::clone(&routed));
        routed
    }

    pub fn has_stand_in(&self, topic: &str) -> bool {
        self.stand_ins.borrow().contains_key(topic)
    }

    /// All topics whose routes were queried.
    pub fn topics(&self) -> Vec<String> {
        let (known, stand_ins) = (self.known.borrow(), self.stand_ins.borrow());
        known.keys().chain(stand_ins.keys()).cloned().collect()
    }

    /// The address of a broker's master.
    pub fn broker_addr(&self, broker_name: &str) -> Option<String> {
        self.master(|name, addr| (name == broker_name).then(|| addr.to_owned()))
    }

    /// The name of the broker whose master has this address.
    pub fn broker_name(&self, broker_addr: &str) -> Option<String> {
        self.master(|name, addr| (addr == broker_addr).then(|| name.to_owned()))
    }

    pub fn broker_addrs(&self) -> BTreeSet<String> {
        let mut addrs = BTreeSet::new();
        self.master(|_, addr| {
            addrs.insert(addr.to_owned());
            None::<()>
        });
        addrs
    }

    /// The addresses of the name servers.
    pub fn name_servers(&self) -> String {
        self.names.to_string()
    }

    /// The first of all masters, by name and address, for which there is something.
    fn master<T>(&self, mut wanted: impl FnMut(&str, &str) -> Option<T>) -> Option<T> {
        let (known, stand_ins) = (self.known.borrow(), self.stand_ins.borrow());
        let mut masters = known
            .values()
            .chain(stand_ins.values())
            .flat_map(|routed| routed.route.masters());
        masters.find_map(|(name, addr)| wanted(name, addr))
    }
}
