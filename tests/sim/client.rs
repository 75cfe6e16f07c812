//! A client of the broker on the seam: whole frames out, whole frames in, every answer within its patience.

use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use ringmq::io::{Clock, Net, Stream};
use ringmq::sim::{SimIo, SimStream};
use ringmq::wire::codes::response;
use ringmq::wire::{Codec, FLAG_ONEWAY, Head, Scratch, Value, frame, header};

use crate::dice::Dice;

/// How long a client waits for a connection or a usual answer.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// Answers of a master that has stored a message.
const LACKING: [i32; 2] = [response::FLUSH_SLAVE_TIMEOUT, response::SLAVE_NOT_AVAILABLE];

pub type Fields<'a> = &'a [(&'a str, Value<'a>)];

pub struct Client {
    pub io: SimIo,
    pub stream: SimStream,
    pub patience: Duration,
    pub codec: Codec,
    /// A message may be stored although replicas are missing.
    pub is_replicated: bool,
    next_opaque: i32,
    unsent: Vec<u8>,
    received: Vec<u8>,
    /// What the broker has asked by itself.
    pub questions: VecDeque<Reply>,
}

#[derive(Debug)]
#[allow(dead_code)] // Shown when an assertion fails.
pub struct Reply {
    pub opaque: i32,
    pub code: i32,
    pub remark: Option<String>,
    pub body: Vec<u8>,
    /// It is a success at the master, and this says what the replicas lack.
    pub lacks: Option<i32>,
    ext: HashMap<String, String>,
}

impl Reply {
    pub fn is_success(&self) -> bool {
        self.code == 0
    }

    pub fn text(&self, name: &str) -> &str {
        let found = self.ext.get(name);
        found.unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }

    pub fn number(&self, name: &str) -> i64 {
        let text = self.text(name);
        text.parse()
            .unwrap_or_else(|_| panic!("{name} of {self:?} is no number"))
    }
}

impl Client {
    pub async fn connect(io: &SimIo, addr: SocketAddr, codec: Codec) -> io::Result<Self> {
        let stream = within(io, PATIENCE, io.connect(addr)).await??;
        Ok(Client {
            io: io.clone(),
            stream,
            patience: PATIENCE,
            codec,
            is_replicated: false,
            next_opaque: 1,
            unsent: Vec::new(),
            received: Vec::new(),
            questions: VecDeque::new(),
        })
    }

    /// Puts a request behind those to be sent; its opaque.
    pub fn ask(&mut self, code: i32, fields: Fields<'_>, body: &[u8]) -> i32 {
        self.push(code, 0, fields, body)
    }

    /// The same for a request that nobody answers.
    pub fn tell(&mut self, code: i32, fields: Fields<'_>, body: &[u8]) {
        self.push(code, FLAG_ONEWAY, fields, body);
    }

    /// Sends what has been put together.
    pub async fn flush(&mut self) -> io::Result<()> {
        let unsent = std::mem::take(&mut self.unsent);
        let (sent, mut buf) = within(&self.io, self.patience, self.stream.send(unsent)).await?;
        buf.clear();
        self.unsent = buf;
        sent
    }

    /// Appends what has been put together to `bytes` instead of sending it.
    pub fn take_unsent(&mut self, bytes: &mut Vec<u8>) {
        bytes.append(&mut self.unsent);
    }

    /// Sends only a beginning of it, and forgets the rest.
    pub async fn flush_part(&mut self, dice: &Dice) -> io::Result<()> {
        let part = dice.below(self.unsent.len() as u64 + 1);
        self.unsent.truncate(part as usize);
        self.flush().await
    }

    /// Sends bytes that need not be a frame.
    pub async fn send_raw(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        within(&self.io, self.patience, self.stream.send(bytes))
            .await?
            .0
    }

    /// The next answer, whichever request it is to.
    pub async fn reply(&mut self) -> io::Result<Reply> {
        loop {
            if let Some(reply) = self.take_frame()? {
                return Ok(reply);
            }
            self.receive().await?;
        }
    }

    /// The next thing that the broker asks.
    pub async fn question(&mut self) -> io::Result<Reply> {
        loop {
            let answer = self.take_frame()?;
            assert!(answer.is_none(), "nobody has asked for {answer:?}");
            if let Some(question) = self.questions.pop_front() {
                return Ok(question);
            }
            self.receive().await?;
        }
    }

    async fn receive(&mut self) -> io::Result<()> {
        let chunk = within(&self.io, self.patience, self.stream.recv()).await??;
        if chunk.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.received.extend_from_slice(&chunk);
        Ok(())
    }

    /// Asks and waits, with nothing else under way.
    pub async fn call(&mut self, code: i32, fields: Fields<'_>, body: &[u8]) -> io::Result<Reply> {
        let opaque = self.ask(code, fields, body);
        self.flush().await?;
        let reply = self.reply().await?;
        assert_eq!(
            reply.opaque, opaque,
            "an answer to another question: {reply:?}"
        );
        Ok(reply)
    }

    fn push(&mut self, code: i32, flag: i32, fields: Fields<'_>, body: &[u8]) -> i32 {
        let opaque = self.next_opaque;
        self.next_opaque += 1;
        let head = Head {
            flag,
            ..Head::request(self.codec, code, opaque)
        };
        frame::write(&mut self.unsent, &head, fields, body);
        opaque
    }

    fn take_frame(&mut self) -> io::Result<Option<Reply>> {
        loop {
            let Some(found) = frame::split(&self.received).map_err(io::Error::other)? else {
                return Ok(None);
            };
            let mut scratch = Scratch::default();
            let header = header::decode(&found, &mut scratch).map_err(io::Error::other)?;
            let is_answer = header.is_response();
            let lacks = (self.is_replicated && is_answer && LACKING.contains(&header.code))
                .then_some(header.code);
            let reply = Reply {
                opaque: header.opaque,
                code: lacks.map_or(header.code, |_| response::SUCCESS),
                lacks,
                remark: header.remark.map(str::to_owned),
                body: found.body.to_vec(),
                ext: header
                    .ext
                    .iter()
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .collect(),
            };
            let len = found.len;
            self.received.drain(..len);
            if is_answer {
                return Ok(Some(reply));
            }
            self.questions.push_back(reply);
        }
    }
}

/// `TimedOut` if `work` is not done by then.
pub async fn within<T>(
    io: &SimIo,
    limit: Duration,
    work: impl Future<Output = T>,
) -> io::Result<T> {
    let deadline_ns = io.now().mono_ns + limit.as_nanos() as u64;
    let mut work = pin!(work);
    let mut deadline = pin!(io.sleep_until(deadline_ns));
    poll_fn(|context| {
        if let Poll::Ready(done) = work.as_mut().poll(context) {
            return Poll::Ready(Ok(done));
        }
        let late = deadline.as_mut().poll(context);
        late.map(|()| Err(io::ErrorKind::TimedOut.into()))
    })
    .await
}

pub async fn sleep(io: &SimIo, duration: Duration) {
    io.sleep_until(io.now().mono_ns + duration.as_nanos() as u64)
        .await;
}
