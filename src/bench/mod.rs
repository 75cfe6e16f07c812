//! `ringmq bench`: what a broker does under load, and what this machine could do at best.

mod chart;
mod counters;
pub mod cpu;
mod floor;
mod histogram;
mod machine;
mod page;
mod result;
mod table;

pub use counters::WriteCounters;

/// Keeps the calling thread on one core; `false` if the machine has no such core or does not let it.
pub fn pin(core: Option<usize>) -> bool {
    core.is_none_or(|id| core_affinity::set_for_current(core_affinity::CoreId { id }))
}
