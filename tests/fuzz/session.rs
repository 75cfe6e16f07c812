//! A client that has lost its mind: recorded requests with their fields exchanged, dropped and replaced, in any order.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use bolero::TypeGenerator;
use ringmq::store::Flush;
use ringmq::wire::codes::request;
use ringmq::wire::{Codec, FLAG_ONEWAY, Head, Language, Scratch, Value, frame, header};

use crate::client::{Client, sleep};
use crate::cluster::Cluster;

/// Longer ones find nothing that two short ones do not.
const MAX_STEPS: usize = 24;

#[derive(Debug, TypeGenerator)]
pub struct Session {
    steps: Vec<Step>,
    /// Ends without a warning.
    is_killed: bool,
}

#[derive(Debug, TypeGenerator)]
struct Step {
    /// Which recorded request this begins as.
    base: u8,
    /// Asked under another code.
    code: Option<u8>,
    edits: Vec<Edit>,
    body: Body,
    to_namesrv: bool,
    is_oneway: bool,
    version: Option<u16>,
    wait_ms: u8,
}

#[derive(Debug, TypeGenerator)]
enum Edit {
    Drop(u8),
    Set(u8, Text),
    Add(u8, Text),
}

#[derive(Debug, TypeGenerator)]
enum Text {
    /// Of a recorded field.
    Recorded(u8),
    Number(i64),
    Small(u8),
    Power(u8),
    Minus(u8),
    Topic(u8),
    Any(String),
    Long(u8),
}

#[derive(Debug, TypeGenerator)]
enum Body {
    Keep,
    None,
    Cut(u16),
    Flip(u16, u8),
    /// Of another request.
    Recorded(u8),
    Bytes(Vec<u8>),
    Json(Vec<(u8, Text)>),
}

/// A request as it was recorded.
struct Recorded {
    code: i32,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

/// What has been recorded, and what of it can be put together anew.
struct Words {
    requests: Vec<Recorded>,
    codes: Vec<i32>,
    names: Vec<String>,
    values: Vec<String>,
}

impl Session {
    /// Its requests, as they are sent.
    pub fn frames(&self) -> impl Iterator<Item = Vec<u8>> {
        let steps = self.steps.iter().take(MAX_STEPS);
        steps.map(|step| step.encode(1))
    }
}

/// Plays the session against a new broker, which then has to serve, to end, to start and to serve again.
pub fn play(session: &Session) {
    let cluster = Cluster::new(1, Flush::Async);
    cluster.sim.run(async {
        cluster.start().await;
        let mut broker = Lane::new(cluster.client("mad").await);
        let mut namesrv = Lane::new(cluster.namesrv_client("mad").await);
        for step in session.steps.iter().take(MAX_STEPS) {
            let lane = if step.to_namesrv {
                &mut namesrv
            } else {
                &mut broker
            };
            lane.send(step).await;
            if lane.is_closed {
                let client = match step.to_namesrv {
                    true => cluster.namesrv_client("mad").await,
                    false => cluster.client("mad").await,
                };
                *lane = Lane::new(client);
            }
        }
        serves(&cluster).await;
        if session.is_killed {
            cluster.kill();
        } else {
            cluster.stop().await;
        }
        cluster.start().await;
        serves(&cluster).await;
    });
}

/// Whether a polite client gets its answers.
async fn serves(cluster: &Cluster) {
    let mut client = cluster.client("polite").await;
    let reply = client.call(request::GET_ALL_TOPIC_CONFIG, &[], &[]).await;
    assert!(reply.expect("the broker answers").is_success());
    let reply = client.call(request::HEART_BEAT, &[], b"{\"clientID\":\"polite\"}");
    assert!(reply.await.expect("the broker answers").is_success());
    let mut client = cluster.namesrv_client("polite").await;
    let reply = client
        .call(request::GET_BROKER_CLUSTER_INFO, &[], &[])
        .await;
    assert!(reply.expect("the name server answers").is_success());
}

/// A connection and what has been asked on it.
struct Lane {
    client: Client,
    asked: HashSet<i32>,
    received: Vec<u8>,
    next_opaque: i32,
    is_closed: bool,
}

impl Lane {
    fn new(client: Client) -> Self {
        Lane {
            client,
            asked: HashSet::new(),
            received: Vec::new(),
            next_opaque: 1,
            is_closed: false,
        }
    }

    async fn send(&mut self, step: &Step) {
        use ringmq::io::Stream;
        let opaque = self.next_opaque;
        self.next_opaque += 1;
        if !step.is_oneway {
            self.asked.insert(opaque);
        }
        let bytes = step.encode(opaque);
        let (sent, _) = self.client.stream.send(bytes).await;
        self.is_closed |= sent.is_err();
        sleep(
            &self.client.io,
            Duration::from_millis(1 + u64::from(step.wait_ms % 64)),
        )
        .await;
        let io = self.client.io.clone();
        while let Ok(chunk) =
            crate::client::within(&io, Duration::from_micros(10), self.client.stream.recv()).await
        {
            match chunk {
                Ok(chunk) if !chunk.is_empty() => self.received.extend_from_slice(&chunk),
                _ => {
                    self.is_closed = true;
                    break;
                }
            }
        }
        self.look_at_replies();
    }

    /// Each is to a question that was asked, and the only one.
    fn look_at_replies(&mut self) {
        let mut at = 0;
        while let Some(found) =
            frame::split(&self.received[at..]).expect("the broker sends whole frames")
        {
            let mut scratch = Scratch::default();
            let header =
                header::decode(&found, &mut scratch).expect("the broker sends good headers");
            if header.is_response() {
                assert!(
                    self.asked.remove(&header.opaque),
                    "nobody waits for the answer to {}: {header:?}",
                    header.opaque
                );
            }
            at += found.len;
        }
        self.received.drain(..at);
    }
}

impl Step {
    fn encode(&self, opaque: i32) -> Vec<u8> {
        let words = words();
        let base = pick(&words.requests, self.base);
        let mut fields = base.fields.clone();
        for edit in self.edits.iter().take(8) {
            match edit {
                Edit::Drop(at) if !fields.is_empty() => {
                    fields.remove(usize::from(*at) % fields.len());
                }
                Edit::Set(at, text) if !fields.is_empty() => {
                    let at = usize::from(*at) % fields.len();
                    fields[at].1 = text.render();
                }
                Edit::Drop(_) | Edit::Set(..) => {}
                Edit::Add(name, text) => {
                    fields.push((pick(&words.names, *name).clone(), text.render()))
                }
            }
        }
        let head = Head {
            codec: Codec::Json,
            code: self
                .code
                .map_or(base.code, |code| *pick(&words.codes, code)),
            language: Language::Java,
            version: self.version.map_or(513, i32::from),
            opaque,
            flag: if self.is_oneway { FLAG_ONEWAY } else { 0 },
            remark: None,
        };
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| (&**name, Value::Str(value)))
            .collect();
        let mut bytes = Vec::new();
        frame::write(&mut bytes, &head, &fields, &self.body.render(&base.body));
        bytes
    }
}

impl Text {
    fn render(&self) -> String {
        match self {
            Text::Recorded(value) => pick(&words().values, *value).clone(),
            Text::Number(number) => number.to_string(),
            Text::Small(number) => number.to_string(),
            Text::Power(power) => (1_i128 << (power % 66)).to_string(),
            Text::Minus(number) => (-i64::from(*number)).to_string(),
            Text::Topic(which) => {
                let prefix =
                    ["", "%RETRY%", "%DLQ%", "SCHEDULE_TOPIC_XXXX"][usize::from(which % 4)];
                let name = ["T", "G", "TBW102", ""][usize::from(which / 4 % 4)];
                format!("{prefix}{name}")
            }
            Text::Any(text) => text.clone(),
            Text::Long(len) => "x".repeat(usize::from(*len) * 200),
        }
    }
}

impl Body {
    fn render(&self, recorded: &[u8]) -> Vec<u8> {
        match self {
            Body::Keep => recorded.to_vec(),
            Body::None => Vec::new(),
            Body::Cut(len) => recorded[..recorded.len().min((*len).into())].to_vec(),
            Body::Flip(at, with) => {
                let mut body = recorded.to_vec();
                let len = body.len().max(1);
                if let Some(byte) = body.get_mut(usize::from(*at) % len) {
                    *byte ^= with;
                }
                body
            }
            Body::Recorded(which) => pick(&words().requests, *which).body.clone(),
            Body::Bytes(bytes) => bytes.clone(),
            Body::Json(fields) => {
                let fields = fields.iter().map(|(name, text)| {
                    let value = text.render();
                    let value = match value.parse::<i64>() {
                        Ok(number) => number.into(),
                        Err(_) => serde_json::Value::from(value),
                    };
                    (pick(&words().names, *name).clone(), value)
                });
                serde_json::Value::Object(fields.collect())
                    .to_string()
                    .into_bytes()
            }
        }
    }
}

fn pick<T>(from: &[T], which: u8) -> &T {
    &from[usize::from(which) % from.len()]
}

fn words() -> &'static Words {
    static WORDS: OnceLock<Words> = OnceLock::new();
    WORDS.get_or_init(|| {
        let requests = recorded();
        let fields = || requests.iter().flat_map(|request| &request.fields);
        let mut names: Vec<_> = fields().map(|(name, _)| name.clone()).collect();
        names.extend(UNRECORDED_NAMES.split_whitespace().map(str::to_owned));
        names.sort();
        names.dedup();
        let mut values: Vec<_> = fields().map(|(_, value)| value.clone()).collect();
        values.sort();
        values.dedup();
        values.truncate(256);
        Words {
            codes: request::ALL.iter().map(|(code, _)| *code).collect(),
            names,
            values,
            requests,
        }
    })
}

/// Fields of requests and bodies of which nothing was recorded.
const UNRECORDED_NAMES: &str = "\
    invisibleTime pollTime bornTime initMode expType exp order attemptId extraInfo offset reviveQueueId popTime \
    tranStateTableOffset commitLogOffset commitOrRollback fromTransactionCheck transactionId recallHandle timestamp isForce \
    key maxNum beginTimestamp endTimestamp isC jstackEnable clientId msgId brokerName srcGroup destGroup isOffline \
    namespace value readable statsName statsKey index count clientID subscriptionDataSet expressionType subString \
    consumerDataSet producerDataSet groupName mqSet acks topicConfigTable attributes perm readQueueNums writeQueueNums";

/// The recorded requests, in the order of their names, so that an input means the same everywhere.
fn recorded() -> Vec<Recorded> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut paths: Vec<_> = fs::read_dir(folder)
        .expect("the recorded frames")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.to_string_lossy().ends_with(".req.bin"))
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| {
            let bytes = fs::read(path).expect("a recorded frame");
            let found = frame::split(&bytes).expect("a frame").expect("all of it");
            let mut scratch = Scratch::default();
            let header = header::decode(&found, &mut scratch).expect("a header");
            Recorded {
                code: header.code,
                fields: header
                    .ext
                    .iter()
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .collect(),
                body: found.body.to_vec(),
            }
        })
        .collect()
}
