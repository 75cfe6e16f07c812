//! Connections of proxies that have not said yet whose they are. The reactor gets each when it has.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::rc::Rc;

use super::outcomes::Reason;
use super::stream::SecuredStream;
use crate::io::{Either, Io, Notify, Stream, select};

/// Of a port. A proxy says it at once, so those that wait longest have most likely stopped.
pub const MAX_INTRODUCTIONS: usize = 512;

/// How long one may take.
pub const INTRODUCTION_NS: u64 = 10_000_000_000;

/// Those of one port.
pub struct Introductions<I: Io> {
    open: RefCell<BTreeMap<u64, SecuredStream<I>>>,
    next: Cell<u64>,
    done: RefCell<VecDeque<SecuredStream<I>>>,
    has_done: Notify,
}

impl<I: Io> Introductions<I> {
    pub fn new() -> Rc<Self> {
        Rc::new(Self {
            open: RefCell::default(),
            next: Cell::new(0),
            done: RefCell::default(),
            has_done: Notify::default(),
        })
    }

    /// One more begins; if there are as many as may be, the oldest ends.
    pub fn begin(self: &Rc<Self>, stream: SecuredStream<I>, io: &I) {
        let number = self.next.replace(self.next.get() + 1);
        let mut open = self.open.borrow_mut();
        while open.len() >= MAX_INTRODUCTIONS
            && let Some((_, oldest)) = open.pop_first()
        {
            oldest.shutdown();
        }
        open.insert(number, stream.clone());
        let (all, io_of_task) = (self.clone(), io.clone());
        io.spawn("proxy-header", async move {
            let late = io_of_task.sleep_until(io_of_task.now().mono_ns + INTRODUCTION_NS);
            let introduced = match select(stream.introduced(), late).await {
                Either::Left(introduced) => introduced,
                Either::Right(()) => Err(io::ErrorKind::TimedOut.into()),
            };
            // Otherwise it has been ended meanwhile.
            let is_open = all.open.borrow_mut().remove(&number).is_some();
            match introduced {
                Ok(true) if is_open => {
                    all.done.borrow_mut().push_back(stream);
                    all.has_done.notify();
                }
                Ok(_) => {}
                Err(error) => {
                    let why = format!("it has not said whose it is: {error}");
                    stream.refuse(Reason::ProxyHeader, &why);
                }
            }
        });
    }

    /// The next that has said whose it is.
    pub async fn next(&self) -> SecuredStream<I> {
        loop {
            if let Some(stream) = self.done.borrow_mut().pop_front() {
                return stream;
            }
            self.has_done.notified().await;
        }
    }

    /// The port is closed.
    pub fn end_all(&self) {
        let open = self.open.take();
        open.values().for_each(SecuredStream::shutdown);
        self.done.take();
    }
}
