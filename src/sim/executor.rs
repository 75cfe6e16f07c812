//! The tasks of all hosts on one thread. Which of the ready ones runs next is the seed's choice.
//!
//! The ring's executor runs them first come, first served; here every order is tried, as nothing may depend on one.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use super::process::Owner;
use super::rng::Rng;

type TaskId = u64;
type TaskFuture = Pin<Box<dyn Future<Output = ()>>>;

/// The future given to `Sim::run`, which belongs to no host.
pub(super) const MAIN: TaskId = 0;

pub(super) struct Executor {
    tasks: RefCell<BTreeMap<TaskId, Task>>,
    next_task: Cell<TaskId>,
    ready: Arc<Ready>,
    /// Whose task is polled.
    running: Cell<Option<Owner>>,
    /// Processes that do not run, each with its tasks that are ready.
    suspended: RefCell<Vec<(Owner, Vec<Arc<TaskWaker>>)>>,
}

struct Task {
    owner: Owner,
    waker: Waker,
    /// Taken while it is polled.
    future: Option<TaskFuture>,
}

impl Executor {
    pub fn new() -> Self {
        Self {
            tasks: RefCell::default(),
            next_task: Cell::new(MAIN + 1),
            ready: Arc::default(),
            running: Cell::new(None),
            suspended: RefCell::default(),
        }
    }

    pub fn spawn(&self, owner: Owner, future: TaskFuture) {
        let id = self.next_task.get();
        self.next_task.set(id + 1);
        let task = Task {
            owner,
            waker: self.ready_waker(id),
            future: Some(future),
        };
        self.tasks.borrow_mut().insert(id, task);
    }

    /// A waker for `id`, already woken once.
    pub fn ready_waker(&self, id: TaskId) -> Waker {
        let waker = Waker::from(Arc::new(TaskWaker {
            id,
            queued: AtomicBool::new(false),
            ready: Arc::clone(&self.ready),
        }));
        waker.wake_by_ref();
        waker
    }

    pub fn pick(&self, rng: &mut Rng) -> Option<TaskId> {
        let mut ready = self.ready.list();
        while !ready.is_empty() {
            let index = rng.below(ready.len() as u64) as usize;
            let picked = ready.swap_remove(index);
            if let Some(picked) = self.unless_suspended(picked) {
                picked.queued.store(false, Ordering::Relaxed);
                return Some(picked.id);
            }
        }
        None
    }

    /// A task of a suspended process stays ready until that is resumed.
    fn unless_suspended(&self, picked: Arc<TaskWaker>) -> Option<Arc<TaskWaker>> {
        let mut suspended = self.suspended.borrow_mut();
        if suspended.is_empty() {
            return Some(picked);
        }
        let owner = self.tasks.borrow().get(&picked.id).map(|task| task.owner);
        match suspended.iter_mut().find(|(of, _)| owner == Some(*of)) {
            Some((_, ready)) => ready.push(picked),
            None => return Some(picked),
        }
        None
    }

    /// The tasks of `owner` do not run until they are resumed.
    pub fn suspend(&self, owner: Owner) {
        let mut suspended = self.suspended.borrow_mut();
        if suspended.iter().all(|(of, _)| *of != owner) {
            suspended.push((owner, Vec::new()));
        }
    }

    pub fn resume(&self, owner: Owner) {
        let mut suspended = self.suspended.borrow_mut();
        if let Some(index) = suspended.iter().position(|(of, _)| *of == owner) {
            let (_, ready) = suspended.swap_remove(index);
            self.ready.list().extend(ready);
        }
    }

    /// Nothing is borrowed while the task runs: it may spawn, and it may even end its own host.
    pub fn poll(&self, id: TaskId) {
        let Some((owner, mut future, waker)) = self.take(id) else {
            return;
        };
        self.running.set(Some(owner));
        let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
        self.running.set(None);
        let mut tasks = self.tasks.borrow_mut();
        let done = match polled {
            Poll::Ready(()) => tasks.remove(&id),
            Poll::Pending => match tasks.get_mut(&id) {
                Some(task) => {
                    task.future = Some(future);
                    return;
                }
                None => None,
            },
        };
        drop(tasks);
        drop((future, done));
    }

    /// Of the task that is polled.
    pub fn running(&self) -> Option<Owner> {
        self.running.get()
    }

    /// Tasks of `owner` that have not ended.
    pub fn tasks(&self, owner: Owner) -> usize {
        let tasks = self.tasks.borrow();
        tasks.values().filter(|task| task.owner == owner).count()
    }

    /// Drops the tasks of `owner`, which cancels what they wait for.
    pub fn kill(&self, owner: Owner) {
        self.drop_tasks(|task| task.owner == owner);
    }

    /// Drops every task: a task holds the world, which holds the tasks.
    pub fn clear(&self) {
        self.drop_tasks(|_| true);
        self.suspended.take();
        self.ready.list().clear();
    }

    fn drop_tasks(&self, which: impl Fn(&Task) -> bool) {
        let (dropped, kept) = self
            .tasks
            .take()
            .into_iter()
            .partition::<BTreeMap<_, _>, _>(|(_, task)| which(task));
        self.tasks.replace(kept);
        drop(dropped);
    }

    fn take(&self, id: TaskId) -> Option<(Owner, TaskFuture, Waker)> {
        let mut tasks = self.tasks.borrow_mut();
        let task = tasks.get_mut(&id)?;
        let future = task.future.take()?;
        Some((task.owner, future, task.waker.clone()))
    }
}

/// A waker must be `Send`, hence the lock and the atomic, though no thread but one ever sees them.
#[derive(Default)]
struct Ready(Mutex<Vec<Arc<TaskWaker>>>);

impl Ready {
    fn list(&self) -> MutexGuard<'_, Vec<Arc<TaskWaker>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct TaskWaker {
    id: TaskId,
    queued: AtomicBool,
    ready: Arc<Ready>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            self.ready.list().push(Arc::clone(self));
        }
    }
}
