//! The names of RocketMQ's versions, whose ordinals stand in headers (`MQVersion.java`).

/// The first of them, which follow no rule.
const FIRST: [&str; 16] = [
    "v3_0_0_snapshot",
    "v3_0_0_alpha1",
    "v3_0_0_beta1",
    "v3_0_0_beta2",
    "v3_0_0_beta3",
    "v3_0_0_beta4",
    "v3_0_0_beta5",
    "v3_0_0_beta6_snapshot",
    "v3_0_0_beta6",
    "v3_0_0_beta7_snapshot",
    "v3_0_0_beta7",
    "v3_0_0_beta8_snapshot",
    "v3_0_0_beta8",
    "v3_0_0_beta9_snapshot",
    "v3_0_0_beta9",
    "v3_0_0_final",
];

/// Behind them each version has two ordinals, its snapshot first: ordinal of the first snapshot, major, minor, patch of it, and how many patches its minor
/// versions have.
const RUNS: [(i32, i32, i32, i32, i32); 4] = [
    (16, 3, 0, 1, 15),
    (46, 3, 1, 0, 10),
    (86, 3, 3, 1, 9),
    (212, 4, 0, 0, 10),
];

/// Ordinal of HIGHER_VERSION.
const HIGHER: i32 = 612;

/// The version's name in lower case, such as `v5_5_0`.
pub fn version_name(ordinal: i32) -> String {
    if ordinal >= HIGHER {
        return "higher_version".into();
    }
    if let Some(first) = FIRST.get(ordinal.max(0) as usize) {
        return (*first).into();
    }
    let run = RUNS.iter().rfind(|(begin, ..)| *begin <= ordinal);
    let (begin, major, minor, patch, patches) = run.expect("those before are listed");
    let place = ordinal - begin;
    // Minor versions of all majors in a row, ten for each.
    let minor = major * 10 + minor + place / (2 * patches);
    let patch = patch + place % (2 * patches) / 2;
    let snapshot = match place % 2 {
        0 => "_snapshot",
        _ => "",
    };
    format!("v{}_{}_{patch}{snapshot}", minor / 10, minor % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_rocketmq() {
        let known = [
            (-1, "v3_0_0_snapshot"),
            (15, "v3_0_0_final"),
            (16, "v3_0_1_snapshot"),
            (37, "v3_0_11"),
            (45, "v3_0_15"),
            (46, "v3_1_0_snapshot"),
            (62, "v3_1_8_snapshot"),
            (85, "v3_2_9"),
            (86, "v3_3_1_snapshot"),
            (121, "v3_4_9"),
            (211, "v3_9_9"),
            (213, "v4_0_0"),
            (401, "v4_9_4"),
            (412, "v5_0_0_snapshot"),
            (513, "v5_5_0"),
            (611, "v5_9_9"),
            (612, "higher_version"),
            (i32::MAX, "higher_version"),
        ];
        for (ordinal, name) in known {
            assert_eq!(version_name(ordinal), name, "{ordinal}");
        }
    }
}
