//! The routes that a client knows: asked for once, and again from time to time. What was known stays when a name server knows
//! nothing any more or cannot be reached.
//!
//! Source: `MQClientInstance.updateTopicRouteInfoFromNameServer`.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use tokio::task::spawn_local;

use super::ClientError;
use super::instance::Instance;
use super::route::{RoutedQueue, TopicRoute};

#[derive(Default)]
pub struct Routes {
    known: RefCell<BTreeMap<String, Rc<Routed>>>,
    /// Of topics that did not exist when they were first sent to: where they may come to be.
    stand_ins: RefCell<BTreeMap<String, Rc<Routed>>>,
}

/// A topic's route with what is made of it again and again.
#[derive(Debug, Default)]
pub struct Routed {
    pub route: TopicRoute,
    /// In the order in which a producer walks round them.
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

impl Instance {
    /// The topic's route, if it is known or the name server knows it.
    pub async fn route(&self, topic: &str) -> Result<Option<Rc<Routed>>, ClientError> {
        if let Some(known) = self.routes.known.borrow().get(topic) {
            return Ok(Some(Rc::clone(known)));
        }
        let route = self.names.route(topic).await?;
        Ok(route.map(|route| self.keep_route(topic, route)))
    }

    /// The topic's route; for one that does not exist yet, that of the brokers which would make it.
    pub async fn route_to_send(&self, topic: &str) -> Result<Rc<Routed>, ClientError> {
        if let Some(known) = self.routes.stand_ins.borrow().get(topic) {
            return Ok(Rc::clone(known));
        }
        if let Some(route) = self.route(topic).await? {
            return Ok(route);
        }
        let no_route = || ClientError::NoRoute {
            topic: topic.to_owned(),
            names: self.names.to_string(),
        };
        let route = self.names.route_of_stand_in().await?.ok_or_else(no_route)?;
        let routed = Rc::new(Routed::from(route));
        self.routes
            .stand_ins
            .borrow_mut()
            .insert(topic.to_owned(), Rc::clone(&routed));
        Ok(routed)
    }

    /// The first message has made the topic, and its route is known soon.
    pub fn topic_may_exist(self: &Rc<Self>, topic: &str) {
        if self.routes.stand_ins.borrow().contains_key(topic) {
            let (instance, topic) = (Rc::clone(self), topic.to_owned());
            spawn_local(async move { instance.refresh_route(&topic).await });
        }
    }

    /// Asks anew; what is known stays if there is no answer.
    pub async fn refresh_route(&self, topic: &str) {
        match self.names.route(topic).await {
            Ok(Some(route)) => {
                self.keep_route(topic, route);
            }
            Ok(None) => {}
            Err(error) => tracing::warn!("the route of {topic} stays as it was: {error}"),
        }
    }

    /// The address of a broker's master.
    pub fn broker_addr(&self, broker_name: &str) -> Option<String> {
        let (routes, stand_ins) = (self.routes.known.borrow(), self.routes.stand_ins.borrow());
        let mut masters = masters(&routes).chain(masters(&stand_ins));
        let (_, addr) = masters.find(|(name, _)| *name == broker_name)?;
        Some(addr.to_owned())
    }

    fn keep_route(&self, topic: &str, route: TopicRoute) -> Rc<Routed> {
        let routed = Rc::new(Routed::from(route));
        self.routes.stand_ins.borrow_mut().remove(topic);
        self.routes
            .known
            .borrow_mut()
            .insert(topic.to_owned(), Rc::clone(&routed));
        routed
    }

    pub async fn keep_routes(self: Rc<Self>) {
        loop {
            tokio::time::sleep(self.config.route_interval).await;
            let mut topics: Vec<_> = self.routes.known.borrow().keys().cloned().collect();
            topics.extend(self.routes.stand_ins.borrow().keys().cloned());
            for topic in topics {
                self.refresh_route(&topic).await;
            }
        }
    }

    pub fn broker_addrs(&self) -> BTreeSet<String> {
        let (routes, stand_ins) = (self.routes.known.borrow(), self.routes.stand_ins.borrow());
        masters(&routes)
            .chain(masters(&stand_ins))
            .map(|(_, addr)| addr.to_owned())
            .collect()
    }
}

fn masters(routes: &BTreeMap<String, Rc<Routed>>) -> impl Iterator<Item = (&str, &str)> {
    routes.values().flat_map(|routed| routed.route.masters())
}
