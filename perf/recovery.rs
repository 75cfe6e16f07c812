//! Fills a store with many queues and a long log, and says how soon it takes messages again:
//!
//! ```text
//! recovery RINGMQ STORE BROKER_PORT NAMESRV_PORT sync|async CORE QUEUES GIB BODY_KIB
//!     ->   queues log_gib fill_s killed_ms stop_ms stopped_ms
//! ```
//! `killed_ms` is from the start of the process to the first acknowledged message after a kill -9 in the midst of sends,
//! `stopped_ms` the same after a clean stop, which took `stop_ms`.

mod caller;
mod message;

use std::net::SocketAddr;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use caller::{Caller, Result};
use ringmq::wire::codes::{request, response};
use ringmq::wire::loose_json;
use ringmq::wire::topic::{TopicConfig, TopicConfigList};

/// How long a start may take before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(600);
/// Between two attempts to reach what is not there yet; the error of the figures.
const RETRY: Duration = Duration::from_millis(1);
const QUEUES_OF_A_TOPIC: u64 = 100;
/// Topics made with one request.
const TOPICS_AT_ONCE: u64 = 100;
const SENDERS: u64 = 8;
/// Messages that are sent on until it is killed.
const AFTER: Duration = Duration::from_secs(3);

struct Setup {
    args: Vec<String>,
    broker: SocketAddr,
    queues: u64,
    log_bytes: u64,
    body: Vec<u8>,
}

fn main() -> ExitCode {
    match run() {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("recovery: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<String> {
    let setup = setup()?;
    let began = Instant::now();
    let (mut broker, _) = setup.start()?;
    setup.make_topics()?;
    setup.fill()?;
    let fill_s = began.elapsed().as_secs_f64();
    broker.kill()?;
    broker.wait()?;
    let (mut broker, killed) = setup.start()?;
    setup.touch_all()?;
    let began = Instant::now();
    Command::new("kill").arg(broker.id().to_string()).status()?;
    if !broker.wait()?.success() {
        return Err("the clean stop failed".into());
    }
    let stop = began.elapsed();
    let (mut broker, stopped) = setup.start()?;
    broker.kill()?;
    broker.wait()?;
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    Ok(format!(
        "{} {:.1} {fill_s:.0} {:.0} {:.0} {:.0}",
        setup.queues,
        setup.log_bytes as f64 / (1 << 30) as f64,
        ms(killed),
        ms(stop),
        ms(stopped)
    ))
}

fn setup() -> Result<Setup> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [
        ringmq,
        store,
        port,
        namesrv_port,
        flush,
        core,
        queues,
        gib,
        body_kib,
    ] = args.as_slice()
    else {
        return Err(
            "RINGMQ STORE BROKER_PORT NAMESRV_PORT sync|async CORE QUEUES GIB BODY_KIB".into(),
        );
    };
    let words = [
        ringmq,
        "broker",
        "--cores",
        core,
        "--advertise",
        "127.0.0.1",
        "--store",
        store,
        "--flush",
        flush,
        "--port",
        port,
        "--namesrv-port",
        namesrv_port,
    ];
    Ok(Setup {
        args: words.map(String::from).to_vec(),
        broker: SocketAddr::from(([127, 0, 0, 1], port.parse()?)),
        queues: queues.parse()?,
        log_bytes: (gib.parse::<f64>()? * f64::from(1 << 30)) as u64,
        body: vec![b'x'; body_kib.parse::<usize>()? << 10],
    })
}

impl Setup {
    /// The broker, and how long it took until a message was stored.
    fn start(&self) -> Result<(Child, Duration)> {
        let began = Instant::now();
        let broker = Command::new(&self.args[0])
            .args(&self.args[1..])
            .env("RINGMQ_LOG", "info")
            .stdout(Stdio::null())
            .spawn()?;
        loop {
            let sent = Caller::connect(self.broker).and_then(|mut caller| caller.send("first", 0));
            match sent.and_then(stored) {
                Ok(()) => return Ok((broker, began.elapsed())),
                Err(error) if began.elapsed() > PATIENCE => return Err(error),
                Err(_) => thread::sleep(RETRY),
            }
        }
    }

    fn topics(&self) -> u64 {
        self.queues.div_ceil(QUEUES_OF_A_TOPIC)
    }

    fn make_topics(&self) -> Result<()> {
        let mut caller = Caller::connect(self.broker)?;
        for first in (0..self.topics()).step_by(TOPICS_AT_ONCE as usize) {
            let last = self.topics().min(first + TOPICS_AT_ONCE);
            let configs = (first..last).map(|number| TopicConfig {
                topic_name: topic(number),
                read_queue_nums: QUEUES_OF_A_TOPIC as i32,
                write_queue_nums: QUEUES_OF_A_TOPIC as i32,
                ..TopicConfig::default()
            });
            let body = loose_json::to_vec(&TopicConfigList {
                topic_config_list: configs.collect(),
            });
            let (code, _) = caller.ask(request::UPDATE_AND_CREATE_TOPIC_LIST, &[], &body)?;
            if code != response::SUCCESS {
                return Err(format!("topics are refused with {code}").into());
            }
        }
        Ok(())
    }

    /// All queues in turn, until the log is long enough; then for a while more.
    fn fill(&self) -> Result<()> {
        let count = (self.log_bytes / self.body.len() as u64).max(self.queues);
        self.send_all(count, None)?;
        self.send_all(u64::MAX, Some(Instant::now() + AFTER))
    }

    /// A message to each queue.
    fn touch_all(&self) -> Result<()> {
        self.send_all(self.queues, None)
    }

    fn send_all(&self, count: u64, until: Option<Instant>) -> Result<()> {
        let next = AtomicU64::new(0);
        let is_over = || until.is_some_and(|until| Instant::now() > until);
        let send_some = || -> Result<()> {
            let mut caller = Caller::connect(self.broker)?;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count || is_over() {
                    return Ok(());
                }
                let queue = number % self.queues;
                let (topic_number, queue_id) =
                    (queue / QUEUES_OF_A_TOPIC, queue % QUEUES_OF_A_TOPIC);
                let code = caller.send_body(&topic(topic_number), queue_id as i32, &self.body)?;
                stored(code)?;
            }
        };
        thread::scope(|scope| {
            let senders: Vec<_> = (0..SENDERS).map(|_| scope.spawn(send_some)).collect();
            senders
                .into_iter()
                .try_for_each(|sender| match sender.join() {
                    Ok(sent) => sent,
                    Err(_) => Err("a sender has panicked".into()),
                })
        })
    }
}

fn topic(number: u64) -> String {
    format!("recovery-{number}")
}

fn stored(code: i32) -> Result<()> {
    match code {
        response::SUCCESS => Ok(()),
        code => Err(format!("a message is refused with {code}").into()),
    }
}
