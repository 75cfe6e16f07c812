//! Sends at a fixed rate, whatever the broker makes of it; `overload.sh` runs it:
//!
//! ```text
//! overload BROKER BROKER_PID RATE BODY_BYTES SECONDS
//! ```
//! Prints the rates of what was accepted and refused, their latencies from the intended time in milliseconds (p50 and p99,
//! p99 of refusals), and the broker's most and last resident memory in MiB.

mod message;

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use message::message_to;
use ringmq::wire::codes::response;
use ringmq::wire::{Codec, Head, Scratch, codes::request, frame, header};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const CONNECTIONS: usize = 64;
const TOPIC: &str = "perf-overload";

/// Of the load before the figures count: the broker has to find out first.
const WARM_UP: Duration = Duration::from_secs(3);

/// What takes longer counts as this.
const LONGEST_US: u64 = 600_000_000;

struct Counts {
    accepted_us: Histogram<u64>,
    refused_us: Histogram<u64>,
    others: BTreeMap<i32, u64>,
}

struct Load {
    started: Instant,
    each_ns: u64,
    body_bytes: usize,
    next: AtomicU64,
    over: AtomicBool,
    counts: Mutex<Counts>,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("overload: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [broker, pid, rate, body_bytes, seconds] = args.as_slice() else {
        return Err("BROKER BROKER_PID RATE BODY_BYTES SECONDS".into());
    };
    let (broker, rate): (SocketAddr, u64) = (broker.parse()?, rate.parse()?);
    let seconds: u64 = seconds.parse()?;
    let load = Arc::new(Load {
        started: Instant::now(),
        each_ns: 1_000_000_000 / rate,
        body_bytes: body_bytes.parse()?,
        next: AtomicU64::new(0),
        over: AtomicBool::new(false),
        counts: Mutex::new(Counts {
            accepted_us: Histogram::new_with_max(LONGEST_US, 3)?,
            refused_us: Histogram::new_with_max(LONGEST_US, 3)?,
            others: BTreeMap::new(),
        }),
    });
    let mut threads = Vec::new();
    for _ in 0..CONNECTIONS {
        let stream = TcpStream::connect(broker)?;
        stream.set_nodelay(true)?;
        let (reader, of_reader) = (stream.try_clone()?, load.clone());
        thread::spawn(move || of_reader.read(reader));
        let of_writer = load.clone();
        threads.push(thread::spawn(move || of_writer.write(stream)));
    }
    let mut most_kib = 0;
    while load.started.elapsed() < WARM_UP + Duration::from_secs(seconds) {
        most_kib = most_kib.max(rss_kib(pid)?);
        thread::sleep(Duration::from_millis(100));
    }
    load.over.store(true, Ordering::Relaxed);
    thread::sleep(Duration::from_secs(4));
    let counts = load.counts.lock().map_err(|_| "a reader has panicked")?;
    let ms =
        |histogram: &Histogram<u64>, quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
    println!(
        "{} {:.1} {:.1} {} {:.1} {} {}",
        counts.accepted_us.len() / seconds,
        ms(&counts.accepted_us, 0.5),
        ms(&counts.accepted_us, 0.99),
        counts.refused_us.len() / seconds,
        ms(&counts.refused_us, 0.99),
        most_kib >> 10,
        rss_kib(pid)? >> 10,
    );
    if !counts.others.is_empty() {
        eprintln!("other codes: {:?}", counts.others);
    }
    Ok(())
}

impl Load {
    /// The number of a message is its opaque, and says when it should have been sent.
    fn intended_ns(&self, number: u64) -> u64 {
        number * self.each_ns
    }

    fn now_ns(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }

    fn write(&self, mut stream: TcpStream) {
        let (body, mut bytes) = (vec![7; self.body_bytes], Vec::new());
        while !self.over.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let early_ns = self.intended_ns(number).saturating_sub(self.now_ns());
            thread::sleep(Duration::from_nanos(early_ns));
            let head = Head::request(Codec::Json, request::SEND_MESSAGE_V2, number as i32);
            bytes.clear();
            frame::write(
                &mut bytes,
                &head,
                &message_to(TOPIC, (number % 4) as i32).ext(),
                &body,
            );
            if stream.write_all(&bytes).is_err() {
                return;
            }
        }
    }

    fn read(&self, mut stream: TcpStream) {
        let (mut bytes, mut scratch) = (Vec::new(), Scratch::default());
        loop {
            let mut len = [0; 4];
            if stream.read_exact(&mut len).is_err() {
                return;
            }
            bytes.clear();
            bytes.extend_from_slice(&len);
            bytes.resize(4 + u32::from_be_bytes(len) as usize, 0);
            if stream.read_exact(&mut bytes[4..]).is_err() {
                return;
            }
            let Ok(Some(frame)) = frame::split(&bytes) else {
                return;
            };
            let Ok(header) = header::decode(&frame, &mut scratch) else {
                return;
            };
            self.count(header.opaque as u64, header.code);
        }
    }

    fn count(&self, number: u64, code: i32) {
        let intended_ns = self.intended_ns(number);
        if intended_ns < WARM_UP.as_nanos() as u64 {
            return;
        }
        let took_us = self.now_ns().saturating_sub(intended_ns) / 1_000;
        let Ok(mut counts) = self.counts.lock() else {
            return;
        };
        match code {
            response::SUCCESS => counts.accepted_us.saturating_record(took_us),
            response::SYSTEM_BUSY => counts.refused_us.saturating_record(took_us),
            other => *counts.others.entry(other).or_default() += 1,
        }
    }
}

fn rss_kib(pid: &str) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_ascii_whitespace().next());
    Ok(kib.ok_or("no VmRSS")?.parse()?)
}
