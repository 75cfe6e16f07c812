//! The loads. Each is prepared first and then carried out, and says in one line what it did.

use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ringmq::message::batch::{self, BatchItem};
use ringmq::wire::Value;
use ringmq::wire::codes::{request, response};
use ringmq::wire::offset::{QueryConsumerOffset, UpdateConsumerOffset};
use ringmq::wire::send::SendRequest;
use ringmq::wire::topic::{CreateTopic, perm};
use tokio::runtime;
use tokio::task::LocalSet;

use crate::caller::{Caller, PATIENCE, Result};
use crate::connection::{Writer, connect};
use crate::dashboard::{self, Answers};
use crate::fleet;
use crate::message::message_to;
use crate::names::{client_id, make_topics, topic};
use crate::removable;
use crate::settings::Settings;
use crate::strangers;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// Parked pulls of one connection on one queue, all due at once.
    Parked,
    /// Consumers of one group that connect, send a heartbeat, and disconnect all together.
    Group,
    /// Heartbeats with many subscriptions.
    Heartbeat,
    /// Batches of one-byte messages.
    Batch,
    /// Topics that are created one after another.
    Topics,
    /// All offsets of a group, committed twice a second.
    Offsets,
    /// Segment files that are removed while messages come in.
    Retention,
    /// Answers of megabytes, asked for at a pace.
    Replies,
    /// Many topics, clients that consume and commit, senders and dashboards, all together.
    Whole,
    /// Handshakes of TLS that stop.
    Handshakes,
    /// Beginnings of connections that come byte by byte.
    Dribble,
}

const NAMES: [(&str, Case); 11] = [
    ("parked", Case::Parked),
    ("group", Case::Group),
    ("heartbeat", Case::Heartbeat),
    ("batch", Case::Batch),
    ("topics", Case::Topics),
    ("offsets", Case::Offsets),
    ("retention", Case::Retention),
    ("replies", Case::Replies),
    ("whole", Case::Whole),
    ("handshakes", Case::Handshakes),
    ("dribble", Case::Dribble),
];

/// From the first pull until all are due.
const PARKED_FOR: Duration = Duration::from_secs(10);

/// What a load leaves behind in the broker shows in the bystander's report, too.
const AFTERMATH: Duration = Duration::from_secs(2);

/// How often a load of one request is repeated.
const REPEATS: usize = 5;

/// Between two writes of a load that writes without waiting for answers.
const AT_ONCE: usize = 1_000;

/// Between an answer of megabytes and the next request.
const PAUSE: Duration = Duration::from_millis(50);

/// Commits of all offsets begin this far apart.
const ROUND: Duration = Duration::from_millis(500);

const ONE_TOPIC: &str = "perf-scale-one";
const ONE_GROUP: &str = "perf-scale-group";

impl FromStr for Case {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Case, String> {
        let found = NAMES.iter().find(|(known, _)| *known == name);
        found
            .map(|(_, case)| *case)
            .ok_or_else(|| format!("no case {name:?}"))
    }
}

/// A load that is ready to begin.
pub struct Prepared {
    case: Case,
    broker: SocketAddr,
    namesrv: SocketAddr,
    settings: Settings,
}

impl Case {
    pub fn name(self) -> &'static str {
        let found = NAMES.iter().find(|(_, case)| *case == self);
        found.map_or("", |(name, _)| name)
    }

    pub fn prepare(
        self,
        broker: SocketAddr,
        namesrv: SocketAddr,
        settings: &Settings,
    ) -> Result<Prepared> {
        match self {
            Case::Parked | Case::Batch => make_topics(broker, vec![ONE_TOPIC.into()], 1)?,
            Case::Offsets | Case::Whole => {
                let names = (0..settings.topics).map(topic).collect();
                make_topics(broker, names, settings.queues)?;
            }
            Case::Retention => {
                make_topics(broker, vec![ONE_TOPIC.into()], 1)?;
                removable::fill(broker, ONE_TOPIC)?;
            }
            Case::Replies => {
                let names = (0..settings.topics).map(topic).collect();
                make_topics(broker, names, settings.queues)?;
                block_on(commit_all(broker, settings))?;
            }
            Case::Group | Case::Heartbeat | Case::Topics => {}
            Case::Handshakes | Case::Dribble => {}
        }
        Ok(Prepared {
            case: self,
            broker,
            namesrv,
            settings: *settings,
        })
    }
}

impl Prepared {
    pub fn run(&self) -> Result<String> {
        let (peers, lasts) = (self.settings.strangers, self.settings.seconds);
        let done = match self.case {
            Case::Parked => block_on(self.parked()),
            Case::Group => block_on(self.group()),
            Case::Heartbeat => self.heartbeat(),
            Case::Batch => self.batch(),
            Case::Topics => self.topics(),
            Case::Offsets => block_on(self.offsets()),
            Case::Retention => removable::remove(self.broker, ONE_TOPIC),
            Case::Replies => self.replies(),
            Case::Whole => self.whole(),
            Case::Handshakes => strangers::half_open(self.broker, peers, lasts),
            Case::Dribble => strangers::dribble(self.broker, peers, lasts),
        };
        thread::sleep(AFTERMATH);
        done
    }

    async fn parked(&self) -> Result<String> {
        let (mut writer, mut reader) = connect(self.broker).await?;
        let due = Instant::now() + PARKED_FOR;
        let pulls = self.settings.pulls;
        let answered = async {
            let mut first = None;
            for _ in 0..pulls {
                let answer = tokio::time::timeout(PATIENCE + PARKED_FOR, reader.answer()).await??;
                if answer.code != response::PULL_NOT_FOUND {
                    return Err(format!("a pull was answered with {}", answer.code).into());
                }
                first.get_or_insert_with(Instant::now);
            }
            Result::Ok(first.map_or(Duration::ZERO, |first: Instant| first.elapsed()))
        };
        let asked = async {
            for number in 0..pulls {
                let left = due.saturating_duration_since(Instant::now());
                let left_ms = left.as_millis() as i64;
                let pull = fleet::parked_pull(ONE_GROUP, ONE_TOPIC, 0, 0, left_ms);
                writer.ask(number as i32, request::PULL_MESSAGE, &pull.ext(), &[]);
                if number % AT_ONCE == 0 {
                    writer.flush().await?;
                }
            }
            writer.flush().await?;
            Result::Ok(due.saturating_duration_since(Instant::now()))
        };
        let (answered, asked) = futures_util::future::join(answered, asked).await;
        Ok(format!(
            "{pulls} pulls, the last {:.1} s before all were due, answered within {:.0} ms",
            asked?.as_secs_f64(),
            answered?.as_secs_f64() * 1e3
        ))
    }

    async fn group(&self) -> Result<String> {
        let consumers = self.settings.consumers;
        let began = Instant::now();
        let members = LocalSet::new();
        for number in 0..consumers {
            let (mut writer, mut reader) = members.run_until(connect(self.broker)).await?;
            let id = client_id(number);
            let heartbeat = fleet::heartbeat(&id, ONE_GROUP, &[ONE_TOPIC.into()]);
            writer.ask(1, request::HEART_BEAT, &[], &heartbeat);
            members.run_until(writer.flush()).await?;
            let answer = members.run_until(reader.answer()).await?;
            if answer.code != response::SUCCESS {
                return Err(format!("a heartbeat was answered with {}", answer.code).into());
            }
            // It reads what the broker tells the members of the group.
            members.spawn_local(async move {
                let _writer = writer;
                while reader.answer().await.is_ok() {}
            });
        }
        let joined = began.elapsed();
        drop(members);
        Ok(format!(
            "{consumers} consumers joined within {:.1} s and left together",
            joined.as_secs_f64()
        ))
    }

    fn heartbeat(&self) -> Result<String> {
        let subscriptions = self.settings.subscriptions;
        let topics: Vec<_> = (0..subscriptions).map(topic).collect();
        let body = fleet::heartbeat("127.0.0.1@1", ONE_GROUP, &topics);
        let mut caller = Caller::connect(self.broker)?;
        let answers = repeat(|| Ok(caller.ask(request::HEART_BEAT, &[], &body)?.0))?;
        Ok(format!("{subscriptions} subscriptions: {answers}"))
    }

    fn batch(&self) -> Result<String> {
        let mut body = Vec::new();
        for _ in 0..self.settings.batch {
            let item = BatchItem {
                flag: 0,
                body: b"x",
                properties: &[],
            };
            batch::push(&mut body, &item);
        }
        let request = SendRequest {
            batch: true,
            ..message_to(ONE_TOPIC, 0)
        };
        let mut caller = Caller::connect(self.broker)?;
        let code = request::SEND_BATCH_MESSAGE;
        let answers = repeat(|| Ok(caller.ask(code, &request.ext(), &body)?.0))?;
        Ok(format!("{} messages: {answers}", self.settings.batch))
    }

    fn topics(&self) -> Result<String> {
        let mut caller = Caller::connect(self.broker)?;
        let mut times_ms = Vec::new();
        for number in 0..self.settings.topics {
            let name = topic(number);
            let create = CreateTopic {
                topic: &name,
                default_topic: "TBW102",
                read_queue_nums: self.settings.queues as i32,
                write_queue_nums: self.settings.queues as i32,
                perm: perm::READ | perm::WRITE,
                topic_filter_type: "SINGLE_TAG",
                topic_sys_flag: None,
                order: false,
                attributes: None,
                force: false,
            };
            let began = Instant::now();
            let (code, _) = caller.ask(request::UPDATE_AND_CREATE_TOPIC, &create.ext(), &[])?;
            if code != response::SUCCESS {
                return Err(format!("{name} was answered with {code}").into());
            }
            times_ms.push(began.elapsed().as_secs_f64() * 1e3);
        }
        let tenth = times_ms.len().div_ceil(10);
        let mean = |some: &[f64]| some.iter().sum::<f64>() / some.len() as f64;
        Ok(format!(
            "{} topics; the first tenth took {:.2} ms each, the last {:.2} ms",
            times_ms.len(),
            mean(&times_ms[..tenth]),
            mean(&times_ms[times_ms.len() - tenth..])
        ))
    }

    async fn offsets(&self) -> Result<String> {
        let (mut writer, mut reader) = connect(self.broker).await?;
        let (topics, queues) = (self.settings.topics, self.settings.queues);
        let (began, mut rounds) = (Instant::now(), 0);
        while began.elapsed() < self.settings.seconds {
            let next = Instant::now() + ROUND;
            for place in 0..topics * queues {
                commit(&mut writer, ONE_GROUP, place, queues, rounds);
                if place % AT_ONCE == 0 {
                    writer.flush().await?;
                }
            }
            // Answered behind all commits of the round.
            let name = topic(0);
            let query = QueryConsumerOffset {
                consumer_group: ONE_GROUP,
                topic: &name,
                queue_id: 0,
                set_zero_if_not_found: None,
            };
            writer.ask(1, request::QUERY_CONSUMER_OFFSET, &query.ext(), &[]);
            writer.flush().await?;
            reader.answer().await?;
            rounds += 1;
            tokio::time::sleep(next.saturating_duration_since(Instant::now())).await;
        }
        Ok(format!(
            "{} offsets, committed {rounds} times in {:.1} s",
            topics * queues,
            began.elapsed().as_secs_f64()
        ))
    }

    /// Each of them in turn, [`PAUSE`] after the answer to the one before.
    fn replies(&self) -> Result<String> {
        let mut caller = Caller::connect(self.broker)?;
        let name = topic(0);
        let asked = [
            (request::GET_ALL_CONSUMER_OFFSET, vec![]),
            (
                request::QUERY_CORRECTION_OFFSET,
                vec![("topic", Value::Str(&name))],
            ),
            (request::GET_ALL_TOPIC_CONFIG, vec![]),
        ];
        let mut slowest = [(0, Duration::ZERO); 3];
        let (mut answers, began) = (0, Instant::now());
        while began.elapsed() < self.settings.seconds {
            for ((code, ext), slowest) in asked.iter().zip(&mut slowest) {
                let asked = Instant::now();
                let (answer, body) = caller.ask(*code, ext, &[])?;
                if answer != response::SUCCESS {
                    return Err(format!("{code} was answered with {answer}").into());
                }
                *slowest = (body.len(), slowest.1.max(asked.elapsed()));
                answers += 1;
                thread::sleep(PAUSE);
            }
        }
        let slowest = slowest.map(|(len, took)| {
            format!(
                "{:.1} MB within {:.0} ms",
                len as f64 / 1e6,
                took.as_secs_f64() * 1e3
            )
        });
        Ok(format!(
            "{answers} answers; the slowest of 43, 308, 21: {}",
            slowest.join(", ")
        ))
    }

    fn whole(&self) -> Result<String> {
        let (over, answers) = (AtomicBool::new(false), Answers::default());
        let settings = &self.settings;
        let (clients, sent, committed) = thread::scope(|scope| {
            let dashboards: Vec<_> = (0..settings.dashboards)
                .map(|number| {
                    let addrs = [self.broker, self.namesrv];
                    let (over, answers) = (&over, &answers);
                    scope.spawn(move || dashboard::run(number, addrs, settings, over, answers))
                })
                .collect();
            let sender = scope.spawn(|| self.send(&over));
            let committer = scope.spawn(|| block_on(self.commit(&over)));
            let clients = block_on(fleet::run(self.broker, settings, settings.seconds));
            over.store(true, Ordering::Relaxed);
            for dashboard in dashboards {
                dashboard.join().map_err(|_| "a dashboard has panicked")??;
            }
            let sent = sender.join().map_err(|_| "the sender has panicked")??;
            let committed = committer
                .join()
                .map_err(|_| "the committer has panicked")??;
            Result::Ok((clients?, sent, committed))
        })?;
        eprint!("slowest answers to the dashboards:\n{}", answers.slowest()?);
        Ok(format!(
            "{} topics x {}, {clients}, {sent} sends, {committed} more commits, {} admin answers",
            settings.topics,
            settings.queues,
            answers.count()?
        ))
    }

    /// Sends to all queues in turn, at most so many a second, one after another.
    fn send(&self, over: &AtomicBool) -> Result<u64> {
        let Settings { topics, queues, .. } = self.settings;
        let every = Duration::from_secs(1) / self.settings.sends_per_s.max(1) as u32;
        let mut caller = Caller::connect(self.broker)?;
        let (mut sent, mut next) = (0, Instant::now());
        while !over.load(Ordering::Relaxed) {
            let place = sent as usize;
            caller.send(&topic(place / queues % topics), (place % queues) as i32)?;
            sent += 1;
            next = Instant::now().max(next + every);
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        Ok(sent)
    }

    /// Commits the offsets of all queues in turn, so many a second, in portions of a twentieth of a second.
    async fn commit(&self, over: &AtomicBool) -> Result<u64> {
        const PORTIONS_PER_S: u64 = 20;
        let Settings { topics, queues, .. } = self.settings;
        let (mut writer, _reader) = connect(self.broker).await?;
        let mut committed = 0;
        while !over.load(Ordering::Relaxed) {
            let next = Instant::now() + Duration::from_secs(1) / PORTIONS_PER_S as u32;
            for _ in 0..self.settings.commits_per_s / PORTIONS_PER_S {
                let place = committed as usize % (topics * queues);
                commit(&mut writer, ONE_GROUP, place, queues, committed as i64);
                committed += 1;
            }
            writer.flush().await?;
            tokio::time::sleep(next.saturating_duration_since(Instant::now())).await;
        }
        Ok(committed)
    }
}

/// All offsets of a group, once.
async fn commit_all(broker: SocketAddr, settings: &Settings) -> Result<()> {
    let (mut writer, mut reader) = connect(broker).await?;
    for place in 0..settings.topics * settings.queues {
        commit(&mut writer, ONE_GROUP, place, settings.queues, 1);
        if place % AT_ONCE == 0 {
            writer.flush().await?;
        }
    }
    // Answered behind all commits.
    writer.ask(1, request::GET_TIMER_METRICS, &[], &[]);
    writer.flush().await?;
    reader.answer().await?;
    Ok(())
}

/// The offset of the queue at this place among the queues of all topics.
fn commit(writer: &mut Writer, group: &str, place: usize, queues: usize, offset: i64) {
    let commit = UpdateConsumerOffset {
        consumer_group: group,
        topic: &topic(place / queues),
        queue_id: (place % queues) as i32,
        commit_offset: offset,
    };
    writer.tell(request::UPDATE_CONSUMER_OFFSET, &commit.ext());
}

/// Asks several times; the codes of the answers with their times.
fn repeat(mut ask: impl FnMut() -> Result<i32>) -> Result<String> {
    let mut answers = Vec::new();
    for _ in 0..REPEATS {
        let began = Instant::now();
        let code = ask()?;
        let name = response::name(code).unwrap_or("unknown");
        let took_ms = began.elapsed().as_secs_f64() * 1e3;
        answers.push(format!("{name} after {took_ms:.1} ms"));
    }
    Ok(answers.join(", "))
}

fn block_on<T>(load: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(load)
}
