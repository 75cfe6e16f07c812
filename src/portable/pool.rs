//! The threads that make the calls which block.
//!
//! They are divided into lanes, so that a write of the log waits for nothing else: neither for a reader that is far behind nor for the flush of a
//! file system. A lane takes its work in order. It has one thread at first, and further ones, up to its bound, when work would wait.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use super::work::{Outcome, Work};
use crate::ring::linux::{Doorbell, Wait};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// Writes of the log buffer: one thread, as one is in flight at a time.
    Log,
    /// Other reads and writes.
    Data,
    /// Names, lengths, flushes, closes: whatever waits for the journal of a file system.
    Slow,
}

impl Lane {
    const ALL: [(Lane, &str, usize); 3] = [
        (Lane::Log, "log-write", 1),
        (Lane::Data, "file-data", 4),
        (Lane::Slow, "file-names", 4),
    ];
}

/// Work, by the key of its call.
pub(super) struct Job {
    pub(super) key: usize,
    pub(super) work: Work,
}

/// A call that has ended.
pub(super) struct Done {
    pub(super) key: usize,
    pub(super) outcome: Outcome,
}

pub(super) struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    lanes: [LaneState; 3],
    done: Mutex<Vec<Done>>,
    /// The reactor sleeps, or is about to: whoever adds to `done` rings the bell.
    sleeps: AtomicBool,
    bell: Doorbell,
}

#[derive(Default)]
struct LaneState {
    queue: Mutex<Queue>,
    has_work: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// Threads that wait for work.
    idle: usize,
    threads: Vec<JoinHandle<()>>,
    is_over: bool,
}

impl Pool {
    /// The bell is rung when a call has ended and the reactor sleeps.
    pub(super) fn start(bell: Doorbell) -> io::Result<Pool> {
        let pool = Pool {
            shared: Arc::new(Shared {
                lanes: Default::default(),
                done: Mutex::default(),
                sleeps: AtomicBool::new(false),
                bell,
            }),
        };
        for (lane, ..) in Lane::ALL {
            let thread = pool.start_thread(lane)?;
            pool.queue(lane).threads.push(thread);
        }
        Ok(pool)
    }

    pub(super) fn submit(&self, lane: Lane, job: Job) {
        let mut queue = self.queue(lane);
        queue.jobs.push_back(job);
        let (_, _, most) = Lane::ALL[lane as usize];
        if queue.jobs.len() > queue.idle && queue.threads.len() < most {
            // Without a further thread the work waits for those that are there.
            queue.threads.extend(self.start_thread(lane));
        }
        let has_idle = queue.idle > 0;
        drop(queue);
        if has_idle {
            self.shared.lanes[lane as usize].has_work.notify_one();
        }
    }

    /// Takes work back that has not begun.
    pub(super) fn take_back(&self, lane: Lane, key: usize) -> Option<Work> {
        let mut queue = self.queue(lane);
        let at = queue.jobs.iter().position(|job| job.key == key)?;
        queue.jobs.remove(at).map(|job| job.work)
    }

    /// Whether the reactor may wait like this for the bell and for events. Calls that have ended before are to be taken first.
    pub(super) fn may_sleep(&self, wait: Wait) -> bool {
        if wait == Wait::No {
            return false;
        }
        // Ahead of the look at the list: a thread that adds to it later sees that the bell is needed.
        self.shared.sleeps.store(true, Ordering::SeqCst);
        lock(&self.shared.done).is_empty()
    }

    /// Moves all that has ended to the end of `done`. The reactor is awake.
    pub(super) fn take(&self, done: &mut Vec<Done>) {
        self.shared.sleeps.store(false, Ordering::SeqCst);
        done.append(&mut lock(&self.shared.done));
    }

    fn queue(&self, lane: Lane) -> MutexGuard<'_, Queue> {
        lock(&self.shared.lanes[lane as usize].queue)
    }

    fn start_thread(&self, lane: Lane) -> io::Result<JoinHandle<()>> {
        let (_, name, _) = Lane::ALL[lane as usize];
        let shared = self.shared.clone();
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || shared.work(lane))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for (lane, ..) in Lane::ALL {
            let mut queue = self.queue(lane);
            queue.is_over = true;
            let threads = std::mem::take(&mut queue.threads);
            drop(queue);
            self.shared.lanes[lane as usize].has_work.notify_all();
            for thread in threads {
                // It has no result.
                let _ = thread.join();
            }
        }
    }
}

impl Shared {
    /// Until the pool is dropped and no work is left.
    fn work(&self, lane: Lane) {
        while let Some(Job { key, work }) = self.next(lane) {
            let outcome = work.run();
            lock(&self.done).push(Done { key, outcome });
            if self.sleeps.swap(false, Ordering::SeqCst) {
                self.bell.ring();
            }
        }
    }

    fn next(&self, lane: Lane) -> Option<Job> {
        let lane = &self.lanes[lane as usize];
        let mut queue = lock(&lane.queue);
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            if queue.is_over {
                return None;
            }
            queue.idle += 1;
            let waited = lane.has_work.wait(queue);
            queue = waited.unwrap_or_else(PoisonError::into_inner);
            queue.idle -= 1;
        }
    }
}

/// What it guards is whole even if a holder panics.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
