//! One TCP connection: two pipes, each with the bytes that were sent and not yet read.
//!
//! ```text
//! sender -> [ held: segment at 7 ms | segment at 9 ms ] end at 9 ms -> reader      a segment can be read once its time has come
//! ```
//!
//! Segments never overtake each other. `held` counts against the window whether the bytes still travel or have arrived.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

use super::clock::Signal;
use super::env::Env;
use super::process::HostId;

/// Which of its two ends: the one that connected is 0.
pub(super) type Side = usize;

pub(super) struct Conn {
    pub hosts: [HostId; 2],
    ends: [End; 2],
}

/// One end, with the pipe into it.
#[derive(Default)]
struct End {
    state: Cell<EndState>,
    /// It has said that it sends no more.
    finished: Cell<bool>,
    inbound: RefCell<Pipe>,
    readable: Rc<Signal>,
    /// Of the pipe out of it.
    writable: Rc<Signal>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum EndState {
    #[default]
    Open,
    /// Reads no more and sends no more; what arrives is answered with a reset.
    Closed,
    /// Without power; what arrives is not answered.
    Dark,
}

#[derive(Default)]
struct Pipe {
    segments: VecDeque<Segment>,
    held_bytes: usize,
    last_arrival_ns: u64,
    end_at_ns: Option<u64>,
    reset_at_ns: Option<u64>,
}

struct Segment {
    at_ns: u64,
    bytes: Vec<u8>,
    read: usize,
}

impl Conn {
    pub fn between(hosts: [HostId; 2]) -> Self {
        Self {
            hosts,
            ends: Default::default(),
        }
    }

    pub async fn recv(&self, env: &Env, side: Side) -> io::Result<Vec<u8>> {
        let end = &self.ends[side];
        end.readable.until(|| self.try_recv(env, side)).await
    }

    pub async fn send(&self, env: &Env, side: Side, bytes: &[u8]) -> io::Result<()> {
        let end = &self.ends[side];
        let mut sent = 0;
        while sent < bytes.len() {
            let rest = &bytes[sent..];
            sent += end
                .writable
                .until(|| self.try_send(env, side, rest))
                .await?;
        }
        Ok(())
    }

    /// No more is sent from `side`; what was sent arrives first.
    pub fn finish(&self, env: &Env, side: Side) {
        if self.ends[side].finished.replace(true) {
            return;
        }
        self.ends[side].writable.notify();
        let peer = &self.ends[1 - side];
        let at_ns = self.arrival_ns(env, 1 - side);
        peer.inbound.borrow_mut().end_at_ns = Some(at_ns);
        env.timeline.notify_at(at_ns, &peer.readable);
    }

    /// `shutdown(SHUT_RDWR)`: pending calls on this side return, bytes still on their way to it are answered with a reset.
    pub fn shutdown(&self, env: &Env, side: Side) {
        if self.ends[side].state.get() != EndState::Open {
            return;
        }
        self.finish(env, side);
        let still_travelling = self.close_inbound(side, |pipe| {
            pipe.segments
                .back()
                .is_some_and(|last| last.at_ns > env.timeline.now_ns())
        });
        if still_travelling {
            self.reset(env, 1 - side);
        }
    }

    /// `close`: as `shutdown`, and bytes that arrived unread are answered with a reset, too.
    pub fn close(&self, env: &Env, side: Side) {
        if self.ends[side].state.get() != EndState::Open {
            return;
        }
        self.finish(env, side);
        let unread = self.close_inbound(side, |pipe| !pipe.segments.is_empty());
        if unread {
            self.reset(env, 1 - side);
        }
    }

    /// A reset is on its way to `side`.
    pub fn reset(&self, env: &Env, side: Side) {
        let end = &self.ends[side];
        let at_ns = env.timeline.now_ns() + env.within(&env.config.net_delay_ns);
        let mut pipe = end.inbound.borrow_mut();
        let at_ns = pipe.reset_at_ns.map_or(at_ns, |earlier| earlier.min(at_ns));
        pipe.reset_at_ns = Some(at_ns);
        drop(pipe);
        env.timeline.notify_at(at_ns, &end.readable);
        env.timeline.notify_at(at_ns, &end.writable);
    }

    /// The host of `side` is without power: of what it sent and is still on its way, the end may be lost.
    pub fn power_down(&self, env: &Env, side: Side) {
        let end = &self.ends[side];
        if end.state.get() != EndState::Open {
            return;
        }
        end.state.set(EndState::Dark);
        let mut pipe = self.ends[1 - side].inbound.borrow_mut();
        let now_ns = env.timeline.now_ns();
        let arrived = pipe.segments.partition_point(|s| s.at_ns <= now_ns);
        let travelling = pipe.segments.len() - arrived;
        let lost = env.below(travelling as u64 + 1) as usize;
        for segment in pipe.segments.split_off(arrived + travelling - lost) {
            pipe.held_bytes -= segment.bytes.len() - segment.read;
        }
        if lost > 0 || env.coin() {
            pipe.end_at_ns = pipe.end_at_ns.filter(|&at_ns| at_ns <= now_ns);
        }
    }

    /// The host of `side` has power again, without this connection: a peer that sends to it gets a reset.
    pub fn power_up(&self, env: &Env, side: Side) {
        if self.ends[side].state.get() != EndState::Dark {
            return;
        }
        let unacknowledged = self.close_inbound(side, |pipe| !pipe.segments.is_empty());
        if unacknowledged {
            self.reset(env, 1 - side);
        }
    }

    /// Tasks that wait on this connection look again.
    pub fn notify(&self) {
        for end in &self.ends {
            end.readable.notify();
            end.writable.notify();
        }
    }

    fn try_recv(&self, env: &Env, side: Side) -> Option<io::Result<Vec<u8>>> {
        let end = &self.ends[side];
        match end.state.get() {
            EndState::Open => {}
            EndState::Closed => return Some(Ok(Vec::new())),
            EndState::Dark => return None,
        }
        let horizon_ns = self.horizon_ns(env, side);
        let mut pipe = end.inbound.borrow_mut();
        if pipe.reset_at_ns.is_some_and(|at_ns| at_ns <= horizon_ns) {
            return Some(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let bytes = pipe.take(horizon_ns, env);
        if bytes.is_empty() {
            let ended = pipe.segments.is_empty() && pipe.end_at_ns? <= horizon_ns;
            return ended.then(|| Ok(Vec::new()));
        }
        drop(pipe);
        self.ends[1 - side].writable.notify();
        env.trace("recv", self.hosts[side] as u64, bytes.len() as u64, 0);
        Some(Ok(bytes))
    }

    fn try_send(&self, env: &Env, side: Side, bytes: &[u8]) -> Option<io::Result<usize>> {
        let (end, peer) = (&self.ends[side], &self.ends[1 - side]);
        if end.state.get() == EndState::Dark {
            return None;
        }
        if end.finished.get() || end.state.get() == EndState::Closed {
            return Some(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let reset_at_ns = end.inbound.borrow().reset_at_ns;
        if reset_at_ns.is_some_and(|at_ns| at_ns <= self.horizon_ns(env, side)) {
            return Some(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if peer.state.get() == EndState::Closed {
            self.reset(env, side);
            return Some(Ok(bytes.len()));
        }
        let room = env.config.net_window_bytes - peer.inbound.borrow().held_bytes;
        let longest = room.min(bytes.len()).min(env.config.net_segment_bytes);
        if longest == 0 {
            return None;
        }
        let len = draw_len(env, longest);
        let at_ns = self.arrival_ns(env, 1 - side);
        peer.inbound.borrow_mut().push(at_ns, &bytes[..len]);
        env.timeline.notify_at(at_ns, &peer.readable);
        env.trace("send", self.hosts[side] as u64, len as u64, at_ns);
        Some(Ok(len))
    }

    /// When what is sent to `side` now arrives: after all that was sent before.
    fn arrival_ns(&self, env: &Env, side: Side) -> u64 {
        let delay_ns = env.within(&env.config.net_delay_ns);
        let mut pipe = self.ends[side].inbound.borrow_mut();
        let at_ns = env.timeline.now_ns() + delay_ns;
        pipe.last_arrival_ns = pipe.last_arrival_ns.max(at_ns);
        pipe.last_arrival_ns
    }

    /// What was to arrive at `side` by then has arrived.
    fn horizon_ns(&self, env: &Env, side: Side) -> u64 {
        let (from, to) = (self.hosts[1 - side], self.hosts[side]);
        let cut_at_ns = env.partitions.cut_at_ns(from, to);
        cut_at_ns.unwrap_or_else(|| env.timeline.now_ns())
    }

    fn close_inbound(&self, side: Side, look: impl FnOnce(&Pipe) -> bool) -> bool {
        let end = &self.ends[side];
        end.state.set(EndState::Closed);
        let mut pipe = end.inbound.borrow_mut();
        let found = look(&pipe);
        pipe.segments.clear();
        pipe.held_bytes = 0;
        drop(pipe);
        end.readable.notify();
        self.ends[1 - side].writable.notify();
        found
    }
}

impl Pipe {
    fn push(&mut self, at_ns: u64, bytes: &[u8]) {
        self.held_bytes += bytes.len();
        self.segments.push_back(Segment {
            at_ns,
            bytes: bytes.to_vec(),
            read: 0,
        });
    }

    /// Some of what has arrived, of one segment or of several.
    fn take(&mut self, horizon_ns: u64, env: &Env) -> Vec<u8> {
        let arrived = self.segments.iter().take_while(|s| s.at_ns <= horizon_ns);
        let available: usize = arrived.map(|s| s.bytes.len() - s.read).sum();
        let mut left = match available {
            0 => return Vec::new(),
            _ => draw_len(env, available),
        };
        let mut taken = Vec::with_capacity(left);
        self.held_bytes -= left;
        while let Some(segment) = self.segments.front_mut().filter(|_| left > 0) {
            let rest = &segment.bytes[segment.read..];
            let len = rest.len().min(left);
            taken.extend_from_slice(&rest[..len]);
            segment.read += len;
            left -= len;
            if segment.read == segment.bytes.len() {
                self.segments.pop_front();
            }
        }
        taken
    }
}

/// Mostly all of it, at times any part, at times a few bytes.
fn draw_len(env: &Env, longest: usize) -> usize {
    let few = longest.min(8) as u64;
    env.draw(|rng| match rng.below(8) {
        0 => rng.within(&(1..=few)) as usize,
        1 | 2 => rng.within(&(1..=longest as u64)) as usize,
        _ => longest,
    })
}
