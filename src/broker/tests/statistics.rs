//! Counters by name and key (315).

use super::*;
use crate::store::QueueIndex;
use crate::wire::codes::request;

fn view(broker: &mut Broker, fields: &[(&str, &str)]) -> Reply {
    ask(broker, request::VIEW_BROKER_STATS_DATA, fields, "")
}

#[test]
fn statistics_are_asked_by_name_and_key() {
    let mut broker = broker();
    broker.stored("T", None, 20, 2000, 0);
    let mut view = |fields: &[(&str, &str)]| view(&mut broker, fields);
    let reply = view(&[("statsName", "TOPIC_PUT_NUMS"), ("statsKey", "T")]);
    let text = r#"{"statsDay":{"avgpt":20.0,"sum":20,"tps":0.005555555555555556},"statsHour":{"avgpt":20.0,"sum":20,"tps":0.03333333333333333},"statsMinute":{"avgpt":20.0,"sum":20,"tps":2.0}}"#;
    assert_eq!(body(&reply), text);
    assert_eq!(
        view(&[("statsName", "TOPIC_PUT_NUMS"), ("statsKey", "U")]).code,
        1
    );
    assert_eq!(view(&[("statsName", "NOTHING"), ("statsKey", "T")]).code, 1);
    assert_eq!(view(&[("statsName", "TOPIC_PUT_NUMS")]).code, 1);
}

#[test]
fn the_latency_of_sends_is_asked_by_queue_and_topic() {
    let mut broker = broker();
    let latency = |broker: &mut Broker, key| {
        let reply = view(
            broker,
            &[("statsName", "TOPIC_PUT_LATENCY"), ("statsKey", key)],
        );
        (reply.code == 0).then(|| body(&reply).to_owned())
    };
    let queue = QueueIndex(7);
    broker.remember_queue("T", 1, queue);
    assert_eq!(latency(&mut broker, "1@T"), None, "nothing was sent yet");
    broker.append_took(Some(queue), 3, 0);
    broker.append_took(Some(queue), 6, 0);
    broker.append_took(None, 100, 0);
    let text = r#"{"statsDay":{"avgpt":4.5,"sum":9,"#;
    let said = latency(&mut broker, "1@T").unwrap();
    assert!(said.starts_with(text), "{said}");
    for key in ["0@T", "1@U", "T", "x@T", "@", ""] {
        assert_eq!(latency(&mut broker, key), None, "{key}");
    }
    let deleted = ask(
        &mut broker,
        request::DELETE_TOPIC_IN_BROKER,
        &[("topic", "T")],
        "",
    );
    assert_eq!(deleted.code, 0);
    broker.append_took(Some(queue), 3, 0);
    broker.adopt_topic("T", 4, 0);
    broker.remember_queue("T", 1, QueueIndex(8));
    assert_eq!(latency(&mut broker, "1@T"), None, "that was another topic");
}
