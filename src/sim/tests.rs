//! The simulation held to its own promises.

use std::path::Path;

use super::*;

fn sim(seed: u64) -> Sim {
    Sim::new(seed, SimConfig::default())
}

#[test]
fn conforms_to_the_seam() {
    for seed in 0..20 {
        let sim = sim(seed);
        let io = sim.host("a");
        sim.run(conformance::all(&io, Path::new("/d")));
    }
}
