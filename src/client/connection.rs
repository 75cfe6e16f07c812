//! One TCP connection to a broker or name server: frames in, bytes out.
//!
//! A send appends a whole frame to the output buffer. The writer task writes all that has accumulated at once, while the next frames
//! accumulate. The reader task reads into one large buffer and passes each frame in it by reference. Neither allocates per message.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

use super::stream::{Dial, Endpoint, Stream};
use crate::wire::frame::{self, Frame};

const READ_BUFFER_BYTES: usize = 256 << 10;
/// A larger output buffer is shrunk to this after a burst.
const KEPT_OUTPUT_BYTES: usize = 1 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The handler of incoming frames.
pub trait Inbound: 'static {
    /// One whole frame. What is appended to `output` is sent after the frames of the same read.
    fn frame(&mut self, frame: &Frame<'_>, output: &mut Vec<u8>);

    /// Bytes have arrived; their frames follow.
    fn turn(&mut self) {}

    /// The connection is closed; nothing follows.
    fn closed(&mut self, reason: &str);
}

/// A handle on the connection, which ends when it is dropped.
pub struct Connection<I: Inbound> {
    shared: Rc<Shared<I>>,
}

struct Shared<I> {
    peer: SocketAddr,
    stream: Stream,
    inbound: RefCell<I>,
    output: RefCell<Vec<u8>>,
    output_ready: Notify,
    closed: Cell<bool>,
}

impl<I: Inbound> Connection<I> {
    pub async fn open(to: &Endpoint, dial: &Dial, inbound: I) -> io::Result<Self> {
        let connecting = Stream::connect(to, dial);
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, connecting)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let shared = Rc::new(Shared {
            peer: to.addr,
            stream,
            inbound: RefCell::new(inbound),
            output: RefCell::new(Vec::new()),
            output_ready: Notify::new(),
            closed: Cell::new(false),
        });
        tokio::task::spawn_local(Rc::clone(&shared).read());
        tokio::task::spawn_local(Rc::clone(&shared).write());
        Ok(Self { shared })
    }

    pub fn peer(&self) -> SocketAddr {
        self.shared.peer
    }

    pub fn is_closed(&self) -> bool {
        self.shared.closed.get()
    }

    /// Bytes that are not written yet: they grow when the peer does not keep up.
    pub fn waiting_bytes(&self) -> usize {
        self.shared.output.borrow().len()
    }

    /// Appends frames to the output and wakes the writer.
    pub fn send<T>(&self, encode: impl FnOnce(&mut I, &mut Vec<u8>) -> T) -> T {
        let result = encode(
            &mut self.shared.inbound.borrow_mut(),
            &mut self.shared.output.borrow_mut(),
        );
        self.shared.output_ready.notify_one();
        result
    }

    /// The state behind the frames.
    pub fn inbound<T>(&self, look: impl FnOnce(&mut I) -> T) -> T {
        look(&mut self.shared.inbound.borrow_mut())
    }

    pub fn close(&self) {
        self.shared.close("closed by this side");
    }
}

impl<I: Inbound> Drop for Connection<I> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<I: Inbound> Shared<I> {
    async fn read(self: Rc<Self>) {
        let mut buffer = Vec::with_capacity(READ_BUFFER_BYTES);
        let reason = loop {
            let filled = buffer.len();
            if buffer.capacity() - filled < READ_BUFFER_BYTES / 2 {
                buffer.reserve(buffer.capacity().max(READ_BUFFER_BYTES));
            }
            let (read, filled) = self.stream.read(buffer, filled).await;
            buffer = filled;
            match read {
                Ok(0) => break "closed by the other side".to_owned(),
                Ok(_) => {}
                Err(error) => break error.to_string(),
            }
            match self.take_frames(&buffer) {
                Ok(taken) => {
                    buffer.drain(..taken);
                }
                Err(reason) => break reason,
            }
        };
        self.close(&reason);
    }

    /// Passes on the whole frames at the start of `bytes`; returns their length.
    fn take_frames(&self, bytes: &[u8]) -> Result<usize, String> {
        let mut inbound = self.inbound.borrow_mut();
        let mut output = self.output.borrow_mut();
        inbound.turn();
        let mut taken = 0;
        while let Some(frame) = frame::split(&bytes[taken..]).map_err(|error| error.to_string())? {
            taken += frame.len;
            inbound.frame(&frame, &mut output);
        }
        if !output.is_empty() {
            self.output_ready.notify_one();
        }
        Ok(taken)
    }

    async fn write(self: Rc<Self>) {
        let mut sending = Vec::new();
        while !self.closed.get() {
            if self.output.borrow().is_empty() {
                self.output_ready.notified().await;
                continue;
            }
            std::mem::swap(&mut *self.output.borrow_mut(), &mut sending);
            let (written, buffer) = self.stream.write_all(sending).await;
            sending = buffer;
            sending.clear();
            sending.shrink_to(KEPT_OUTPUT_BYTES);
            if let Err(error) = written {
                return self.close(&error.to_string());
            }
        }
    }

    fn close(&self, reason: &str) {
        if self.closed.replace(true) {
            return;
        }
        // Wakes both tasks: they end, and the connection with them.
        self.stream.shutdown();
        self.output_ready.notify_one();
        self.inbound.borrow_mut().closed(reason);
    }
}
