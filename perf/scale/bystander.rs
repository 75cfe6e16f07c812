//! Sends a message every 2 ms on a connection of its own, and reports its latencies when it reads a line.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use ringmq::wire::codes::response;

use crate::caller::{Caller, Result};

const EVERY: Duration = Duration::from_millis(2);
const TOPIC: &str = "perf-scale-bystander";

struct Latencies {
    us: Histogram<u64>,
    refused: u64,
}

impl Latencies {
    fn new() -> Result<Latencies> {
        Ok(Latencies {
            us: Histogram::new(3)?,
            refused: 0,
        })
    }

    /// The columns p99, p99.9 and worst in ms, and what was not stored.
    fn columns(&self) -> String {
        let ms = |us: u64| us as f64 / 1e3;
        format!(
            "{:>10.1}{:>10.1}{:>10.1}{:>9}",
            ms(self.us.value_at_quantile(0.99)),
            ms(self.us.value_at_quantile(0.999)),
            ms(self.us.max()),
            self.refused
        )
    }
}

/// Ends with its standard input.
pub fn run(broker: SocketAddr) -> Result<()> {
    let mut caller = Caller::connect(broker)?;
    // The topic is created by the first send, which is not measured.
    caller.send(TOPIC, 0)?;
    let latencies = Arc::new(Mutex::new(Latencies::new()?));
    let of_sender = latencies.clone();
    thread::spawn(move || {
        if let Err(error) = send(&mut caller, &of_sender) {
            eprintln!("bystander: {error}");
            std::process::exit(1);
        }
    });
    println!("sending");
    while std::io::stdin().read_line(&mut String::new())? > 0 {
        // A message that is still unanswered belongs to this report.
        thread::sleep(EVERY);
        let mut latencies = latencies.lock().map_err(|_| "the sender has panicked")?;
        println!("{}", latencies.columns());
        *latencies = Latencies::new()?;
    }
    Ok(())
}

/// A message counts from when it should have been sent: all that a stall delays are late, not only the first.
fn send(caller: &mut Caller, latencies: &Mutex<Latencies>) -> Result<()> {
    let mut intended = Instant::now();
    loop {
        intended += EVERY;
        thread::sleep(intended.saturating_duration_since(Instant::now()));
        let code = caller.send(TOPIC, 0)?;
        let took_us = intended.elapsed().as_micros() as u64;
        let mut latencies = latencies.lock().map_err(|_| "the reporter has panicked")?;
        latencies.us.record(took_us)?;
        latencies.refused += u64::from(code != response::SUCCESS);
    }
}
