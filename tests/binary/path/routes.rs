//! Routes, of one shard and of two.

use super::*;

#[test]
fn routes_are_there_as_soon_as_the_broker_is_ready() {
    let (_folder, broker) = start(&Options::small());
    let mut names = Client::connect(broker.namesrv);
    let template = names
        .route("TBW102")
        .expect("the template's route is there at once");
    assert_eq!(addresses(&template), [broker.addr().to_string()]);
    assert_eq!(template.queue_datas[0].write_queue_nums, 8);
    assert_eq!(names.route("Fresh"), None);

    Client::connect(broker.addr())
        .send(&send_to("Fresh", 3), b"first")
        .ok();
    wait_until("the new topic's route", || names.route("Fresh").is_some());
    assert_eq!(
        names.route("Fresh").expect("there").queue_datas[0].write_queue_nums,
        4
    );

    let (store, ports) = (broker.store.clone(), broker.ports());
    assert!(broker.terminate().success());
    let again = Broker::start(
        &store,
        &Options {
            ports: Some(ports),
            ..Options::small()
        },
    );
    let mut names = Client::connect(again.namesrv);
    let route = names
        .route("Fresh")
        .expect("the topic's route is there at once");
    assert_eq!(
        (addresses(&route), route.queue_datas[0].read_queue_nums),
        (vec![again.addr().to_string()], 4)
    );
}

#[test]
fn old_clients_get_a_route_that_they_can_read() {
    let (_folder, broker) = start(&Options::small());
    let ask = |version, codec| {
        let mut names = Client::with_codec(broker.namesrv, codec).of_version(version);
        let reply = names.ask(
            request::GET_ROUTEINFO_BY_TOPIC,
            &[("topic", Value::Str("TBW102"))],
            &[],
        );
        String::from_utf8(reply.ok().body).expect("text")
    };
    for codec in CODECS {
        assert!(ask(V4_9_4 - 1, codec).contains("{0:\"127.0.0.1:"));
        assert!(ask(V4_9_4, codec).contains("{\"0\":\"127.0.0.1:"));
    }
}

#[test]
fn two_shards_are_two_brokers_of_one_cluster() {
    let (_folder, broker) = start(&Options {
        cores: "0,0",
        ..Options::small()
    });
    let mut names = Client::connect(broker.namesrv);
    let second = SocketAddr::from(([127, 0, 0, 1], broker.port + 10));
    let template = names.route("TBW102").expect("a route");
    assert_eq!(
        addresses(&template),
        [broker.addr().to_string(), second.to_string()]
    );
    for addr in [broker.addr(), second] {
        Client::connect(addr)
            .send(&send_to("Both", 0), addr.to_string().as_bytes())
            .ok();
    }
    wait_until("both routes", || {
        names
            .route("Both")
            .is_some_and(|route| route.queue_datas.len() == 2)
    });
    let (store, ports) = (broker.store.clone(), broker.ports());
    assert!(broker.terminate().success());
    let options = Options {
        cores: "0,0",
        ports: Some(ports),
        config: SMALL,
        ..Options::default()
    };
    let _again = Broker::start(&store, &options);
    for addr in [SocketAddr::from(([127, 0, 0, 1], ports.0)), second] {
        let messages = Client::connect(addr).read_queue("Both", 0);
        assert_eq!(messages.len(), 1);
        assert_eq!(messages[0].body, addr.to_string().as_bytes());
    }
}

fn addresses(route: &TopicRouteData) -> Vec<String> {
    let mut addresses: Vec<_> = route
        .broker_datas
        .iter()
        .map(|broker| broker.broker_addrs[&0].clone())
        .collect();
    addresses.sort();
    addresses
}

/// A registration takes many turns. What its broker sends behind it waits for it, and so does another broker's registration.
#[test]
fn a_broker_that_unregisters_right_behind_its_registration_is_gone() {
    let (_folder, broker) = start(&Options::small());
    let topics = (0..3_000).map(|n| {
        let config = TopicConfig {
            topic_name: format!("Many{n}"),
            ..TopicConfig::default()
        };
        (config.topic_name.clone(), config)
    });
    let mut body = RegisterBrokerBody::default();
    body.topics.topic_config_table = topics.collect();
    let body = body.encode();
    let identity = |name, addr| {
        [
            ("brokerId", Value::I64(0)),
            ("clusterName", Value::Str("C")),
            ("brokerAddr", Value::Str(addr)),
            ("brokerName", Value::Str(name)),
            ("haServerAddr", Value::Str("")),
            ("compressed", Value::Bool(false)),
        ]
    };
    let mut other = Client::connect(broker.namesrv);
    let mut names = Client::connect(broker.namesrv);
    let (gone, there) = (
        identity("gone", "127.0.0.9:1"),
        identity("there", "127.0.0.9:2"),
    );
    names.post(request::REGISTER_BROKER, &gone, &body);
    names.post(request::UNREGISTER_BROKER, &gone, &[]);
    other.ask(request::REGISTER_BROKER, &there, &body).ok();
    for _ in 0..2 {
        names.receive().expect("an answer").ok();
    }
    let route = names.route("Many2999").expect("of the other broker");
    assert_eq!(addresses(&route), ["127.0.0.9:2"]);
    // What is registered over a connection goes with it, also during the registration.
    names.post(request::REGISTER_BROKER, &gone, &body);
    drop((names, other));
    wait_until("both brokers to be gone", || {
        Client::connect(broker.namesrv).route("Many2999").is_none()
    });
    let mut last = Client::connect(broker.namesrv);
    last.ask(request::REGISTER_BROKER, &there, &body).ok();
    assert_eq!(
        addresses(&last.route("Many0").expect("there")),
        ["127.0.0.9:2"]
    );
}
