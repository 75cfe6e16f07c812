//! Connections: they receive into shared buffers and send owned ones.
//!
//! One multishot receive stays armed and fills buffers as bytes arrive. It ends for many reasons (no buffer left, the
//! kernel's completion queue full, paused because the reader is slow). The next `recv` that finds no chunk queued arms it
//! again. Nothing else does, so it never spins.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use io_uring::{cqueue, opcode};
use rustix::net::{Shutdown, shutdown};

use super::core::Core;
use super::descriptor::{Descriptor, entry};
use super::op::Request;
use super::queues::Completion;
use super::recv_buffers::{Chunk, GROUP, RecvBuffers};
use super::slots::{Demand, Multishot, OpKey};
use crate::io::Stream;
use crate::mem::Buf;
use crate::ring::linux::piece;

/// With more chunks than this queued the reader is not reading: the receive is cancelled.
const QUEUED_CHUNKS: usize = 4;

#[derive(Clone)]
pub struct RingStream {
    connection: Rc<Connection>,
}

struct Connection {
    core: Rc<Core>,
    descriptor: Rc<Descriptor>,
    peer_addr: SocketAddr,
    receiving: Rc<Receiving>,
}

/// Where the completions of a stream's receive go.
struct Receiving {
    buffers: Rc<RecvBuffers>,
    chunks: RefCell<VecDeque<Chunk>>,
    reader: RefCell<Option<Waker>>,
    armed: Cell<Option<OpKey>>,
    pausing: Cell<bool>,
    /// After the last chunk: 0 for the end of the stream, or an error's number.
    end: Cell<Option<i32>>,
    closed: Cell<bool>,
}

impl RingStream {
    pub(super) fn new(core: &Rc<Core>, fd: OwnedFd, peer_addr: SocketAddr) -> RingStream {
        let connection = Connection {
            core: core.clone(),
            descriptor: Descriptor::new(core, fd),
            peer_addr,
            receiving: Rc::new(Receiving::new(core.recv_buffers.clone())),
        };
        RingStream {
            connection: Rc::new(connection),
        }
    }
}

impl Stream for RingStream {
    type Chunk = Chunk;

    fn recv(&self) -> impl Future<Output = io::Result<Chunk>> {
        poll_fn(|context| self.connection.poll_recv(context))
    }

    async fn recv_into(&self, mut buf: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        let connection = &self.connection;
        match poll_fn(|context| connection.poll_left(context)).await {
            None => connection.receive_into(buf).await,
            Some(Err(error)) => (Err(error), buf),
            Some(Ok(chunk)) => {
                buf[..chunk.len()].copy_from_slice(&chunk);
                (Ok(chunk.len()), buf)
            }
        }
    }

    async fn send(&self, mut buf: Vec<u8>) -> (io::Result<()>, Vec<u8>) {
        let mut sent = 0;
        while sent < buf.len() {
            let (result, back) = self.connection.send_from(buf, sent).await;
            buf = back;
            match result {
                Ok(0) => return (Err(io::ErrorKind::WriteZero.into()), buf),
                Ok(len) => sent += len as usize,
                Err(error) => return (Err(error), buf),
            }
        }
        (Ok(()), buf)
    }

    fn shutdown(&self) {
        // An error means that the connection has ended already.
        let _ = shutdown(self.connection.descriptor.fd(), Shutdown::Both);
    }

    fn peer_addr(&self) -> SocketAddr {
        self.connection.peer_addr
    }
}

impl Connection {
    fn poll_recv(&self, context: &mut Context<'_>) -> Poll<io::Result<Chunk>> {
        let receiving = &self.receiving;
        if let Some(received) = receiving.take() {
            return Poll::Ready(received);
        }
        if receiving.armed.get().is_none() && !self.arm() {
            return Poll::Ready(Err(io::Error::from_raw_os_error(libc::ECANCELED)));
        }
        let old = receiving.reader.replace(Some(context.waker().clone()));
        drop(old);
        Poll::Pending
    }

    /// What the multishot receive has received; `None` once it has ended and left nothing. Two receives at a time would take bytes in turn.
    fn poll_left(&self, context: &mut Context<'_>) -> Poll<Option<io::Result<Chunk>>> {
        let receiving = &self.receiving;
        if let Some(received) = receiving.take() {
            return Poll::Ready(Some(received));
        }
        let Some(key) = receiving.armed.get() else {
            return Poll::Ready(None);
        };
        if !receiving.pausing.replace(true) {
            self.core.cancel(key);
        }
        let old = receiving.reader.replace(Some(context.waker().clone()));
        drop(old);
        Poll::Pending
    }

    async fn receive_into(&self, mut buf: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        let len = buf.len() as u32;
        let at = buf.as_mut_ptr();
        let entry = entry!(self.descriptor, |fd| opcode::Recv::new(fd, at, len).build());
        let request = Request::new(entry, &self.descriptor).with_buf(buf.into());
        let (result, buf) = self.core.submit(request).await;
        (result.map(|len| len as usize), own(buf))
    }

    fn arm(&self) -> bool {
        let entry = entry!(self.descriptor, |fd| opcode::RecvMulti::new(fd, GROUP)
            .build());
        let to = self.receiving.clone();
        let key = self.core.submit_multishot(entry, &self.descriptor, to);
        self.receiving.armed.set(key);
        key.is_some()
    }

    async fn send_from(&self, buf: Vec<u8>, sent: usize) -> (io::Result<u32>, Vec<u8>) {
        let piece = piece(&buf, sent);
        let flags = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;
        let entry = entry!(self.descriptor, |fd| opcode::Send::new(
            fd,
            piece.as_ptr(),
            piece.len() as u32
        )
        .flags(flags)
        .build());
        let request = Request::new(entry, &self.descriptor).with_buf(buf.into());
        let (result, buf) = self.core.submit(request).await;
        (result, own(buf))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.receiving.closed.set(true);
        self.receiving.chunks.take();
        // The descriptor closes when the receive has ended, as its slot holds it too.
        if let Some(key) = self.receiving.armed.get() {
            self.core.cancel(key);
        }
    }
}

impl Receiving {
    fn new(buffers: Rc<RecvBuffers>) -> Receiving {
        Receiving {
            buffers,
            chunks: RefCell::default(),
            reader: RefCell::default(),
            armed: Cell::default(),
            pausing: Cell::default(),
            end: Cell::default(),
            closed: Cell::default(),
        }
    }

    /// What was received, or how the stream has ended.
    fn take(&self) -> Option<io::Result<Chunk>> {
        if let Some(chunk) = self.chunks.borrow_mut().pop_front() {
            return Some(Ok(chunk));
        }
        self.end.get().map(|end| match end {
            0 => Ok(Chunk::empty()),
            error => Err(io::Error::from_raw_os_error(error)),
        })
    }
}

impl Multishot for Receiving {
    fn complete(&self, completion: Completion, _: u64) -> Demand {
        let Completion { result, flags, .. } = completion;
        let len = usize::try_from(result).unwrap_or(0);
        let chunk = cqueue::buffer_select(flags).map(|id| self.buffers.take(id, len));
        let last = !cqueue::more(flags);
        if last {
            self.armed.set(None);
            self.pausing.set(false);
        }
        if self.closed.get() {
            return Demand::Unchanged;
        }
        match (result, chunk) {
            (1.., Some(chunk)) => self.chunks.borrow_mut().push_back(chunk),
            (1.., None) => unreachable!("bytes without a buffer"),
            (0, _) => self.end.set(Some(0)),
            _ => match -result {
                // All buffers were in use, or it was paused: the next `recv` arms it again.
                libc::ENOBUFS | libc::ECANCELED => {}
                error => self.end.set(Some(error)),
            },
        }
        let reader = self.reader.borrow_mut().take();
        if let Some(reader) = reader {
            reader.wake();
        }
        let queued = self.chunks.borrow().len();
        match !last && queued > QUEUED_CHUNKS && !self.pausing.replace(true) {
            true => Demand::Paused,
            false => Demand::Unchanged,
        }
    }
}

fn own(buf: Buf) -> Vec<u8> {
    match buf {
        Buf::Heap(bytes) => bytes,
        other => unreachable!("a send gave back {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{Listener, Net, Spawn};
    use crate::ring::linux::tests::{loopback, pattern, pause, recv_exactly};
    use crate::ring::tests::{on_ring, small};

    const STREAM_BYTES: usize = 24 << 20;

    /// Some readers stop for good or for a while: they hold little, lose nothing, and do not stop the others.
    #[test]
    fn a_reader_that_stops_stops_only_its_sender() {
        on_ring(small(), async |ring| {
            let bytes = pattern(STREAM_BYTES, 0);
            let listener = ring.listen(loopback()).unwrap();
            let addr = listener.local_addr();
            let mut stopped = Vec::new();
            for _ in 0..6 {
                let sender = ring.connect(addr).await.unwrap();
                let reader = listener.accept().await.unwrap();
                let sent = bytes.clone();
                ring.spawn("test", async move {
                    let _ = sender.send(sent).await;
                });
                let first = reader.recv().await.unwrap();
                stopped.push((first.to_vec(), reader));
            }
            let paused = |reader: &RingStream| {
                let receiving = &reader.connection.receiving;
                // By its own pause, or as all buffers were in use.
                receiving.armed.get().is_none() && !receiving.chunks.borrow().is_empty()
            };
            while !stopped.iter().all(|(_, reader)| paused(reader)) {
                pause(&ring, 1).await;
            }
            let client = ring.connect(addr).await.unwrap();
            let server = listener.accept().await.unwrap();
            for round in 0..1000 {
                let bytes = pattern(1000, round);
                client.send(bytes.clone()).await.0.unwrap();
                assert_eq!(recv_exactly(&server, 1000).await, bytes);
            }
            assert!(stopped.iter().all(|(_, reader)| paused(reader)));
            let (mut received, reader) = stopped.swap_remove(3);
            received.extend(recv_exactly(&reader, STREAM_BYTES - received.len()).await);
            assert!(received == bytes);
            assert!(reader.recv().await.unwrap().is_empty());
        });
    }
}
