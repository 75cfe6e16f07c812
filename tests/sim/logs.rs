//! What the brokers log, with the virtual time.

use std::fmt;
use std::time::Duration;

use ringmq::io::Spawn;
use ringmq::sim::{self, Sim, SimConfig};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

/// Shown if `RUST_LOG` is set.
pub fn if_asked() {
    if std::env::var("RUST_LOG").is_ok() {
        let _ = tracing_subscriber::fmt()
            .with_timer(VirtualTime)
            .with_env_filter(EnvFilter::from_default_env())
            .try_init();
    }
}

/// Seconds of the simulation, as in `Sim::mono_ns`, and the host that logs.
struct VirtualTime;

impl FormatTime for VirtualTime {
    fn format_time(&self, to: &mut Writer<'_>) -> fmt::Result {
        let Some(present) = sim::present() else {
            return Ok(());
        };
        let seconds = present.mono_ns as f64 / 1e9;
        let host = present.host.as_deref().unwrap_or("-");
        write!(to, "{seconds:>11.6} {host:<10}")
    }
}

#[test]
fn lines_carry_virtual_time_and_the_host() {
    let line = || {
        let mut text = String::new();
        let written = VirtualTime.format_time(&mut Writer::new(&mut text));
        written.expect("a string takes all");
        text
    };
    let sim = Sim::new(1, SimConfig::default());
    sim.run(async {
        let io = sim.host("one");
        io.spawn("test", async move {
            assert!(line().ends_with(" one       "), "{}", line());
        });
        sim.sleep(Duration::from_secs(41)).await;
        assert!(line().starts_with("  42.00"), "{}", line());
        assert!(line().ends_with(" -         "), "{}", line());
    });
}
