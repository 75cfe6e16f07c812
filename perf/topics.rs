//! What many topics cost; `topics.sh` runs it against two brokers of the same build:
//!
//! ```text
//! topics NAMESRV MANY FEW TOPICS QUEUES ROUNDS SECONDS
//! ```
//! MANY gets TOPICS topics of QUEUES queues, FEW one topic of ten queues. Then requests that grow with the number of topics are
//! timed at MANY and its name server, and sends over all queues of each broker, in alternation.

mod caller;
mod message;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use caller::{Caller, Result};
use hdrhistogram::Histogram;
use ringmq::wire::Value;
use ringmq::wire::codes::{request, response};
use ringmq::wire::heartbeat::{ConsumerData, HeartbeatData, SubscriptionData};
use ringmq::wire::loose_json;
use ringmq::wire::route::RouteRequest;
use ringmq::wire::topic::{TopicConfig, TopicConfigList};

/// Topics made with one request.
const BATCH: usize = 500;

const SUBSCRIPTIONS: usize = 1_000;

/// Repetitions of each request that is timed.
const REPEATS: usize = 20;

/// Producers, each with one message in flight.
const PRODUCERS: usize = 16;

const FEW_QUEUES: usize = 10;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("topics: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [namesrv, many, few, topics, queues, rounds, seconds] = args.as_slice() else {
        return Err("NAMESRV MANY FEW TOPICS QUEUES ROUNDS SECONDS".into());
    };
    let (namesrv, many, few): (SocketAddr, SocketAddr, SocketAddr) =
        (namesrv.parse()?, many.parse()?, few.parse()?);
    let (topics, queues): (usize, usize) = (topics.parse()?, queues.parse()?);
    let (rounds, seconds): (usize, u64) = (rounds.parse()?, seconds.parse()?);

    let started = Instant::now();
    make(many, topics, queues)?;
    println!(
        "{topics} topics of {queues} queues made in {} ms",
        started.elapsed().as_millis()
    );
    make(few, 1, FEW_QUEUES)?;
    let registered = Instant::now();
    while !has_route(namesrv, &topic(topics - 1))? {
        std::thread::sleep(Duration::from_millis(10));
    }
    println!(
        "the last one has a route {} ms later\n",
        registered.elapsed().as_millis()
    );
    tables(namesrv, many, topics)?;

    println!(
        "\n{:<8}{:>14}{:>12}{:>12}{:>14}{:>12}{:>12}",
        "round", "few msg/s", "p50 us", "p99 us", "many msg/s", "p50 us", "p99 us"
    );
    let time = Duration::from_secs(seconds);
    // Every queue has an entry before anything is measured.
    send(many, topics, queues, time)?;
    for round in 1..=rounds {
        let few_first = round % 2 == 1;
        let mut halves = [None, None];
        for is_few in [few_first, !few_first] {
            let histogram = match is_few {
                true => send(few, 1, FEW_QUEUES, time)?,
                false => send(many, topics, queues, time)?,
            };
            halves[usize::from(!is_few)] = Some(histogram);
        }
        let mut row = format!("{round:<8}");
        for histogram in halves.iter().flatten() {
            let rate = histogram.len() / seconds;
            row += &format!("{rate:>14}");
            for quantile in [0.5, 0.99] {
                row += &format!("{:>12}", histogram.value_at_quantile(quantile));
            }
        }
        println!("{row}");
    }
    Ok(())
}

fn topic(number: usize) -> String {
    format!("perf-topics-{number:06}")
}

fn make(broker: SocketAddr, topics: usize, queues: usize) -> Result<()> {
    let mut caller = Caller::connect(broker)?;
    let all: Vec<_> = (0..topics)
        .map(|number| TopicConfig {
            topic_name: topic(number),
            read_queue_nums: queues as i32,
            write_queue_nums: queues as i32,
            ..TopicConfig::default()
        })
        .collect();
    for some in all.chunks(BATCH) {
        let body = loose_json::to_vec(&TopicConfigList {
            topic_config_list: some.to_vec(),
        });
        let (code, answer) = caller.ask(request::UPDATE_AND_CREATE_TOPIC_LIST, &[], &body)?;
        if code != response::SUCCESS {
            return Err(format!(
                "topics were not made: {code} {}",
                String::from_utf8_lossy(answer)
            )
            .into());
        }
    }
    Ok(())
}

fn route_request(topic: &str) -> RouteRequest<'_> {
    RouteRequest {
        topic,
        accept_standard_json_only: true,
    }
}

fn has_route(namesrv: SocketAddr, topic: &str) -> Result<bool> {
    let request = route_request(topic);
    let mut caller = Caller::connect(namesrv)?;
    let (code, _) = caller.ask(request::GET_ROUTEINFO_BY_TOPIC, &request.ext(), &[])?;
    Ok(code == response::SUCCESS)
}

/// The requests whose answers or questions grow.
fn tables(namesrv: SocketAddr, broker: SocketAddr, topics: usize) -> Result<()> {
    println!(
        "{:<44}{:>10}{:>10}{:>14}",
        "request", "p50 ms", "max ms", "answer bytes"
    );
    let name = topic(topics / 2);
    let route = route_request(&name);
    let route = route.ext();
    time(
        "route of a topic",
        namesrv,
        request::GET_ROUTEINFO_BY_TOPIC,
        &route,
        &[],
    )?;
    let list = request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER;
    time("topicList (206, name server)", namesrv, list, &[], &[])?;
    time(
        "all topic configs (21, broker)",
        broker,
        request::GET_ALL_TOPIC_CONFIG,
        &[],
        &[],
    )?;
    let heartbeat = loose_json::to_vec(&heartbeat(topics.min(SUBSCRIPTIONS)));
    time(
        "heartbeat of 1,000 subscriptions",
        broker,
        request::HEART_BEAT,
        &[],
        &heartbeat,
    )?;
    Ok(())
}

fn heartbeat(topics: usize) -> HeartbeatData {
    let subscription_data_set = (0..topics)
        .map(|number| SubscriptionData {
            topic: topic(number),
            sub_string: "*".into(),
            sub_version: 1,
            expression_type: "TAG".into(),
            ..SubscriptionData::default()
        })
        .collect();
    HeartbeatData {
        client_id: "perf-topics".into(),
        consumer_data_set: vec![ConsumerData {
            group_name: "perf-topics".into(),
            subscription_data_set,
            ..ConsumerData::default()
        }],
        ..HeartbeatData::default()
    }
}

fn time(
    what: &str,
    addr: SocketAddr,
    code: i32,
    ext: &[(&str, Value<'_>)],
    body: &[u8],
) -> Result<()> {
    let mut caller = Caller::connect(addr)?;
    let (mut times_ms, mut bytes) = (Vec::new(), 0);
    for _ in 0..REPEATS {
        let started = Instant::now();
        let (code, answer) = caller.ask(code, ext, body)?;
        times_ms.push(started.elapsed().as_secs_f64() * 1e3);
        bytes = answer.len();
        if code != response::SUCCESS {
            return Err(format!("{what}: answered with {code}").into());
        }
    }
    times_ms.sort_by(f64::total_cmp);
    let (p50, max) = (times_ms[REPEATS / 2], times_ms[REPEATS - 1]);
    println!("{what:<44}{p50:>10.2}{max:>10.2}{bytes:>14}");
    Ok(())
}

/// Sends for so long to all queues of all topics in turn; the latencies in us.
fn send(
    broker: SocketAddr,
    topics: usize,
    queues: usize,
    time: Duration,
) -> Result<Histogram<u64>> {
    let producers: Vec<_> = (0..PRODUCERS)
        .map(|producer| std::thread::spawn(move || produce(broker, producer, topics, queues, time)))
        .collect();
    let mut all = Histogram::new(3)?;
    for producer in producers {
        let histogram = producer.join().map_err(|_| "a producer has panicked")??;
        all.add(histogram)?;
    }
    Ok(all)
}

fn produce(
    broker: SocketAddr,
    producer: usize,
    topics: usize,
    queues: usize,
    time: Duration,
) -> Result<Histogram<u64>> {
    let mut caller = Caller::connect(broker)?;
    let mut histogram = Histogram::new(3)?;
    let ends = Instant::now() + time;
    let mut place = producer;
    loop {
        let name = topic(place / queues % topics);
        let started = Instant::now();
        if started >= ends {
            return Ok(histogram);
        }
        let code = caller.send(&name, (place % queues) as i32)?;
        if code != response::SUCCESS {
            return Err(format!("a send was answered with {code}").into());
        }
        histogram.record(started.elapsed().as_micros() as u64)?;
        place += PRODUCERS;
    }
}
