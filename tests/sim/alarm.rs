//! What the shards of one process tell each other: that the device has failed.

use std::cell::RefCell;
use std::rc::Rc;

use ringmq::io::Notify;
use ringmq::reactor::Neighbours;

/// As the process has one for each shard.
#[derive(Default)]
struct Alarm {
    reason: RefCell<Option<String>>,
    bell: Notify,
}

impl Alarm {
    fn raise(&self, reason: &str) {
        self.reason.replace(Some(reason.to_owned()));
        self.bell.notify();
    }
}

/// Two shards whose stores are on one device.
pub fn linked() -> [Neighbours; 2] {
    let [one, other]: [Rc<Alarm>; 2] = Default::default();
    [neighbours(&one, &other), neighbours(&other, &one)]
}

fn neighbours(own: &Rc<Alarm>, other: &Rc<Alarm>) -> Neighbours {
    let (own, other) = (own.clone(), other.clone());
    Neighbours {
        announce: Box::new(move |reason| other.raise(reason)),
        announced: Box::pin(async move {
            own.bell.notified().await;
            own.reason.take().unwrap()
        }),
        ..Neighbours::none()
    }
}
