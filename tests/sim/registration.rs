//! What a name server is told, by one that notes it.

use std::cell::{Cell, RefCell};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use ringmq::io::{Listener, Net, Notify, Spawn, Stream};
use ringmq::reactor::{self, ShardSetup};
use ringmq::sim::SimIo;
use ringmq::store::Flush;
use ringmq::wire::codes::request;
use ringmq::wire::register::RegisterBrokerBody;
use ringmq::wire::topic::{TopicConfig, TopicConfigList, TopicRequest};
use ringmq::wire::{CURRENT_VERSION, Codec, Head, Scratch, Value, frame, header, loose_json};

use crate::client::{Client, sleep};
use crate::cluster::Cluster;
use crate::requests;

const PORT: u16 = 9999;

/// A name server that notes what it is told, and knows nothing.
#[derive(Default)]
struct Notes {
    told: RefCell<Vec<Told>>,
    /// How long it takes to answer.
    takes: Duration,
    /// The reply to GET_NAMESRV_CONFIG.
    config: &'static str,
    /// Whether it says that it knows the version it is asked about.
    knows: bool,
}

struct Told {
    code: i32,
    topic: Option<String>,
    body: Vec<u8>,
}

impl Notes {
    fn count(&self, code: i32) -> usize {
        let told = self.told.borrow();
        told.iter().filter(|told| told.code == code).count()
    }

    fn registrations(&self) -> Vec<RegisterBrokerBody> {
        let told = self.told.borrow();
        let bodies = told
            .iter()
            .filter(|told| told.code == request::REGISTER_BROKER);
        let decoded = bodies.map(|told| RegisterBrokerBody::decode(&told.body, CURRENT_VERSION));
        decoded.map(Result::unwrap).collect()
    }

    fn forget(&self) {
        self.told.borrow_mut().clear();
    }
}

fn begin(io: &SimIo, notes: Rc<Notes>) {
    let listener = io
        .listen(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), PORT))
        .unwrap();
    let io_of_server = io.clone();
    io.spawn("names", async move {
        while let Ok(stream) = listener.accept().await {
            io_of_server.spawn("names", serve(io_of_server.clone(), stream, notes.clone()));
        }
    });
}

async fn serve(io: SimIo, stream: impl Stream, notes: Rc<Notes>) {
    let (mut received, mut scratch) = (Vec::new(), Scratch::default());
    while let Ok(chunk) = stream.recv().await {
        if chunk.is_empty() {
            return;
        }
        received.extend_from_slice(&chunk);
        while let Some(asked) = frame::split(&received).unwrap() {
            let header = header::decode(&asked, &mut scratch).unwrap();
            let (code, opaque) = (header.code, header.opaque);
            notes.told.borrow_mut().push(Told {
                code,
                topic: header.ext.find("topic").map(str::to_owned),
                body: asked.body.to_vec(),
            });
            let len = asked.len;
            received.drain(..len);
            sleep(&io, notes.takes).await;
            let head = Head::reply(Codec::Json, 0, opaque);
            let changed = [("changed", Value::Bool(!notes.knows))];
            let (ext, body) = match code {
                request::QUERY_DATA_VERSION => (&changed[..], &b"{}"[..]),
                request::GET_NAMESRV_CONFIG => (&[][..], notes.config.as_bytes()),
                _ => (&[][..], &[][..]),
            };
            let mut out = Vec::new();
            frame::write(&mut out, &head, ext, body);
            if stream.send(out).await.0.is_err() {
                return;
            }
        }
    }
}

fn noting(setup: &mut ShardSetup) {
    setup.namesrv = vec![SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORT).into()];
}

fn on_a_cluster(notes: Notes, test: impl AsyncFnOnce(&Cluster, &Notes)) {
    let cluster = Cluster::new(1, Flush::Sync);
    cluster.sim.run(async {
        let notes = Rc::new(notes);
        begin(&cluster.broker(), notes.clone());
        cluster.limits.set(noting);
        test(&cluster, &notes).await;
    });
}

async fn create_many(admin: &mut Client, count: usize) {
    let configs = (0..count).map(|number| TopicConfig {
        topic_name: format!("topic-{number:05}"),
        ..TopicConfig::default()
    });
    let list = TopicConfigList {
        topic_config_list: configs.collect(),
    };
    let code = request::UPDATE_AND_CREATE_TOPIC_LIST;
    let reply = admin
        .call(code, &[], &loose_json::to_vec(&list))
        .await
        .unwrap();
    assert!(reply.is_success(), "{reply:?}");
}

#[test]
fn what_changes_while_everything_is_told_is_told_next() {
    let slow = Notes {
        takes: Duration::from_secs(2),
        ..Notes::default()
    };
    on_a_cluster(slow, async |cluster, notes| {
        cluster.start_for(1_000_000_000).await;
        assert_eq!(
            notes.count(request::REGISTER_BROKER),
            1,
            "it is being answered"
        );
        let mut admin = cluster.client("admin").await;
        let settings = b"brokerPermission=4";
        let code = request::UPDATE_BROKER_CONFIG;
        let reply = admin.call(code, &[], settings).await.unwrap();
        assert!(reply.is_success(), "{reply:?}");
        cluster.sleep_ms(3_000).await;
        let registrations = notes.registrations();
        assert_eq!(registrations.len(), 2);
        let perms = registrations.iter().map(|body| {
            let mut configs = body.topics.topic_config_table.values();
            configs.any(|config| config.perm & 2 != 0)
        });
        assert_eq!(perms.collect::<Vec<_>>(), [true, false]);
    });
}

#[test]
fn a_name_server_is_asked_what_it_knows() {
    let knowing = Notes {
        knows: true,
        ..Notes::default()
    };
    on_a_cluster(knowing, async |cluster, notes| {
        cluster.start().await;
        assert_eq!(notes.count(request::REGISTER_BROKER), 1);
        notes.forget();
        cluster.sleep_ms(125_000).await;
        assert_eq!(notes.count(request::QUERY_DATA_VERSION), 4);
        assert_eq!(notes.count(request::REGISTER_BROKER), 0);
        let mut admin = cluster.client("admin").await;
        requests::make_topic(&mut admin, "one").await;
        cluster.sleep_ms(100).await;
        let topics: Vec<_> = notes
            .told
            .borrow()
            .iter()
            .filter_map(|told| told.topic.clone())
            .collect();
        assert_eq!(topics, ["one"]);
        assert_eq!(notes.count(request::REGISTER_BROKER), 0);
        let fields = TopicRequest { topic: "one" };
        let code = request::DELETE_TOPIC_IN_BROKER;
        assert!(
            admin
                .call(code, &fields.ext(), &[])
                .await
                .unwrap()
                .is_success()
        );
        cluster.sleep_ms(1_000).await;
        assert_eq!(
            notes.count(request::REGISTER_BROKER),
            1,
            "it may forget the topic"
        );
        notes.forget();
        cluster.stop().await;
        let codes: Vec<_> = notes.told.borrow().iter().map(|told| told.code).collect();
        assert_eq!(codes, [request::UNREGISTER_BROKER], "and nothing else");
    });
}

#[test]
fn a_shard_whose_neighbour_cannot_start_neither_registers_nor_unregisters() {
    on_a_cluster(Notes::default(), async |cluster, notes| {
        let (io, setup) = (cluster.broker(), cluster.setup());
        let (stop, ended) = (Rc::new(Notify::default()), Rc::new(Cell::new(false)));
        let (to_stop, at_end) = (stop.clone(), ended.clone());
        io.clone().spawn("broker", async move {
            let bound = async || std::future::pending().await;
            let ready = |_| panic!("it waits for its neighbour");
            let (stop, watch, alone) = (to_stop.notified(), |_| {}, reactor::Neighbours::none());
            let served = reactor::run_watched(io, setup, stop, bound, ready, watch, alone);
            assert!(served.await.is_ok());
            at_end.set(true);
        });
        cluster.sleep_ms(5_000).await;
        stop.notify();
        cluster.sleep_ms(5_000).await;
        assert!(ended.get());
        assert!(notes.told.borrow().is_empty());
    });
}

#[test]
fn very_many_topics_are_told_in_parts_with_a_version_each() {
    for forgets in [false, true] {
        let notes = Notes {
            config: match forgets {
                true => "x=1\ndeleteTopicWithBrokerRegistration=true\n",
                false => "deleteTopicWithBrokerRegistration=false\n",
            },
            ..Notes::default()
        };
        on_a_cluster(notes, async |cluster, notes| {
            cluster.start().await;
            let mut admin = cluster.client("admin").await;
            create_many(&mut admin, 2_000).await;
            cluster.sleep_ms(31_000).await;
            notes.forget();
            cluster.sleep_ms(30_000).await;
            let parts = notes.registrations();
            let sizes: Vec<_> = parts
                .iter()
                .map(|part| part.topics.topic_config_table.len())
                .collect();
            assert!(sizes.iter().sum::<usize>() > 2_000, "{sizes:?}");
            assert_eq!(sizes.len(), if forgets { 1 } else { 3 }, "{sizes:?}");
            let versions: Vec<_> = parts.iter().map(|part| part.topics.data_version).collect();
            assert!(
                versions.windows(2).all(|two| two[0] != two[1]),
                "{versions:?}"
            );
        });
    }
}
