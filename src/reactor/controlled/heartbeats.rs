//! Heartbeats (904) to one controller, over a connection of their own: when it is closed, the controller takes this broker for dead.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;

use tracing::debug;

use crate::io::{Either, Io, Notify, Stream, select};
use crate::reactor::remoting_client::within;

const CONNECT_NS: u64 = 1_000_000_000;
const SEND_NS: u64 = 3_000_000_000;

/// One task for each controller.
#[derive(Default)]
pub(super) struct Posts(RefCell<BTreeMap<SocketAddr, Rc<Post>>>);

impl Posts {
    /// These are the controllers from now on. To one that was none before, the next heartbeat is the first one.
    pub fn send_to<I: Io>(&self, io: &I, addrs: &[SocketAddr]) {
        let mut posts = self.0.borrow_mut();
        posts.retain(|addr, post| {
            let stays = addrs.contains(addr);
            if !stays {
                post.end();
            }
            stays
        });
        for addr in addrs {
            posts.entry(*addr).or_insert_with(|| {
                let post = Rc::new(Post::default());
                io.spawn("heartbeats", run(io.clone(), *addr, post.clone()));
                post
            });
        }
    }

    pub fn send(&self, frame: &[u8]) {
        self.0
            .borrow()
            .values()
            .for_each(|post| post.send(frame.to_vec()));
    }

    pub fn close(&self) {
        self.0.borrow().values().for_each(|post| post.close());
    }

    pub fn end(&self) {
        self.0.borrow().values().for_each(|post| post.end());
    }
}

/// What is to be sent to a controller.
#[derive(Default)]
struct Post {
    frame: RefCell<Option<Vec<u8>>>,
    closes: Cell<bool>,
    is_over: Cell<bool>,
    wake: Notify,
}

impl Post {
    /// Only the newest heartbeat is sent.
    pub fn send(&self, frame: Vec<u8>) {
        self.frame.replace(Some(frame));
        self.wake.notify();
    }

    /// The connection is closed, until the next heartbeat.
    pub fn close(&self) {
        self.frame.take();
        self.closes.set(true);
        self.wake.notify();
    }

    pub fn end(&self) {
        self.is_over.set(true);
        self.wake.notify();
    }
}

async fn run<I: Io>(io: I, addr: SocketAddr, post: Rc<Post>) {
    let mut link: Option<I::Stream> = None;
    while !post.is_over.get() {
        match &link {
            None => post.wake.notified().await,
            Some(open) => {
                if let Either::Right(()) = select(post.wake.notified(), until_closed(open)).await {
                    close(&mut link);
                    continue;
                }
            }
        }
        if post.closes.take() {
            close(&mut link);
        }
        let frame = post.frame.take().filter(|_| !post.is_over.get());
        let Some(frame) = frame else { continue };
        if link.is_none() {
            let host = addr.ip().to_string();
            let connecting = io.connect_remoting(addr, &host);
            link = within(&io, CONNECT_NS, connecting).await.ok();
        }
        let Some(open) = &link else { continue };
        let sent = within(&io, SEND_NS, async { open.send(frame).await.0 }).await;
        if let Err(error) = sent {
            debug!(controller = %addr, %error, "a heartbeat cannot be sent");
            close(&mut link);
        }
    }
    close(&mut link);
}

fn close<S: Stream>(link: &mut Option<S>) {
    if let Some(open) = link.take() {
        open.shutdown();
    }
}

/// A controller sends no more than its replies there.
async fn until_closed<S: Stream>(stream: &S) {
    while let Ok(chunk) = stream.recv().await {
        if chunk.is_empty() {
            return;
        }
    }
}
