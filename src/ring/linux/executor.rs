//! The executor: tasks of one thread, and a first-in, first-out queue of those that are ready.
//!
//! A task that wakes itself while it is polled has more to do than is done in one go, and waits for nothing (`io::yield_now`): the rows of
//! a large answer, a table that is saved. Such tasks take turns in a queue of their own, of which one is polled in each turn, behind
//! those that are ready. So a message waits for one slice of such work, however many of them go on.
//!
//! A waker is one word, so that waking neither counts references nor allocates:
//!
//! ```text
//! | executor 16 bits | generation 24 bits | index 24 bits |
//! ```
//!
//! The executor is found through a thread-local. A waker whose task has ended, that is used on another thread or whose executor
//! has ended does nothing. A generation that has wrapped around wakes a task spuriously, which every future must tolerate
//! anyway.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::ptr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

use super::clock::{mono_ns, thread_usage};
use super::stalls::StallDetector;
use super::task_times::TaskTimes;
use crate::io::{Stalls, TaskTime};

/// A turn ends after so many polls or so much time, also when tasks are still ready. Then completions are taken: the end of a
/// log write is seen at most one poll later than this.
const POLLS_PER_TURN: usize = 256;
const TURN_NS: u64 = 1_000_000;
/// Index of the future that `Thread::run` was given. The table does not own it, as it may borrow from the caller.
const MAIN: usize = 0;

pub(super) struct Executor {
    id: u16,
    tasks: RefCell<Tasks>,
    stalls: RefCell<StallDetector>,
    times: RefCell<TaskTimes>,
}

struct Tasks {
    slots: Vec<Slot>,
    vacant: Vec<usize>,
    ready: VecDeque<TaskId>,
    paused: VecDeque<TaskId>,
    /// The task that is polled now.
    polled: Option<TaskId>,
    closed: bool,
}

#[derive(Default)]
struct Slot {
    generation: u32,
    live: bool,
    ready: bool,
    /// Of its name in the times.
    place: usize,
    /// `None` while it is polled, and for main.
    future: Option<Task>,
}

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// How a turn ended.
pub(super) enum Turn<T> {
    /// Main is done.
    Done(T),
    /// Some are still ready.
    Unfinished,
    /// None is ready, at this time.
    Idle { now_ns: u64 },
}

impl Executor {
    pub(super) fn new(stall_limit_ns: u64) -> Executor {
        static NEXT_ID: AtomicU16 = AtomicU16::new(1);
        let executor = Executor {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            tasks: RefCell::new(Tasks {
                slots: Vec::new(),
                vacant: Vec::new(),
                ready: VecDeque::new(),
                paused: VecDeque::new(),
                polled: None,
                closed: false,
            }),
            stalls: RefCell::new(StallDetector::new(stall_limit_ns)),
            times: RefCell::default(),
        };
        let place = executor.times.borrow_mut().place("main");
        let main = executor.tasks.borrow_mut().insert(executor.id, place, None);
        assert_eq!(main.map(TaskId::index), Some(MAIN));
        executor
    }

    pub(super) fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + 'static) {
        let task: Task = Box::pin(task);
        // A refused task is dropped here, after the borrow has ended: its destructor may spawn or wake.
        let place = self.times.borrow_mut().place(name);
        let refused = self.tasks.borrow_mut().spawn(self.id, place, task);
        drop(refused);
    }

    /// Polls ready tasks, including those that become ready meanwhile, from `now_ns` on.
    ///
    /// The clock is read once between two polls: the end of one is the beginning of the next.
    pub(super) fn run<F: Future>(&self, mut main: Pin<&mut F>, now_ns: u64) -> Turn<F::Output> {
        let mut began_ns = now_ns;
        let turn_ends_ns = now_ns + TURN_NS;
        let (mut polls, mut has_resumed) = (0, false);
        loop {
            let is_over = polls >= POLLS_PER_TURN || began_ns >= turn_ends_ns;
            let Some((id, place, task)) = self.next(is_over, &mut has_resumed) else {
                break;
            };
            polls += 1;
            let waker = id.waker();
            let mut context = Context::from_waker(&waker);
            match task {
                None => {
                    let polled = main.as_mut().poll(&mut context);
                    self.tasks.borrow_mut().polled = None;
                    if let Poll::Ready(output) = polled {
                        return Turn::Done(output);
                    }
                }
                Some(mut task) => {
                    let done = task.as_mut().poll(&mut context).is_ready();
                    // A finished task is dropped outside of the borrow.
                    let finished = self.tasks.borrow_mut().polled(id, task, done);
                    drop(finished);
                }
            }
            let ended_ns = mono_ns();
            self.polled(place, began_ns, ended_ns);
            began_ns = ended_ns;
        }
        match self.tasks.borrow().has_work() {
            true => Turn::Unfinished,
            false => Turn::Idle { now_ns: began_ns },
        }
    }

    #[inline]
    fn polled(&self, place: usize, began_ns: u64, ended_ns: u64) {
        let mut times = self.times.borrow_mut();
        times.polled(place, ended_ns.saturating_sub(began_ns));
        let name = times.name(place);
        let mut stalls = self.stalls.borrow_mut();
        stalls.polled(name, began_ns, ended_ns, thread_usage);
    }

    /// The thread has entered the kernel, which returned at `now_ns`. `may_have_waited`: for completions.
    pub(super) fn entered(&self, now_ns: u64, may_have_waited: bool) {
        let mut stalls = self.stalls.borrow_mut();
        stalls.entered(now_ns, may_have_waited, thread_usage);
    }

    pub(super) fn watch_stalls(&self) {
        self.stalls.borrow_mut().watch();
    }

    pub(super) fn stalls(&self) -> Stalls {
        self.stalls.borrow().stalls()
    }

    pub(super) fn task_times(&self) -> Vec<TaskTime> {
        self.times.borrow().all()
    }

    /// From now on this thread's wakers wake tasks of this executor, which must not move.
    pub(super) fn enter_thread(&self) {
        CURRENT.with(|current| {
            assert!(current.get().is_null(), "one reactor a thread");
            current.set(self);
        });
    }

    pub(super) fn leave_thread(&self) {
        CURRENT.with(|current| {
            assert!(ptr::eq(current.get(), self));
            current.set(ptr::null());
        });
    }

    /// Drops all tasks, and refuses those that their destructors spawn.
    pub(super) fn drop_tasks(&self) {
        self.tasks.borrow_mut().closed = true;
        let mut index = 0;
        loop {
            let task = match self.tasks.borrow_mut().slots.get_mut(index) {
                Some(slot) => slot.future.take(),
                None => return,
            };
            drop(task);
            index += 1;
        }
    }

    /// The next task to poll; `None` in place of a task means main. One that has paused, once in a turn: at its end, or as soon as no
    /// other is ready.
    fn next(&self, is_over: bool, has_resumed: &mut bool) -> Option<(TaskId, usize, Option<Task>)> {
        let mut tasks = self.tasks.borrow_mut();
        loop {
            let ready = match is_over {
                true => None,
                false => tasks.ready.pop_front(),
            };
            let id = match ready {
                Some(id) => id,
                None if *has_resumed => return None,
                None => tasks.paused.pop_front()?,
            };
            let slot = &mut tasks.slots[id.index()];
            if slot.generation != id.generation() {
                continue; // it woke itself in its last poll
            }
            assert!(slot.live && slot.ready);
            slot.ready = false;
            let (place, task) = (slot.place, slot.future.take());
            assert_eq!(task.is_none(), id.index() == MAIN);
            *has_resumed |= ready.is_none();
            tasks.polled = Some(id);
            return Some((id, place, task));
        }
    }

    fn wake(&self, id: TaskId) {
        if id.executor() == self.id {
            self.tasks.borrow_mut().wake(id);
        }
    }
}

impl Tasks {
    fn spawn(&mut self, executor: u16, place: usize, task: Task) -> Option<Task> {
        if self.closed {
            return Some(task);
        }
        self.insert(executor, place, Some(task));
        None
    }

    fn has_work(&self) -> bool {
        !self.ready.is_empty() || !self.paused.is_empty()
    }

    fn insert(&mut self, executor: u16, place: usize, future: Option<Task>) -> Option<TaskId> {
        let index = self.vacant.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() - 1
        });
        assert!(index <= INDEX_MASK, "more than {INDEX_MASK} tasks");
        let slot = &mut self.slots[index];
        slot.live = true;
        slot.place = place;
        slot.future = future;
        let id = TaskId::new(executor, slot.generation, index);
        self.wake(id);
        Some(id)
    }

    fn wake(&mut self, id: TaskId) {
        let Some(slot) = self.slots.get_mut(id.index()) else {
            return;
        };
        if slot.live && !slot.ready && slot.generation == id.generation() {
            slot.ready = true;
            match self.polled == Some(id) {
                true => self.paused.push_back(id),
                false => self.ready.push_back(id),
            }
        }
    }

    /// Stores a polled task again, or returns it to be dropped if it is done.
    fn polled(&mut self, id: TaskId, task: Task, done: bool) -> Option<Task> {
        self.polled = None;
        let slot = &mut self.slots[id.index()];
        if !done {
            slot.future = Some(task);
            return None;
        }
        slot.live = false;
        slot.generation = (slot.generation + 1) & GENERATION_MASK;
        slot.ready = false;
        self.vacant.push(id.index());
        Some(task)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct TaskId(u64);

const INDEX_BITS: u32 = 24;
const GENERATION_BITS: u32 = 24;
const INDEX_MASK: usize = (1 << INDEX_BITS) - 1;
const GENERATION_MASK: u32 = (1 << GENERATION_BITS) - 1;
const _: () = assert!(INDEX_BITS + GENERATION_BITS + u16::BITS == u64::BITS);
const _: () = assert!(usize::BITS == u64::BITS, "a task id must fit a pointer");

impl TaskId {
    fn new(executor: u16, generation: u32, index: usize) -> TaskId {
        let high = u64::from(executor) << (INDEX_BITS + GENERATION_BITS);
        TaskId(high | u64::from(generation) << INDEX_BITS | index as u64)
    }

    fn executor(self) -> u16 {
        (self.0 >> (INDEX_BITS + GENERATION_BITS)) as u16
    }

    fn generation(self) -> u32 {
        (self.0 >> INDEX_BITS) as u32 & GENERATION_MASK
    }

    fn index(self) -> usize {
        self.0 as usize & INDEX_MASK
    }

    fn waker(self) -> Waker {
        // SAFETY: the functions of the table use the word as a number and never as an address; cloning copies it and
        // dropping does nothing, on any thread.
        unsafe { Waker::from_raw(raw_waker(ptr::without_provenance(self.0 as usize))) }
    }
}

thread_local! {
    static CURRENT: Cell<*const Executor> = const { Cell::new(ptr::null()) };
}

static VTABLE: RawWakerVTable = RawWakerVTable::new(raw_waker, wake, wake, |_| ());

fn raw_waker(word: *const ()) -> RawWaker {
    RawWaker::new(word, &VTABLE)
}

fn wake(word: *const ()) {
    // An error means that the thread is ending; its executor has ended before.
    let _ = CURRENT.try_with(|current| {
        // SAFETY: null, or set by `enter_thread` and reset by `leave_thread` before the executor goes.
        if let Some(executor) = unsafe { current.get().as_ref() } {
            executor.wake(TaskId(word.addr() as u64));
        }
    });
}
