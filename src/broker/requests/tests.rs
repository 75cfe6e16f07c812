use super::*;

#[test]
fn each_request_is_declared_once() {
    let mut codes = CODES.to_vec();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), CODES.len());
    for code in CODES {
        let entry = find(*code).unwrap();
        assert_eq!(
            (entry.code, Some(entry.name)),
            (*code, request::name(*code))
        );
    }
    assert!(find(77).is_none());
}

/// What is decoded, is decoded in one turn.
#[test]
fn bodies_are_small_but_for_messages() {
    for entry in CODES.iter().filter_map(|code| find(*code)) {
        let carries_message = matches!(entry.kind, Kind::Send | Kind::SendReply);
        assert_eq!(entry.max_body == MESSAGE, carries_message, "{}", entry.name);
        assert!(
            carries_message || entry.max_body <= 2 << 20,
            "{}",
            entry.name
        );
    }
    let entry = find(request::LOCK_BATCH_MQ).unwrap();
    assert!(entry.check_body(&[0; 1 << 20]).is_ok());
    let refusal = entry.check_body(&[0; (1 << 20) + 1]).unwrap_err();
    assert_eq!(
        refusal.remark,
        "the body of LOCK_BATCH_MQ is 1048577 bytes, limit 1048576"
    );
}

#[test]
fn who_writes_messages_is_a_publisher_and_who_reads_them_a_subscriber() {
    for entry in CODES.iter().filter_map(|code| find(*code)) {
        match entry.kind {
            Kind::Send | Kind::SendReply | Kind::Recall | Kind::EndTransaction => {
                assert_eq!(entry.audience, Audience::Publish, "{}", entry.name);
            }
            Kind::Pull { .. } | Kind::Pop | Kind::Peek | Kind::Ack | Kind::BatchAck => {
                assert_eq!(entry.audience, Audience::Subscribe, "{}", entry.name);
            }
            _ => {}
        }
    }
}
