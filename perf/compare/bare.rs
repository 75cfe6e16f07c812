//! The bare server: what the machine and our I/O can do with no broker on top. It takes the same frames from the same load generator, puts
//! each whole frame into a log with the same group commit, and answers that it is there. It decodes no header, knows no topics, has no queues, and nobody
//! can read what it has stored.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;

use memchr::memmem;
use ringmq::io::{Disk, Durability, File, Listener, Net, Notify, OpenOptions, Spawn, Stream};
use ringmq::mem::LogBuffer;
use ringmq::ring::{Ring, RingConfig, RingFile, RingStream};
use ringmq::wire::codes::{request, response};
use ringmq::wire::route::{BrokerData, QueueData, TopicRouteData};
use ringmq::wire::{Codec, Frame, Head, Scratch, frame, header, loose_json};

use crate::Result;

const BUFFER_BYTES: usize = 64 << 20;
const BLOCK_BYTES: u64 = 4096;
/// The log begins again at the start of its file, which is written before.
const FILE_BYTES: u64 = 8 * BUFFER_BYTES as u64;
const QUEUES: u32 = 8;

/// How a send begins, as the load generator writes it.
const SEND: &[u8] = b"{\"code\":310,";
const OPAQUE: &[u8] = b"\"opaque\":";
const DIGITS: usize = 10;

struct Server {
    io: Ring,
    addr: SocketAddr,
    file: RingFile,
    durability: Durability,
    log: RefCell<LogBuffer>,
    tail: Cell<u64>,
    waiting: RefCell<VecDeque<Waiting>>,
    work: Notify,
    answer: Vec<u8>,
    opaque_at: usize,
}

/// A send that is in the log.
struct Waiting {
    /// Where it ends there.
    end: u64,
    connection: Rc<Connection>,
    opaque: [u8; DIGITS],
}

struct Connection {
    stream: RingStream,
    out: RefCell<Vec<u8>>,
    queued: Notify,
}

/// Serves until it is killed. `store` is a directory on the disk.
pub fn run(core: usize, port: u16, store: &Path, is_sync: bool) -> Result<()> {
    let config = RingConfig {
        core: Some(core),
        ..RingConfig::default()
    };
    let durability = match is_sync {
        true => Durability::Synced,
        false => Durability::Written,
    };
    Ring::start(config, |io| serve(io, port, store, durability))?
}

async fn serve(io: Ring, port: u16, store: &Path, durability: Durability) -> Result<()> {
    let addr = SocketAddr::from(([127, 0, 0, 1], port));
    let listener = io.listen(addr)?;
    let (answer, opaque_at) = answer();
    let log = io.log_buffer(BUFFER_BYTES)?;
    let server = Rc::new(Server {
        addr,
        file: log_file(&io, store).await?,
        io,
        durability,
        log: RefCell::new(log),
        tail: Cell::new(0),
        waiting: RefCell::default(),
        work: Notify::default(),
        answer,
        opaque_at,
    });
    let committing = server.clone();
    server
        .io
        .spawn("commit", async move { committing.commit().await });
    println!("ready");
    loop {
        let connection = Rc::new(Connection {
            stream: listener.accept().await?,
            out: RefCell::default(),
            queued: Notify::default(),
        });
        let (reader, writer) = (connection.clone(), connection);
        let reading = server.clone();
        server
            .io
            .spawn("read", async move { reading.read(reader).await });
        server.io.spawn("write", async move { write(writer).await });
    }
}

/// Written in advance, as the broker's segments are: a write into space that is only allocated changes the file system's own data.
async fn log_file(io: &Ring, store: &Path) -> Result<RingFile> {
    let options = OpenOptions {
        write: true,
        create: true,
        direct: true,
    };
    let file = io.open(&store.join("bare.log"), options).await?;
    file.allocate(FILE_BYTES).await?;
    let zeros = LogBuffer::new(BUFFER_BYTES)?;
    let mut at = 0;
    while at < FILE_BYTES {
        let slice = zeros.slice(at, 1 << 20);
        file.write_at(slice, at, Durability::Written).await.0?;
        at += 1 << 20;
    }
    file.sync_data().await?;
    Ok(file)
}

/// The answer to a send, and where its opaque goes.
fn answer() -> (Vec<u8>, usize) {
    let opaque = 1_234_567_890;
    let mut bytes = Vec::new();
    frame::write(
        &mut bytes,
        &head(Codec::Json, opaque, response::SUCCESS),
        &[],
        &[],
    );
    let at = memmem::find(&bytes, opaque.to_string().as_bytes());
    (bytes, at.expect("it was just written"))
}

fn head(codec: Codec, opaque: i32, code: i32) -> Head<'static> {
    Head::reply(codec, code, opaque)
}

impl Server {
    async fn read(&self, connection: Rc<Connection>) {
        let mut held: Vec<u8> = Vec::new();
        while let Ok(chunk) = connection.stream.recv().await {
            if chunk.is_empty() {
                return;
            }
            let is_whole = held.is_empty();
            if !is_whole {
                held.extend_from_slice(&chunk);
            }
            let bytes: &[u8] = if is_whole { &chunk } else { &held };
            let mut at = 0;
            while let Ok(Some(frame)) = frame::split(&bytes[at..]) {
                self.frame(&connection, &frame, &bytes[at..at + frame.len]);
                at += frame.len;
            }
            match is_whole {
                true => held.extend_from_slice(&chunk[at..]),
                false => drop(held.drain(..at)),
            }
        }
    }

    fn frame(&self, connection: &Rc<Connection>, frame: &Frame<'_>, bytes: &[u8]) {
        if !frame.header.starts_with(SEND) {
            return self.ask(connection, frame);
        }
        let digits = memmem::rfind(frame.header, OPAQUE)
            .and_then(|at| frame.header.get(at + OPAQUE.len()..)?.first_chunk());
        let digits: &[u8; DIGITS] = digits.expect("the load generator's sends have it");
        let start = self.tail.get();
        let end = start + bytes.len() as u64;
        self.log
            .borrow_mut()
            .write(start, bytes.len())
            .copy_from_slice(bytes);
        self.tail.set(end);
        self.waiting.borrow_mut().push_back(Waiting {
            end,
            connection: connection.clone(),
            opaque: *digits,
        });
        self.work.notify();
    }

    /// Whatever the load generator asks for before and after its load.
    fn ask(&self, connection: &Connection, frame: &Frame<'_>) {
        let mut scratch = Scratch::default();
        let Ok(header) = header::decode(frame, &mut scratch) else {
            return;
        };
        let (code, body) = match header.code {
            request::GET_ROUTEINFO_BY_TOPIC => (response::SUCCESS, self.route()),
            _ => (response::REQUEST_CODE_NOT_SUPPORTED, Vec::new()),
        };
        let head = head(frame.codec, header.opaque, code);
        frame::write(&mut connection.out.borrow_mut(), &head, &[], &body);
        connection.queued.notify();
    }

    fn route(&self) -> Vec<u8> {
        let name = "bare".to_owned();
        let queues = QueueData {
            broker_name: name.clone(),
            read_queue_nums: QUEUES as i32,
            write_queue_nums: QUEUES as i32,
            perm: 6,
            ..QueueData::default()
        };
        let broker = BrokerData {
            broker_name: name,
            broker_addrs: BTreeMap::from([(0, self.addr.to_string())]),
            ..BrokerData::default()
        };
        loose_json::to_vec(&TopicRouteData {
            queue_datas: vec![queues],
            broker_datas: vec![broker],
            ..TopicRouteData::default()
        })
    }

    /// One write in flight; the next one is what has come meanwhile.
    async fn commit(&self) {
        let mut written = 0;
        loop {
            if self.tail.get() == written {
                self.work.notified().await;
                continue;
            }
            let start = written - written % BLOCK_BYTES;
            // Neither over the end of the buffer nor, as it is a part of that, of the file.
            let buffer_end = (written / BUFFER_BYTES as u64 + 1) * BUFFER_BYTES as u64;
            let end = self.tail.get().min(buffer_end);
            let len = (end.next_multiple_of(BLOCK_BYTES) - start) as usize;
            let slice = self.log.borrow().slice(start, len);
            let at = start % FILE_BYTES;
            let (ended, _) = self.file.write_at(slice, at, self.durability).await;
            ended.expect("the disk takes the log");
            written = end;
            self.acknowledge(written);
        }
    }

    fn acknowledge(&self, written: u64) {
        let mut waiting = self.waiting.borrow_mut();
        while let Some(send) = waiting.pop_front_if(|send| send.end <= written) {
            let mut out = send.connection.out.borrow_mut();
            let start = out.len() + self.opaque_at;
            out.extend_from_slice(&self.answer);
            out[start..start + DIGITS].copy_from_slice(&send.opaque);
            send.connection.queued.notify();
        }
    }
}

async fn write(connection: Rc<Connection>) {
    let mut flying = Vec::new();
    loop {
        connection.queued.notified().await;
        std::mem::swap(&mut *connection.out.borrow_mut(), &mut flying);
        if flying.is_empty() {
            continue;
        }
        let (sent, buf) = connection.stream.send(flying).await;
        flying = buf;
        flying.clear();
        if sent.is_err() {
            return;
        }
        if !connection.out.borrow().is_empty() {
            connection.queued.notify();
        }
    }
}
