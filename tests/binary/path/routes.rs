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
