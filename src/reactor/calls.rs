//! Requests of the broker to its clients: each is matched with its answer by connection and `opaque`.
//!
//! A call ends with the answer, with the end of its connection (at once), or when its time is over; an answer that comes
//! later is dropped. (RocketMQ: `Broker2Client`, `NettyRemotingAbstract.responseTable`.)

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::rc::Rc;

use super::connection::Connection;
use crate::broker::limits::{MAX_CALLS, MAX_CALLS_OF_ONE};
use crate::io::{Either, Io, Notify, Stream, select};
use crate::wire::{Codec, Head, Header, Value, frame};

/// What a client answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub code: i32,
    pub remark: Option<String>,
    pub ext: Vec<(String, String)>,
    pub body: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CallError {
    #[error("its connection has closed")]
    Closed,
    #[error("no answer within {ms} ms")]
    TimedOut { ms: u64 },
    #[error("{got} requests to clients wait for their answers, which is the limit")]
    TooMany { got: usize },
}

#[derive(Default)]
pub(super) struct Calls {
    /// By connection and opaque.
    waiting: RefCell<BTreeMap<(u64, i32), Rc<Call>>>,
    next_opaque: Cell<i32>,
}

#[derive(Default)]
struct Call {
    outcome: RefCell<Option<Result<Answer, CallError>>>,
    ended: Notify,
}

impl Calls {
    /// Ends the call that this answers, if it has not ended yet.
    pub(super) fn answered(&self, connection: u64, header: &Header<'_>, body: &[u8]) {
        let call = self
            .waiting
            .borrow_mut()
            .remove(&(connection, header.opaque));
        let Some(call) = call else { return };
        let fields = header.ext.iter();
        call.end(Ok(Answer {
            code: header.code,
            remark: header.remark.map(str::to_owned),
            ext: fields
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            body: body.to_vec(),
        }));
    }

    /// Those that wait for their answers.
    pub(super) fn len(&self) -> usize {
        self.waiting.borrow().len()
    }

    /// Ends all calls of a connection that has closed.
    pub(super) fn closed(&self, connection: u64) {
        let mut waiting = self.waiting.borrow_mut();
        let lost = waiting.extract_if(all_of(connection), |_, _| true);
        for (_, call) in lost {
            call.end(Err(CallError::Closed));
        }
    }

    /// Registers a call; the guard removes it again, however it ends.
    fn enter(self: &Rc<Self>, connection: u64) -> Result<Waiting, CallError> {
        let mut waiting = self.waiting.borrow_mut();
        let got = waiting.len();
        if got >= MAX_CALLS {
            return Err(CallError::TooMany { got });
        }
        let got = waiting.range(all_of(connection)).count();
        if got >= MAX_CALLS_OF_ONE {
            return Err(CallError::TooMany { got });
        }
        // The numbers wrap around; one that is in use on this connection is skipped.
        let opaque = loop {
            let opaque = self.next_opaque.get();
            self.next_opaque.set(opaque.wrapping_add(1));
            if !waiting.contains_key(&(connection, opaque)) {
                break opaque;
            }
        };
        let call = Rc::new(Call::default());
        waiting.insert((connection, opaque), call.clone());
        Ok(Waiting {
            calls: self.clone(),
            key: (connection, opaque),
            call,
        })
    }
}

impl Call {
    fn end(&self, outcome: Result<Answer, CallError>) {
        self.outcome.replace(Some(outcome));
        self.ended.notify();
    }
}

/// A call that has been made.
pub(super) struct Waiting {
    calls: Rc<Calls>,
    key: (u64, i32),
    call: Rc<Call>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.calls.waiting.borrow_mut().remove(&self.key);
    }
}

impl Calls {
    /// Sends a request to the client at the other end of `connection`. The answer is awaited by [`Waiting::answer`].
    pub(super) fn start<S: Stream>(
        self: &Rc<Self>,
        connection: &Connection<S>,
        code: i32,
        ext: &[(&str, Value<'_>)],
        body: &[u8],
    ) -> Result<Waiting, CallError> {
        if connection.is_closed() {
            return Err(CallError::Closed);
        }
        let waiting = self.enter(connection.id)?;
        let (_, opaque) = waiting.key;
        connection.write(|out| frame::write(out, &request_head(code, opaque, 0), ext, body));
        Ok(waiting)
    }
}

impl Waiting {
    /// The client's answer, for which it has `timeout_ms`.
    pub(super) async fn answer<I: Io>(&self, io: &I, timeout_ms: u64) -> Result<Answer, CallError> {
        let deadline_ns = io.now().mono_ns + timeout_ms * 1_000_000;
        let ended = self.call.ended.notified();
        match select(ended, io.sleep_until(deadline_ns)).await {
            Either::Left(()) => {
                let outcome = self.call.outcome.take();
                outcome.expect("a call ends with its outcome")
            }
            Either::Right(()) => Err(CallError::TimedOut { ms: timeout_ms }),
        }
    }
}

fn all_of(connection: u64) -> RangeInclusive<(u64, i32)> {
    (connection, i32::MIN)..=(connection, i32::MAX)
}

/// The head of a request of ours, in the codec that every client reads.
pub(super) fn request_head(code: i32, opaque: i32, flag: i32) -> Head<'static> {
    Head {
        flag,
        ..Head::request(Codec::Json, code, opaque)
    }
}

pub(super) fn values(ext: &[(String, String)]) -> Vec<(&str, Value<'_>)> {
    ext.iter()
        .map(|(name, value)| (&**name, Value::Str(value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{FLAG_RESPONSE, Scratch, header};

    /// Answers as a client does, through the real codec.
    fn answer(calls: &Calls, connection: u64, opaque: i32, code: i32) {
        let mut bytes = Vec::new();
        let head = request_head(code, opaque, FLAG_RESPONSE);
        frame::write(&mut bytes, &head, &[("a", Value::Str("b"))], b"body");
        let frame = frame::split(&bytes).unwrap().unwrap();
        let mut scratch = Scratch::default();
        let header = header::decode(&frame, &mut scratch).unwrap();
        calls.answered(connection, &header, frame.body);
    }

    fn outcome(waiting: &Waiting) -> Option<Result<i32, CallError>> {
        let outcome = waiting.call.outcome.borrow().clone();
        outcome.map(|outcome| outcome.map(|answer| answer.code))
    }

    #[test]
    fn an_answer_finds_its_caller_by_connection_and_opaque() {
        let calls = Rc::new(Calls::default());
        let (first, second) = (calls.enter(1).unwrap(), calls.enter(1).unwrap());
        let other = calls.enter(2).unwrap();
        assert_ne!(first.key, second.key);
        answer(&calls, 1, other.key.1, 9);
        assert_eq!(outcome(&other), None, "an answer of another connection");
        answer(&calls, 1, second.key.1, 7);
        answer(&calls, 1, second.key.1, 8);
        assert_eq!(outcome(&second), Some(Ok(7)), "the second one is late");
        assert_eq!(outcome(&first), None);
        let answer = second.call.outcome.take().unwrap().unwrap();
        assert_eq!(answer.ext, [("a".to_owned(), "b".to_owned())]);
        assert_eq!(answer.body, b"body");
    }

    #[test]
    fn a_closed_connection_ends_its_calls_and_no_others() {
        let calls = Rc::new(Calls::default());
        let (first, second) = (calls.enter(1).unwrap(), calls.enter(1).unwrap());
        let other = calls.enter(2).unwrap();
        calls.closed(1);
        assert_eq!(outcome(&first), Some(Err(CallError::Closed)));
        assert_eq!(outcome(&second), Some(Err(CallError::Closed)));
        assert_eq!(outcome(&other), None);
    }

    #[test]
    fn calls_are_bounded_and_leave_nothing_behind() {
        let calls = Rc::new(Calls::default());
        let clients = (MAX_CALLS / MAX_CALLS_OF_ONE) as u64;
        let mut waiting = Vec::new();
        for client in 0..clients {
            waiting.extend((0..MAX_CALLS_OF_ONE).map(|_| calls.enter(client).unwrap()));
            let got = MAX_CALLS_OF_ONE.max(waiting.len() / MAX_CALLS * MAX_CALLS);
            let refused = calls.enter(client).err();
            assert_eq!(refused, Some(CallError::TooMany { got }));
        }
        let got = MAX_CALLS;
        assert_eq!(calls.enter(clients).err(), Some(CallError::TooMany { got }));
        drop(waiting);
        assert!(calls.waiting.borrow().is_empty());
        assert!(calls.enter(2).is_ok());
    }

    #[test]
    fn numbers_that_still_wait_are_passed_over() {
        let calls = Rc::new(Calls::default());
        let oldest = calls.enter(1).unwrap();
        calls.next_opaque.set(oldest.key.1);
        assert_ne!(calls.enter(1).unwrap().key, oldest.key);
    }
}
