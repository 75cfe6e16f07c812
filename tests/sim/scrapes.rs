//! Protects the figures of a shard that need its disk and its clock: how long stages take, on virtual time.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ringmq::broker::metrics::{KnownTimes, Scrape};
use ringmq::io::{Notify, Spawn};
use ringmq::metrics::{NodeLabels, Section};
use ringmq::reactor::metrics::{ScrapeRequest, Scraped, Scrapes};
use ringmq::reactor::{self, Neighbours};
use ringmq::sim::{Fault, Op, Rule};
use ringmq::store::Flush;
use ringmq::wire::codes::{request, response};

use crate::client::Client;
use crate::cluster::Cluster;
use crate::requests;

const STALL_MS: u64 = 40;

/// Questions to the shard.
#[derive(Default)]
struct Desk {
    questions: RefCell<VecDeque<ScrapeRequest>>,
    bell: Notify,
}

impl Desk {
    fn scrapes(self: &Rc<Self>) -> Scrapes {
        let desk = self.clone();
        Scrapes {
            next: Box::new(move || {
                let desk = desk.clone();
                Box::pin(async move {
                    loop {
                        let next = desk.questions.borrow_mut().pop_front();
                        match next {
                            Some(question) => return question,
                            None => desk.bell.notified().await,
                        }
                    }
                })
            }),
        }
    }

    async fn ask(&self, scrape: Box<Scrape>) -> Scraped {
        let answered = Rc::new((Cell::new(None), Notify::default()));
        let of_shard = answered.clone();
        let answer = Box::new(move |scraped| {
            of_shard.0.set(Some(scraped));
            of_shard.1.notify();
        });
        let question = ScrapeRequest { scrape, answer };
        self.questions.borrow_mut().push_back(question);
        self.bell.notify();
        answered.1.notified().await;
        answered.0.take().expect("it was answered")
    }

    /// All samples of a section.
    async fn scrape(&self, section: Section) -> String {
        let node = Arc::new(NodeLabels::new("c", "b", "broker", &[]));
        let mut scrape = Box::new(Scrape::new(section, node, KnownTimes::new()));
        let mut text = String::new();
        loop {
            let mut scraped = self.ask(scrape).await;
            scraped
                .scrape
                .take_texts()
                .for_each(|(_, more)| text.push_str(&more));
            if scraped.is_done {
                return text;
            }
            scrape = scraped.scrape;
        }
    }
}

/// Starts the cluster's broker, which answers at this desk.
async fn start(cluster: &Cluster, desk: &Rc<Desk>) {
    let (io, setup) = (cluster.broker(), cluster.setup());
    let neighbours = Neighbours {
        scrapes: Some(desk.scrapes()),
        ..Neighbours::none()
    };
    let serves = Rc::new(Cell::new(false));
    let is_ready = serves.clone();
    io.clone().spawn("broker", async move {
        let ready = move |_| is_ready.set(true);
        let (stop, bound, watch) = (std::future::pending(), async || {}, |_| {});
        let served = reactor::run_watched(io, setup, stop, bound, ready, watch, neighbours);
        served.await.expect("the shard ends");
    });
    while !serves.get() {
        cluster.sleep_ms(1).await;
    }
}

fn value(text: &str, sample: &str) -> f64 {
    let line = text.lines().find(|line| line.starts_with(sample));
    let line = line.unwrap_or_else(|| panic!("{sample} is not in\n{text}"));
    let (_, value) = line.rsplit_once(' ').expect("a value");
    value.parse().expect("a number")
}

async fn send(client: &mut Client, topic: &str) {
    let fields = requests::send_to(topic, "");
    let code = request::SEND_MESSAGE_V2;
    let reply = client.call(code, &fields.ext(), b"m").await.unwrap();
    assert_eq!(reply.code, response::SUCCESS, "{reply:?}");
}

#[test]
fn the_times_of_a_slow_disk_are_in_the_figures() {
    let cluster = Cluster::new(1, Flush::Sync);
    let desk = Rc::new(Desk::default());
    cluster.sim.run(async {
        start(&cluster, &desk).await;
        let mut client = cluster.client("client").await;
        requests::make_topic(&mut client, "T").await;
        send(&mut client, "T").await;
        let before = desk.scrape(Section::Shard).await;
        let stall = Fault::Stall(Duration::from_millis(STALL_MS));
        let io = cluster.broker();
        io.inject(Rule::new(stall).of(Op::Write).on("/commitlog/"));
        send(&mut client, "T").await;
        io.heal();
        let after = desk.scrape(Section::Shard).await;
        for name in ["ringmq_log_write_seconds_sum", "ringmq_send_seconds_sum"] {
            let grown = value(&after, name) - value(&before, name);
            assert!(
                grown >= STALL_MS as f64 / 1_000.0,
                "{name} has grown by {grown}"
            );
        }
        let sends = |text| value(text, "ringmq_send_seconds_count");
        assert_eq!((sends(&before), sends(&after)), (1.0, 2.0));

        let requests = desk.scrape(Section::Requests).await;
        let slow = requests.lines().find(|line| {
            line.starts_with("rocketmq_rpc_latency_milliseconds_sum")
                && line.contains("send_message_v2")
        });
        let slow = slow.expect("sends are counted");
        assert!(value(slow, "rocketmq") >= STALL_MS as f64, "{slow}");
        assert!(requests.contains("request_code=\"update_and_create_topic\""));
        let topics = desk.scrape(Section::MessagesIn).await;
        assert_eq!(value(&topics, "rocketmq_messages_in_total"), 2.0);
    });
}
