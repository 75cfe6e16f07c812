//! The first entry of a queue of which something is true, where an entry may have rotted.

use std::ops::Range;

use crate::store::StoreError;

/// The first of these offsets at which this is true, or their end. It is true of all entries behind that, but for one here and there
/// whose position has rotted.
///
/// A binary search believes each entry that it looks at: one that is wrong could cost half of the queue. So an entry decides only
/// together with its neighbours, two of the three. Where the answer is next to a wrong one, the lower offset is taken: a reader passes
/// over a message that has gone, and never comes back to one that was left out.
pub(super) async fn first_of(
    offsets: Range<u64>,
    is_true: impl AsyncFn(u64) -> Result<bool, StoreError>,
) -> Result<u64, StoreError> {
    let (mut low, mut high) = (offsets.start, offsets.end);
    // Most begin with it.
    let mut middle = low;
    while low < high {
        let own = is_true(middle).await?;
        let has_both = offsets.start < middle && middle + 1 < offsets.end;
        let decides = match has_both && is_true(middle - 1).await? != own {
            true => is_true(middle + 1).await?,
            false => own,
        };
        match decides {
            true => high = middle,
            false => low = middle + 1,
        }
        middle = low.midpoint(high);
    }
    let before = low.saturating_sub(2).max(offsets.start)..low;
    for offset in before.rev() {
        if is_true(offset).await? {
            low = offset;
        }
    }
    Ok(low)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn found(truth: &[bool]) -> u64 {
        let is_true = async |offset: u64| Ok(truth[offset as usize]);
        let found = first_of(0..truth.len() as u64, is_true).now_or_never();
        found.unwrap().unwrap()
    }

    /// Wherever the answer is, and whichever single entry is wrong.
    #[test]
    fn one_rotten_entry_costs_no_message() {
        for count in 0..20 {
            for first in 0..=count {
                let truth: Vec<bool> = (0..count).map(|offset| offset >= first).collect();
                assert_eq!(found(&truth), first as u64, "{truth:?}");
                for rotten in 0..count {
                    let mut truth = truth.clone();
                    truth[rotten] ^= true;
                    let got = found(&truth);
                    // Of the first message itself nothing but the log could say where it is.
                    let most = first + usize::from(rotten == first);
                    assert!(got <= most as u64, "{got} of {first}: {truth:?}");
                    assert!(
                        got + 2 >= first as u64 || rotten == 0,
                        "{got} of {first}: {truth:?}"
                    );
                }
            }
        }
    }
}
