//! What both implementations on Linux must do beside `sim::conformance`, against the real kernel: `ring/` and `portable/` run the same ones.

mod ends;
mod files;
mod sockets;
mod turns;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use super::Machine;
use crate::io::{OpenOptions, Stream};
use crate::sim::conformance;

pub use ends::*;
pub use files::*;
pub use sockets::*;
pub use turns::*;

pub const MS: u64 = 1_000_000;
pub const DIRECT: OpenOptions = OpenOptions {
    write: true,
    create: true,
    direct: true,
};

/// A test of each of them. `$on` runs an `async` function of a machine, and sees to it that every operation has ended.
macro_rules! on_each_machine {
    ($on:path) => {
        $crate::ring::linux::tests::on_each_machine! { $on:
            keeps_the_contract_of_the_seam
            a_task_that_keeps_the_thread_is_counted
            a_task_that_uses_the_cpu_is_a_stall_of_our_own
            a_completion_wins_against_a_timeout_that_is_seen_with_it
            tasks_that_are_always_ready_delay_a_completion_by_a_turn
            a_task_that_becomes_ready_waits_for_one_part_of_work_that_goes_on
            busy_tasks_do_not_stop_the_clock
            echoes_on_many_connections
            a_thousand_connections_leave_nothing_behind
            ipv6_has_peers_too
            a_given_up_recv_loses_nothing
            a_given_up_send_ends
            shutdown_ends_both_directions
            a_large_reply_is_sent_in_pieces
            a_stream_is_received_in_chunks_and_into_a_buffer
            log_slices_reach_the_disk
            other_buffers_reach_the_disk_too
            names_and_space
            a_failed_open_says_why
            a_file_without_direct_io_keeps_the_promise_of_direct_io
            a_directory_that_cannot_be_made_is_an_error
            given_up_operations_keep_their_buffers_until_the_end
            bells_ring_from_another_thread
            wakers_on_another_thread_do_nothing
        }
    };
    ($on:path: $($name:ident)*) => {
        $(#[test]
        fn $name() {
            $on($crate::ring::linux::tests::$name);
        })*
    };
}
pub(crate) use on_each_machine;

pub async fn keeps_the_contract_of_the_seam<M: Machine>(machine: M) {
    let dir = tempfile::tempdir().unwrap();
    conformance::all(&machine, dir.path()).await;
}

/// Polls once, so that the operation is under way, and gives up on it.
pub async fn begin_and_drop(future: impl Future) {
    let mut future = pin!(future);
    poll_fn(|context| {
        assert!(future.as_mut().poll(context).is_pending());
        Poll::Ready(())
    })
    .await;
}

pub async fn recv_exactly<S: Stream>(stream: &S, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        let chunk = stream.recv().await.unwrap();
        assert!(!chunk.is_empty(), "ended after {} of {len}", bytes.len());
        bytes.extend_from_slice(&chunk);
    }
    assert_eq!(bytes.len(), len);
    bytes
}

pub async fn pause<M: Machine>(machine: &M, ms: u64) {
    machine.sleep_until(machine.now().mono_ns + ms * MS).await;
}

pub fn loopback() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

pub fn pattern(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|i| ((i + seed) * 31 % 251) as u8).collect()
}

/// Counts tasks that are done.
#[derive(Clone, Default)]
pub struct Tally(Rc<Cell<usize>>);

impl Tally {
    pub fn add(&self) {
        self.0.update(|count| count + 1);
    }

    pub fn count(&self) -> usize {
        self.0.get()
    }

    pub async fn reaches<M: Machine>(&self, machine: &M, count: usize) {
        while self.count() < count {
            pause(machine, 1).await;
        }
        assert_eq!(self.count(), count);
    }
}
