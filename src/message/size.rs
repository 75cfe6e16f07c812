//! Numbers of bytes as RocketMQ's tools write them: `1.5 GiB`.

const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// With one digit behind the point, from 1 KiB on.
pub fn show(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1024.0 {
        value /= 1024.0;
        unit += 1;
    }
    // 2^64 is 16 of the last unit.
    format!("{value:.1} {}", UNITS[unit])
}

/// What [`show`] wrote, but for what it rounded.
pub fn parse(text: &str) -> Option<u64> {
    let (value, unit) = text.trim().split_once(' ')?;
    let value: f64 = value.parse().ok()?;
    let power = UNITS.iter().position(|name| *name == unit)?;
    let bytes = value * (1_u64 << (10 * power)) as f64;
    // What is too large becomes the largest.
    (bytes >= 0.0).then_some(bytes.round() as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_are_readable() {
        assert_eq!(show(300), "300 B");
        assert_eq!(show(3 << 29), "1.5 GiB");
        assert_eq!(show(252 << 30), "252.0 GiB");
        assert_eq!(show(u64::MAX), "16.0 EiB");
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in [
            "", "1.5", "GiB", "1.5GiB", "1,5 GiB", "-1 KiB", "NaN B", "1.5 gib",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(parse("16.0 EiB"), Some(u64::MAX));
    }

    proptest! {
        /// Numbers of every magnitude come back, up to half of the last digit, and half a byte: 586.25 KiB is shown as 586.2 KiB.
        #[test]
        fn sizes_come_back(bytes in any::<u64>(), shift in 0_u32..64) {
            let bytes = bytes >> shift;
            let unit = 1024_f64.powi((bytes.max(1).ilog2() / 10) as i32);
            let read = parse(&show(bytes)).unwrap();
            let rounded = match bytes { 0..1024 => 0.0, _ => 0.0501 * unit + 0.5 };
            prop_assert!((read as f64 - bytes as f64).abs() <= rounded, "{bytes} {read}");
        }
    }
}
