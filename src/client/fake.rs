//! A name server and broker in one for tests of the client side: one thread a connection, one queue a topic, in memory.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::message::{Properties, RecordFields, ids};
use crate::wire::codes::{request, response};
use crate::wire::frame::{self, Frame};
use crate::wire::header;
use crate::wire::{Codec, Head, Scratch, Value};

#[derive(Clone, Copy, Debug, Default)]
pub struct Behaviour {
    /// Answers the sends of one read last first.
    pub reversed: bool,
    /// (n, time): answers the nth send so much later.
    pub stall: Option<(u64, Duration)>,
    /// Refuses every nth send with SYSTEM_BUSY.
    pub busy_every: Option<u64>,
    /// Closes the connection instead of answering the nth send.
    pub close_at: Option<u64>,
    /// Has a runtime info (28) with the writes of its log, one of 4 KiB for each send.
    pub counts_writes: bool,
}

#[derive(Clone)]
pub struct Fake {
    pub addr: SocketAddr,
    behaviour: Behaviour,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    sends: u64,
    records: Vec<Vec<u8>>,
    created: bool,
    /// The end of each transaction, and whether it answers a check.
    ends: Vec<(String, bool)>,
}

impl Fake {
    pub fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let fake = Self {
            addr: listener.local_addr().unwrap(),
            behaviour,
            state: Arc::default(),
        };
        let accepting = fake.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let serving = accepting.clone();
                // The client ends the test by closing.
                thread::spawn(move || drop(serving.serve(stream.unwrap())));
            }
        });
        fake
    }

    pub fn sends(&self) -> u64 {
        self.state.lock().unwrap().sends
    }

    pub fn ends(&self) -> Vec<(String, bool)> {
        self.state.lock().unwrap().ends.clone()
    }

    fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut input = Vec::new();
        let mut chunk = vec![0; 64 << 10];
        loop {
            let read = stream.read(&mut chunk)?;
            if read == 0 {
                return Ok(());
            }
            input.extend_from_slice(&chunk[..read]);
            let mut answers = Vec::new();
            let mut taken = 0;
            while let Some(frame) = frame::split(&input[taken..]).unwrap() {
                taken += frame.len;
                match self.answer(&frame) {
                    Some(answer) => answers.push(answer),
                    None => return Ok(()),
                }
            }
            input.drain(..taken);
            if self.behaviour.reversed {
                answers.reverse();
            }
            stream.write_all(&answers.concat())?;
        }
    }

    /// `None` closes the connection.
    fn answer(&self, frame: &Frame<'_>) -> Option<Vec<u8>> {
        let mut scratch = Scratch::default();
        let header = header::decode(frame, &mut scratch).unwrap();
        let number = |key: &str| header.ext.find(key).unwrap().parse::<usize>().unwrap();
        let mut ext: Vec<(&str, Value<'_>)> = Vec::new();
        let mut body = Vec::new();
        let mut code = response::SUCCESS;
        let id = ids::offset_message_id(self.addr, 7).to_string();
        match header.code {
            request::SEND_MESSAGE_V2 => {
                let properties = header.ext.find("i").unwrap_or_default();
                code = self.append(frame.body, header.ext.find("b").unwrap(), properties)?;
                ext.push(("msgId", Value::Str(&id)));
                ext.push(("queueId", Value::I64(0)));
                ext.push(("queueOffset", Value::I64(0)));
            }
            request::GET_ROUTEINFO_BY_TOPIC => {
                if self.state.lock().unwrap().created {
                    body = self.route();
                } else {
                    code = response::TOPIC_NOT_EXIST;
                }
            }
            request::END_TRANSACTION => return Some(self.end(&header, frame.codec)),
            request::GET_BROKER_CLUSTER_INFO => body = self.cluster(),
            request::UPDATE_AND_CREATE_TOPIC => self.state.lock().unwrap().created = true,
            request::GET_MIN_OFFSET => ext.push(("offset", Value::I64(0))),
            request::GET_MAX_OFFSET => ext.push(("offset", Value::I64(self.end_offset()))),
            request::PULL_MESSAGE => {
                let (from, most) = (number("queueOffset"), number("maxMsgNums"));
                let max = self.wait_for(from);
                let to = max.min(from + most);
                code = if to > from {
                    response::SUCCESS
                } else {
                    response::PULL_NOT_FOUND
                };
                body = self.state.lock().unwrap().records[from.min(to)..to].concat();
                ext.push(("nextBeginOffset", Value::I64(to as i64)));
                ext.push(("minOffset", Value::I64(0)));
                ext.push(("maxOffset", Value::I64(max as i64)));
            }
            request::GET_BROKER_RUNTIME_INFO if self.behaviour.counts_writes => {
                body = self.runtime_info();
            }
            _ => code = response::REQUEST_CODE_NOT_SUPPORTED,
        }
        let head = Head::reply(frame.codec, code, header.opaque);
        let mut answer = Vec::new();
        frame::write(&mut answer, &head, &ext, &body);
        Some(answer)
    }

    /// Sends no answer; an unknown state is checked.
    fn end(&self, header: &header::Header<'_>, codec: Codec) -> Vec<u8> {
        let end = header.ext.find("commitOrRollback").unwrap();
        let asked_for = header.ext.find("fromTransactionCheck") == Some("true");
        let mut state = self.state.lock().unwrap();
        state.ends.push((end.to_owned(), asked_for));
        drop(state);
        match end {
            "0" => self.question(codec, header.ext.find("msgId").unwrap()),
            _ => Vec::new(),
        }
    }

    fn end_offset(&self) -> i64 {
        self.state.lock().unwrap().records.len() as i64
    }

    fn cluster(&self) -> Vec<u8> {
        format!(
            r#"{{"brokerAddrTable":{{"fake":{{"brokerAddrs":{{"0":"{}"}},"brokerName":"fake"}}}}}}"#,
            self.addr
        )
        .into_bytes()
    }

    /// Checks the state of the last half message (39).
    fn question(&self, codec: Codec, id: &str) -> Vec<u8> {
        let head = Head::oneway(codec, request::CHECK_TRANSACTION_STATE, 1);
        let ext = [
            ("tranStateTableOffset", Value::I64(0)),
            ("commitLogOffset", Value::I64(7)),
            ("transactionId", Value::Str(id)),
        ];
        let state = self.state.lock().unwrap();
        let mut question = Vec::new();
        frame::write(&mut question, &head, &ext, state.records.last().unwrap());
        question
    }

    fn append(&self, body: &[u8], topic: &str, properties: &str) -> Option<i32> {
        let mut state = self.state.lock().unwrap();
        state.sends += 1;
        let nth = state.sends;
        if self.behaviour.close_at == Some(nth) {
            return None;
        }
        if let Some((at, time)) = self.behaviour.stall
            && at == nth
        {
            thread::sleep(time);
        }
        if self
            .behaviour
            .busy_every
            .is_some_and(|every| nth.is_multiple_of(every))
        {
            return Some(response::SYSTEM_BUSY);
        }
        let fields = RecordFields {
            queue_id: 0,
            flag: 0,
            queue_offset: state.records.len() as u64,
            physical_offset: 0,
            sys_flag: 0,
            born_timestamp_ms: 0,
            born_host: self.addr,
            store_timestamp_ms: 0,
            store_host: self.addr,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body,
            topic,
            properties: Properties::new(properties),
        };
        let mut record = vec![0; fields.encoded_len()];
        fields.encode(&mut record);
        state.records.push(record);
        Some(response::SUCCESS)
    }

    /// A long poll, though a short one: the number of records, once it is above `offset` or time is up.
    fn wait_for(&self, offset: usize) -> usize {
        let mut tries = 100;
        loop {
            let max = self.state.lock().unwrap().records.len();
            if max > offset || tries == 0 {
                return max;
            }
            tries -= 1;
            thread::sleep(Duration::from_micros(200));
        }
    }

    fn runtime_info(&self) -> Vec<u8> {
        let writes = self.sends();
        let table = [
            ("ringmqLogWrites", writes),
            ("ringmqLogBytesWritten", writes * 4096),
            ("ringmqLogFlushes", writes / 2),
        ];
        let entries = table.map(|(name, count)| format!(r#""{name}":"{count}""#));
        format!(r#"{{"table":{{{}}}}}"#, entries.join(",")).into_bytes()
    }

    fn route(&self) -> Vec<u8> {
        format!(
            r#"{{"brokerDatas":[{{"brokerAddrs":{{"0":"{}"}},"brokerName":"fake","cluster":"c"}}],
               "queueDatas":[{{"brokerName":"fake","perm":6,"readQueueNums":1,"writeQueueNums":1,"topicSysFlag":0}}]}}"#,
            self.addr
        )
        .into_bytes()
    }
}

/// Both header codecs are tried where a test is about bytes.
pub const CODECS: [Codec; 2] = [Codec::Json, Codec::Rocketmq];
