//! Pulling under load: one pull in flight for each queue, the queues spread over the connections. `consume` reads what
//! a topic holds, again from its start when it has reached the end; `e2e` follows its end while another load sends.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::load::sleep_until;
use super::meter::Meter;
use super::recorder::{Recorder, Stopwatch, Window};
use super::result::{RunResult, Shape};
use super::{BenchError, Interrupt, template};
use crate::client::{Dial, NameServer, PullStatus, Pulled, QueuePosition, QueueReader};
use crate::message::{Check, Record};
use crate::wire::Codec;
use crate::wire::codes::response;

/// After an error, as RocketMQ's clients wait before the next pull of that queue (theirs is 3 s).
const RETRY: Duration = Duration::from_millis(200);

pub struct ConsumePlan<'a> {
    pub name: &'a str,
    pub group: &'a str,
    pub topics: &'a [String],
    pub codec: Codec,
    pub dial: &'a Dial,
    pub connections: usize,
    /// For the report only.
    pub size_bytes: usize,
    pub warm_up: Duration,
    pub duration: Duration,
    pub interrupt: &'a Interrupt,
}

/// What the latency of a consumed message is counted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    /// The pull's own sending: its round trip.
    Pull,
    /// The intended send time that the message carries, on this process's clock.
    Send,
}

/// Reads the topics from their start, again and again.
pub async fn backlog(
    plan: &ConsumePlan<'_>,
    names: &NameServer,
    meter: &Meter<'_>,
    progress: &dyn Fn(Duration),
) -> Result<RunResult, BenchError> {
    let watch = Stopwatch::start();
    let pulls = Pulls::start(plan, names, watch, From::Pull).await?;
    let window = window(plan, &watch);
    pulls.state.borrow_mut().recorder.window = window;
    let wait = |until_ns| sleep_until(&watch, until_ns, plan.interrupt, progress);
    wait(window.from_ns).await;
    let before = meter.sample(pulls.acked()).await;
    wait(window.until_ns).await;
    let after = meter.sample(pulls.acked()).await;
    let recorder = pulls.stop();
    if recorder.acked == 0 && plan.interrupt.is_set() {
        return Err(BenchError::Interrupted);
    }
    if recorder.acked == 0 {
        return Err(BenchError::from(
            "there was nothing to consume: --fill puts messages there first".to_owned(),
        ));
    }
    let counted = meter.between(before, after);
    Ok(RunResult {
        name: plan.name.to_owned(),
        shape: Shape {
            connections: plan.connections,
            in_flight: 1,
            size_bytes: plan.size_bytes,
            rate: 0,
        },
        latency_ns: recorder.latency_ns,
        time_line: recorder.time_line.beside(&counted.time_line),
        errors: recorder.errors,
        ..counted
    })
}

/// Follows the ends of the topics from now on; what is sent on `watch`'s clock inside `window` is measured.
pub struct Follower(Pulls);

impl Follower {
    pub async fn start(
        plan: &ConsumePlan<'_>,
        names: &NameServer,
        watch: Stopwatch,
    ) -> Result<Self, BenchError> {
        Ok(Self(Pulls::start(plan, names, watch, From::Send).await?))
    }

    pub fn measure(&self, window: Window) {
        self.0.state.borrow_mut().recorder.window = window;
    }

    /// Messages of the window that have arrived.
    pub fn measured(&self) -> u64 {
        self.0.state.borrow().recorder.latency_ns.len()
    }

    pub fn stop(self) -> Recorder {
        self.0.stop()
    }
}

struct Pulls {
    state: Rc<RefCell<State>>,
}

struct State {
    recorder: Recorder,
    stopped: bool,
}

impl Pulls {
    async fn start(
        plan: &ConsumePlan<'_>,
        names: &NameServer,
        watch: Stopwatch,
        from: From,
    ) -> Result<Self, BenchError> {
        let state = Rc::new(RefCell::new(State {
            recorder: Recorder::new(Window::default()),
            stopped: false,
        }));
        for topic in plan.topics {
            let consumers: Vec<Rc<QueueReader>> = (0..plan.connections.max(1))
                .map(|_| {
                    Rc::new(QueueReader::new(
                        plan.group,
                        topic,
                        plan.dial.clone(),
                        plan.codec,
                    ))
                })
                .collect();
            for (nth, queue) in names.queues_to_pull(topic).await?.into_iter().enumerate() {
                let consumer = Rc::clone(&consumers[nth % consumers.len()]);
                let offset = match from {
                    From::Pull => consumer.min_offset(&queue).await?,
                    From::Send => consumer.max_offset(&queue).await?,
                };
                let pulling = Pulling {
                    consumer,
                    position: QueuePosition { queue, offset },
                    from,
                    watch,
                    state: Rc::clone(&state),
                };
                tokio::task::spawn_local(pulling.run());
            }
        }
        Ok(Self { state })
    }

    fn acked(&self) -> u64 {
        self.state.borrow().recorder.acked
    }

    fn stop(self) -> Recorder {
        let mut state = self.state.borrow_mut();
        state.stopped = true;
        std::mem::replace(&mut state.recorder, Recorder::new(Window::default()))
    }
}

/// One queue's pulls, one after the other.
struct Pulling {
    consumer: Rc<QueueReader>,
    position: QueuePosition,
    from: From,
    watch: Stopwatch,
    state: Rc<RefCell<State>>,
}

impl Pulling {
    async fn run(mut self) {
        while !self.state.borrow().stopped {
            let start_ns = self.watch.now_ns();
            match self
                .consumer
                .pull(&self.position.queue, self.position.offset)
                .await
            {
                Ok(pulled) => self.take(&pulled, start_ns),
                Err(error) => {
                    self.failed(start_ns, || error.to_string());
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    fn failed(&self, at_ns: u64, cause: impl FnOnce() -> String) {
        self.state.borrow_mut().recorder.failed(at_ns, cause);
    }

    fn take(&mut self, pulled: &Pulled, start_ns: u64) {
        let now_ns = self.watch.now_ns();
        let mut state = self.state.borrow_mut();
        let recorder = &mut state.recorder;
        if pulled.status == PullStatus::Found {
            self.count(&pulled.records, recorder, start_ns, now_ns);
        }
        let at_end = pulled.next_offset >= pulled.max_offset;
        self.position.offset = match self.from {
            From::Pull if at_end => pulled.min_offset,
            _ => pulled.next_offset,
        };
    }

    fn count(&self, records: &[u8], recorder: &mut Recorder, start_ns: u64, now_ns: u64) {
        if self.from == From::Pull {
            // The round trip is the pull's, the count the messages'.
            recorder.answered(response::SUCCESS, start_ns, now_ns);
            recorder.acked += record_count(records).saturating_sub(1);
            return;
        }
        let mut rest = records;
        while !rest.is_empty() {
            let record = match Record::decode(rest, Check::Layout) {
                Ok(record) => record,
                Err(error) => return recorder.failed(now_ns, || error.to_string()),
            };
            if let Some(intended_ns) = template::intended_ns(record.body) {
                recorder.answered(response::SUCCESS, intended_ns, now_ns);
            }
            rest = rest.get(record.total_size as usize..).unwrap_or_default();
        }
    }
}

/// By the size that each record begins with.
fn record_count(records: &[u8]) -> u64 {
    let mut count = 0;
    let mut rest = records;
    while let Some(size) = rest.first_chunk::<4>() {
        let size = u32::from_be_bytes(*size) as usize;
        if size < 4 || size > rest.len() {
            break;
        }
        count += 1;
        rest = &rest[size..];
    }
    count
}

fn window(plan: &ConsumePlan<'_>, watch: &Stopwatch) -> Window {
    let from_ns = watch.now_ns() + plan.warm_up.as_nanos() as u64;
    Window {
        from_ns,
        until_ns: from_ns + plan.duration.as_nanos() as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_counted_by_their_sizes() {
        let mut records = Vec::new();
        for size in [4u32, 10, 7] {
            records.extend_from_slice(&size.to_be_bytes());
            records.resize(records.len() + size as usize - 4, 0xff);
        }
        assert_eq!(record_count(&records), 3);
        assert_eq!(record_count(&records[..records.len() - 1]), 2);
        assert_eq!(record_count(&[0, 0, 0, 0, 9]), 0);
        assert_eq!(record_count(&[]), 0);
    }
}
