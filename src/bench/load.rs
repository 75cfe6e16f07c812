//! Sending under load. Closed loop: a fixed number of requests in flight on each connection; an answer triggers the next request. Open
//! loop: a schedule of intended send times that does not depend on answers. Latency counts from the intended time, so the percentiles
//! include messages that a stalled broker kept from being sent (no coordinated omission).

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::answer::Answer;
use super::meter::{Meter, Sample};
use super::recorder::{InFlight, Recorder, Stopwatch, Window};
use super::result::{RunResult, Shape};
use super::template::{Common, OPAQUE_BASE, OPAQUE_SPAN, STAMP_BYTES, SendTemplate, Stamp};
use super::{BenchError, Interrupt};
use crate::auth::Signer;
use crate::client::connection::{Connection, Inbound};
use crate::client::{Dial, RoutedQueue, Transport};
use crate::wire::frame::Frame;

/// How long the end of a run waits for the answers to what was sent.
const DRAIN: Duration = Duration::from_secs(5);
/// A connection with more unsent bytes than this is skipped until it has sent some; the schedule continues on the others.
const WAITING_LIMIT_BYTES: usize = 1 << 20;
/// The timer's resolution is a millisecond; shorter waits spin.
const TIMER_RESOLUTION: Duration = Duration::from_millis(2);
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

pub struct SendPlan<'a> {
    pub name: &'a str,
    pub shape: Shape,
    pub warm_up: Duration,
    pub duration: Duration,
    pub interrupt: &'a Interrupt,
    pub common: Common<'a>,
    /// (topic, queue) pairs, walked round by each connection as far as they are its broker's.
    pub targets: &'a [(String, RoutedQueue)],
    pub dial: &'a Dial,
}

/// One run, from connecting to the last answer. `begins` receives the measured window before the first request.
pub async fn send(
    plan: &SendPlan<'_>,
    watch: Stopwatch,
    meter: &Meter<'_>,
    progress: &dyn Fn(Duration),
    begins: impl FnOnce(Window),
) -> Result<RunResult, BenchError> {
    let load = Load::connect(plan, watch).await?;
    let start_ns = watch.now_ns();
    let from_ns = start_ns + plan.warm_up.as_nanos() as u64;
    let window = Window {
        from_ns,
        until_ns: from_ns + plan.duration.as_nanos() as u64,
    };
    load.run.borrow_mut().recorder.window = window;
    begins(window);
    load.begin(plan.shape, start_ns);

    let wait = |until_ns| sleep_until(&watch, until_ns, plan.interrupt, progress);
    wait(window.from_ns).await;
    let before = load.sample(meter).await;
    wait(window.until_ns).await;
    let after = load.sample(meter).await;
    load.end_window(&watch);
    load.drain(&watch).await;
    load.finish(plan, meter.between(before, after))
}

/// Sends in a closed loop, unmeasured, until at least `messages` are acknowledged.
pub async fn fill(plan: &SendPlan<'_>, messages: u64) -> Result<(), BenchError> {
    let watch = Stopwatch::start();
    let load = Load::connect(plan, watch).await?;
    load.run.borrow_mut().recorder.window = Window {
        from_ns: 0,
        until_ns: u64::MAX,
    };
    load.run.borrow_mut().closed_loop = true;
    let shape = Shape {
        rate: 0,
        in_flight: plan.shape.in_flight.max(8),
        ..plan.shape
    };
    load.begin(shape, watch.now_ns());
    while load.run.borrow().recorder.acked < messages && !plan.interrupt.is_set() {
        if let Some((cause, _)) = load.run.borrow().recorder.errors.first_key_value() {
            return Err(BenchError::from(format!(
                "sending what is to be consumed: {cause}"
            )));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    load.run.borrow_mut().closed_loop = false;
    load.drain(&watch).await;
    Ok(())
}

/// Waits, and reports how long the run has been going on; an interruption ends the wait.
pub async fn sleep_until(
    watch: &Stopwatch,
    until_ns: u64,
    interrupt: &Interrupt,
    progress: &dyn Fn(Duration),
) {
    loop {
        let now_ns = watch.now_ns();
        progress(Duration::from_nanos(now_ns));
        let left = Duration::from_nanos(until_ns.saturating_sub(now_ns));
        if left.is_zero() || interrupt.is_set() {
            return;
        }
        tokio::time::sleep(left.min(PROGRESS_INTERVAL)).await;
    }
}

struct Load {
    run: Rc<RefCell<Run>>,
    connections: Rc<Vec<Connection<Sender>>>,
}

/// What all connections of a run share.
struct Run {
    watch: Stopwatch,
    recorder: Recorder,
    templates: Vec<SendTemplate>,
    body: Vec<u8>,
    sequence: u64,
    /// Each answer calls for the next request, until the window ends.
    closed_loop: bool,
    in_flight: usize,
}

/// One connection's part.
struct Sender {
    run: Rc<RefCell<Run>>,
    in_flight: InFlight,
    /// Indices into the run's templates.
    queues: Vec<usize>,
    next_queue: usize,
    now_ns: u64,
}

impl Load {
    async fn connect(plan: &SendPlan<'_>, watch: Stopwatch) -> Result<Self, BenchError> {
        let size = plan.shape.size_bytes;
        let signer = plan.dial.credentials.as_ref().map(Signer::new);
        let templates: Vec<SendTemplate> = plan
            .targets
            .iter()
            .map(|(topic, queue)| {
                SendTemplate::new(&plan.common, signer.as_ref(), topic, queue.queue_id, size)
            })
            .collect();
        let run = Rc::new(RefCell::new(Run {
            watch,
            recorder: Recorder::new(Window::default()),
            templates,
            body: body(size),
            sequence: 0,
            closed_loop: plan.shape.rate == 0,
            in_flight: 0,
        }));
        let mut addrs: Vec<&str> = Vec::new();
        for (_, queue) in plan.targets {
            if !addrs.contains(&queue.addr.as_str()) {
                addrs.push(&queue.addr);
            }
        }
        let mut connections = Vec::with_capacity(plan.shape.connections);
        for (nth, addr) in (0..plan.shape.connections).zip(addrs.iter().cycle()) {
            let of_broker =
                |(_, (_, queue)): &(usize, &(String, RoutedQueue))| queue.addr == **addr;
            let queues: Vec<usize> = plan
                .targets
                .iter()
                .enumerate()
                .filter(of_broker)
                .map(|(at, _)| at)
                .collect();
            let sender = Sender {
                run: Rc::clone(&run),
                in_flight: InFlight::default(),
                next_queue: nth,
                queues,
                now_ns: 0,
            };
            let to = crate::client::resolve(addr)?;
            let peer = to.addr;
            let connection = Connection::open(&to, plan.dial, sender)
                .await
                .map_err(|error| BenchError::from(format!("cannot connect to {peer}: {error}")))?;
            connections.push(connection);
        }
        Ok(Self {
            run,
            connections: Rc::new(connections),
        })
    }

    fn begin(&self, shape: Shape, start_ns: u64) {
        if shape.rate > 0 {
            let schedule = Schedule {
                start_ns,
                rate: shape.rate,
            };
            let pacing = pace(Rc::clone(&self.run), Rc::clone(&self.connections), schedule);
            tokio::task::spawn_local(pacing);
            return;
        }
        for connection in self.connections.iter() {
            connection.send(|sender, output| {
                for _ in 0..shape.in_flight {
                    let now_ns = sender.run.borrow().watch.now_ns();
                    sender.send(now_ns, output);
                }
            });
        }
    }

    async fn sample(&self, meter: &Meter<'_>) -> Sample {
        // The counts are taken at once; asking a distant broker for its own may take a moment.
        let acked = self.run.borrow().recorder.acked;
        meter.sample(acked).await
    }

    /// No request begins any more, also if the window was to last longer.
    fn end_window(&self, watch: &Stopwatch) {
        let window = &mut self.run.borrow_mut().recorder.window;
        window.until_ns = window.until_ns.min(watch.now_ns());
    }

    async fn drain(&self, watch: &Stopwatch) {
        let end_ns = watch.now_ns() + DRAIN.as_nanos() as u64;
        while self.run.borrow().in_flight > 0 && watch.now_ns() < end_ns {
            if self.connections.iter().all(Connection::is_closed) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn finish(&self, plan: &SendPlan<'_>, counted: RunResult) -> Result<RunResult, BenchError> {
        for connection in self.connections.iter() {
            connection.inbound(Sender::abandon);
            connection.close();
        }
        let mut run = self.run.borrow_mut();
        let recorder = std::mem::replace(&mut run.recorder, Recorder::new(Window::default()));
        if recorder.acked == 0 && recorder.errors.is_empty() {
            return Err(match plan.interrupt.is_set() {
                true => BenchError::Interrupted,
                false => BenchError::from("nothing was answered".to_owned()),
            });
        }
        Ok(RunResult {
            name: plan.name.to_owned(),
            shape: plan.shape,
            latency_ns: recorder.latency_ns,
            time_line: recorder.time_line.beside(&counted.time_line),
            errors: recorder.errors,
            unanswered: recorder.unanswered,
            ..counted
        })
    }
}

impl Sender {
    /// Appends the next request; it was to be sent at `intended_ns`.
    fn send(&mut self, intended_ns: u64, output: &mut Vec<u8>) {
        let run = &mut *self.run.borrow_mut();
        let sequence = self.in_flight.push(intended_ns);
        run.in_flight += 1;
        run.sequence += 1;
        let stamp = Stamp {
            opaque: OPAQUE_BASE + (sequence % OPAQUE_SPAN) as i32,
            born_ms: run.watch.unix_ms(intended_ns),
            sequence: run.sequence,
            intended_ns,
        };
        let queue = self.queues[self.next_queue % self.queues.len()];
        self.next_queue = self.next_queue.wrapping_add(1);
        run.templates[queue].append(output, &run.body, &stamp);
    }

    /// The run is over: requests still in flight are counted as unanswered.
    fn abandon(&mut self) {
        let run = &mut *self.run.borrow_mut();
        let now_ns = run.watch.now_ns();
        for intended_ns in self.in_flight.drain() {
            run.recorder.never_answered(intended_ns, now_ns);
            run.in_flight -= 1;
        }
    }
}

impl Inbound for Sender {
    fn turn(&mut self) {
        self.now_ns = self.run.borrow().watch.now_ns();
    }

    fn frame(&mut self, frame: &Frame<'_>, output: &mut Vec<u8>) {
        let Some(answer) = Answer::of(frame) else {
            return;
        };
        let sequence = u64::try_from(i64::from(answer.opaque) - i64::from(OPAQUE_BASE));
        let Some(intended_ns) = sequence
            .ok()
            .and_then(|sequence| self.in_flight.take(sequence, OPAQUE_SPAN))
        else {
            return;
        };
        let next = {
            let run = &mut *self.run.borrow_mut();
            run.in_flight -= 1;
            run.recorder.answered(answer.code, intended_ns, self.now_ns);
            run.closed_loop && self.now_ns < run.recorder.window.until_ns
        };
        if next {
            self.send(self.now_ns, output);
        }
    }

    fn closed(&mut self, reason: &str) {
        let run = &mut *self.run.borrow_mut();
        for intended_ns in self.in_flight.drain() {
            run.recorder
                .failed(intended_ns, || format!("connection {reason}"));
            run.in_flight -= 1;
        }
    }
}

/// Message `n` is to be sent `n / rate` seconds after the start, independent of the messages before it.
#[derive(Clone, Copy, Debug)]
struct Schedule {
    start_ns: u64,
    rate: u64,
}

impl Schedule {
    fn intended_ns(&self, nth: u64) -> u64 {
        self.start_ns + (u128::from(nth) * 1_000_000_000 / u128::from(self.rate)) as u64
    }
}

/// Walks the schedule, spreading messages over the connections.
async fn pace(run: Rc<RefCell<Run>>, connections: Rc<Vec<Connection<Sender>>>, schedule: Schedule) {
    let (watch, transport) = (run.borrow().watch, Transport::fastest());
    let mut nth = 0;
    let mut turn = 0;
    loop {
        let intended_ns = schedule.intended_ns(nth);
        let until_ns = run.borrow().recorder.window.until_ns;
        if intended_ns >= until_ns || connections.iter().all(Connection::is_closed) {
            return;
        }
        let now_ns = watch.now_ns();
        if intended_ns <= now_ns {
            let free = next_free(&connections, &mut turn);
            if let Some(connection) = free {
                connection.send(|sender, output| sender.send(intended_ns, output));
                nth += 1;
                continue;
            }
        }
        let early = Duration::from_nanos(intended_ns.saturating_sub(now_ns));
        if early > TIMER_RESOLUTION {
            tokio::time::sleep(early - TIMER_RESOLUTION).await;
        } else {
            transport.turn().await;
            // The kernel finishes the broker's flushed writes on the core that took the disk's interrupt. If that is this
            // one, spinning without a pause would make them wait for the rest of our time slice, 3 to 4 ms.
            std::thread::yield_now();
        }
    }
}

/// The next connection in turn that keeps up.
fn next_free<'a>(
    connections: &'a [Connection<Sender>],
    turn: &mut usize,
) -> Option<&'a Connection<Sender>> {
    for _ in 0..connections.len() {
        let connection = &connections[*turn % connections.len()];
        *turn += 1;
        if !connection.is_closed() && connection.waiting_bytes() < WAITING_LIMIT_BYTES {
            return Some(connection);
        }
    }
    None
}

/// Bytes that do not compress to nothing and are recognisable in a dump.
fn body(size_bytes: usize) -> Vec<u8> {
    let stamp = vec![0; STAMP_BYTES.min(size_bytes)];
    let text = (b'0'..=b'9').chain(b'a'..=b'z').cycle();
    stamp.into_iter().chain(text).take(size_bytes).collect()
}
