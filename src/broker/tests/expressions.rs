//! SQL92 expressions of heartbeats.

use std::rc::Rc;

use super::pulls::{broker_for_sql, record, request};
use super::*;
use crate::broker::PropertyFilter;
use crate::broker::sql92::Selector;
use crate::wire::pull::PullRequest;

#[test]
fn expressions_of_the_heartbeat() {
    let mut broker = broker_for_sql();
    let pull = PullRequest {
        sys_flag: 0,
        subscription: None,
        sub_version: 1,
        ..request()
    };
    let mut data = consumer("g", "T", "a > 1");
    let mut beat =
        |broker: &mut Broker, expression: &str, version| -> Result<Rc<Selector>, Refusal> {
            let subscription = &mut data.subscription_data_set[0];
            subscription.expression_type = "SQL92".into();
            subscription.sub_string = expression.into();
            subscription.sub_version = version;
            broker
                .clients
                .register_consumer(&data, true, "c", &peer(1), 0);
            match broker.admit_pull(&pull, false, 0)?.properties {
                Some(PropertyFilter::Selector(selector)) => Ok(selector),
                other => panic!("{other:?}"),
            }
        };
    let first = beat(&mut broker, "a > 1", 1).unwrap();
    let renewed = beat(&mut broker, "a > 1", 2).unwrap();
    assert!(Rc::ptr_eq(&first, &renewed), "not parsed again");
    let other = beat(&mut broker, "a > 2", 3).unwrap();
    let mut effort = Effort::of_a_look();
    assert!(other.matches(b"a\x013\x02", &mut effort));
    assert!(!other.matches(b"a\x012\x02", &mut effort));
    let refusal = beat(&mut broker, "a >", 4).unwrap_err();
    assert_eq!(
        (refusal.code, &*refusal.remark),
        (
            27,
            "The broker's consumer filter data is not exist!Your expression may be wrong!"
        )
    );
    assert_eq!(
        beat(&mut broker, "a > 1", 3).unwrap_err().code,
        27,
        "an older one"
    );
    beat(&mut broker, "a > 1", 5).unwrap();
    broker.config.property_filter = false;
    assert_eq!(beat(&mut broker, "a > 1", 5).unwrap_err().code, 1);
}

#[test]
fn a_retry_topic_is_filtered_as_the_topics_before_it() {
    let mut broker = broker_for_sql();
    broker.topics.put(topic("%RETRY%g", 1), 0);
    let mut data = consumer("g", "T", "a > 1");
    data.subscription_data_set[0].expression_type = "SQL92".into();
    let mut retry = data.subscription_data_set[0].clone();
    retry.topic = "%RETRY%g".into();
    retry.sub_string = "a > 100".into();
    data.subscription_data_set.push(retry);
    broker
        .clients
        .register_consumer(&data, true, "c", &peer(1), 0);
    let pull = PullRequest {
        topic: "%RETRY%g",
        queue_id: 0,
        sys_flag: 0,
        subscription: None,
        ..request()
    };
    let passes = |broker: &mut Broker, properties: &[(&str, &str)]| {
        let filter = broker.admit_pull(&pull, false, 0).unwrap().properties;
        let filter = filter.unwrap();
        filter.matches(&record(properties), &mut Effort::of_a_look())
    };
    assert!(!passes(&mut broker, &[("RETRY_TOPIC", "T"), ("a", "2")]));
    assert!(passes(&mut broker, &[("RETRY_TOPIC", "T"), ("a", "101")]));
    broker.config.filter_support_retry = true;
    assert!(passes(&mut broker, &[("RETRY_TOPIC", "T"), ("a", "2")]));
    assert!(!passes(&mut broker, &[("RETRY_TOPIC", "T"), ("a", "1")]));
    assert!(
        passes(&mut broker, &[("RETRY_TOPIC", "U"), ("a", "1")]),
        "not filtered there"
    );
    assert!(passes(&mut broker, &[("a", "1")]));
}
