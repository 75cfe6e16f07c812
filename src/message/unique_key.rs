//! Makes the ids that a client gives its messages, and a broker those that come without (RocketMQ: `MessageClientIDSetter`).

use std::net::IpAddr;

use super::ids::{MessageId, unique_key};

const DAY_MS: u64 = 86_400_000;

/// Makes ids that differ from each other, and from those of other makers by address and seed.
#[derive(Debug)]
pub struct KeyMaker {
    ip: IpAddr,
    seed: u64,
    made: u16,
}

impl KeyMaker {
    pub fn new(ip: IpAddr, seed: u64) -> Self {
        Self { ip, seed, made: 0 }
    }

    pub fn next(&mut self, now_ms: u64) -> MessageId {
        self.made = self.made.wrapping_add(1);
        let (pid, loader) = (self.seed as u16, (self.seed >> 16) as u32);
        unique_key(
            self.ip,
            pid,
            loader,
            since_month_start_ms(now_ms),
            self.made,
        )
    }
}

/// Tools read the time of a message back from this.
fn since_month_start_ms(now_ms: u64) -> u32 {
    let day = u64::from(day_of_month(now_ms / DAY_MS));
    ((day - 1) * DAY_MS + now_ms % DAY_MS) as u32
}

/// Of days since 1970, by the civil calendar that starts its years in March (H. Hinnant, `days_from_civil`).
fn day_of_month(days: u64) -> u32 {
    let day_of_era = (days + 719_468) % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    (day_of_year - (153 * month + 2) / 5 + 1) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days() {
        // 1970-01-01, 2000-02-29, 2000-03-01, 2026-11-21
        for (days, day) in [(0, 1), (11_016, 29), (11_017, 1), (20_778, 21)] {
            assert_eq!(day_of_month(days), day, "{days}");
        }
        assert_eq!(
            since_month_start_ms(20_778 * DAY_MS + 5) as u64,
            20 * DAY_MS + 5
        );
    }

    #[test]
    fn keys_differ() {
        let mut keys = KeyMaker::new([127, 0, 0, 1].into(), 7);
        assert_ne!(keys.next(0), keys.next(0));
    }
}
