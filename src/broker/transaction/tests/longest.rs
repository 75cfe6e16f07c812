//! Half messages whose properties leave no room for more.

use super::*;

/// RocketMQ's limit leaves no room for what a copy has besides: it goes without what another property says as well.
#[test]
fn one_with_the_longest_properties_is_asked_about() {
    let mut broker = broker();
    let of_padding = |padding: usize| format!("{PROPERTIES}P\u{1}{}\u{2}", "v".repeat(padding));
    let mut admitted_len = |properties: &str| {
        let request = sent(properties, BORN_MS);
        let plan = broker.admit_send(&request, b"body", &peer(1), BORN_MS as u64)?;
        Ok::<_, Refusal>(plan.properties().encoded_len())
    };
    let longest = 32_768 - admitted_len(&of_padding(1)).unwrap() + 1;
    assert!(admitted_len(&of_padding(longest + 1)).is_err());
    let mut bytes = half(&mut broker, &of_padding(longest), 5, BORN_MS);
    for (offset, checks, next) in [(5, "1", 9), (9, "2", 12), (12, "3", 15)] {
        let record = decoded(&bytes);
        let (at, verdict) = broker.judge_half(offset, &record, BORN_MS as u64 + 60_000);
        assert_eq!(at.first, 5);
        let Verdict::Ask(copy, asked) = verdict else {
            panic!("{verdict:?}")
        };
        assert!(copy.properties().encoded_len() <= 32_768);
        let found = |name| find(copy.properties(), name).unwrap();
        assert_eq!(found("TRAN_PREPARED_QUEUE_OFFSET"), "5");
        assert_eq!(found("TRANSACTION_CHECK_TIMES"), checks);
        assert_eq!(found("P").len(), longest);
        let shown = asked.encode(&copy, next, 12_345);
        assert_eq!(decoded(&shown).topic, "T");
        bytes = stored(&copy, next);
    }
}
