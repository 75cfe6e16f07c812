use super::*;

#[test]
fn what_was_handed_out_before_a_reset_does_not_move_the_queue() {
    let mut orders = Orders::default();
    orders.hand_out("g", "T", 0, None, &[7, 8], 1_000, 50);
    orders.clear("g", "T", 0, 60);
    assert_eq!(orders.ack("g", "T", 0, 8, 50), None, "a late one");
    orders.hand_out("g", "T", 0, None, &[0], 1_000, 61);
    assert_eq!(orders.ack("g", "T", 0, 8, 50), None);
    assert_eq!(orders.ack("g", "T", 0, 0, 61), Some(1));
}

fn hand_out(orders: &mut Orders, attempt: Option<&str>, offsets: &[u64], now_ms: u64) -> Times {
    orders.hand_out("g", "T", 0, attempt, offsets, 100, now_ms)
}

fn is_blocked(orders: &Orders, attempt: Option<&str>, now_ms: u64) -> bool {
    orders.is_blocked("g", "T", 0, attempt, now_ms)
}

#[test]
fn a_queue_is_blocked_until_all_is_acknowledged() {
    let mut orders = Orders::default();
    hand_out(&mut orders, None, &[5, 6, 8], 10);
    assert!(is_blocked(&orders, None, 10) && !orders.is_blocked("h", "T", 0, None, 10));
    assert_eq!(
        orders.ack("g", "T", 0, 6, 10),
        Some(5),
        "not before the first"
    );
    assert_eq!(orders.ack("g", "T", 0, 5, 10), Some(8));
    assert_eq!(orders.ack("g", "T", 0, 7, 10), None, "was not handed out");
    assert_eq!(
        orders.ack("g", "T", 0, 8, 11),
        None,
        "another pop's receipt"
    );
    assert!(is_blocked(&orders, None, 109));
    assert_eq!(orders.ack("g", "T", 0, 8, 10), Some(9));
    assert!(!is_blocked(&orders, None, 10));
}

#[test]
fn or_until_its_time_is_over_and_then_counts_the_times() {
    let mut orders = Orders::default();
    let times = hand_out(&mut orders, None, &[5, 6], 10);
    assert_eq!(
        times,
        Times {
            by_offset: vec![],
            fewest: 0
        }
    );
    orders.ack("g", "T", 0, 5, 10);
    orders.change("g", "T", 0, 6, 10, 500);
    assert!(is_blocked(&orders, None, 499) && !is_blocked(&orders, None, 500));
    assert_eq!(orders.take_free(9), None);
    assert_eq!(orders.take_free(500), Some(("g".into(), "T".into(), 0)));
    let times = hand_out(&mut orders, None, &[6, 7], 500);
    assert_eq!(
        times,
        Times {
            by_offset: vec![(6, 1)],
            fewest: 0
        }
    );
    let times = hand_out(&mut orders, None, &[6, 7], 900);
    assert_eq!(
        times,
        Times {
            by_offset: vec![(6, 2), (7, 1)],
            fewest: 1
        }
    );
}

#[test]
fn a_blocked_queue_is_noted_once() {
    let mut orders = Orders::default();
    for n in 0..1000 {
        hand_out(&mut orders, Some("a"), &[n], n);
        orders.change("g", "T", 0, n, n, n + 43_200_000);
        assert_eq!(orders.free_at.len(), 1);
    }
    assert_eq!(orders.next_free_ms(), Some(999 + 43_200_000));
    orders.ack("g", "T", 0, 999, 999);
    assert!(orders.free_at.is_empty(), "it is free at once");
    hand_out(&mut orders, None, &[7], 10_000);
    orders.clear("g", "T", 0, 10_000);
    assert!(orders.free_at.is_empty());
    hand_out(&mut orders, None, &[7], 10_000);
    let key = Some("T@g".to_owned());
    assert_eq!(orders.remove_of_group("h", None, u64::MAX), key);
    assert_eq!(orders.remove_of_group("g", None, 9_999), key, "it is newer");
    assert_eq!((orders.table.len(), orders.free_at.len()), (1, 1));
    assert_eq!(orders.remove_of_group("g", None, 10_000), key);
    assert!(orders.free_at.is_empty() && orders.table.is_empty());
    assert_eq!(orders.remove_of_group("g", None, 10_000), None);
}

/// Four messages, three of which were popped: the first and the last are acknowledged, the other one is changed in between.
#[test]
fn an_acknowledgement_brings_the_earlier_time_forward() {
    let mut orders = Orders::default();
    orders.hand_out("g", "T", 0, None, &[0, 1, 2], 5000, 0);
    orders.ack("g", "T", 0, 0, 0);
    orders.change("g", "T", 0, 1, 0, 3000);
    assert_eq!(orders.next_free_ms(), Some(5000), "of the last message");
    orders.ack("g", "T", 0, 2, 0);
    assert_eq!(orders.next_free_ms(), Some(3000));
    assert_eq!(orders.take_free(2999), None);
    assert_eq!(orders.take_free(3000), Some(("g".into(), "T".into(), 0)));
    assert_eq!(orders.take_free(9000), None);
}

#[test]
fn an_acknowledgement_of_what_was_popped_before_a_reset_is_void() {
    let mut orders = Orders::default();
    hand_out(&mut orders, None, &[50], 10);
    orders.clear("g", "T", 0, 20);
    assert_eq!(orders.ack("g", "T", 0, 50, 10), None);
    assert_eq!(orders.ack("g", "T", 1, 50, 10), Some(51), "another queue");
    hand_out(&mut orders, None, &[0], 20);
    assert_eq!(orders.ack("g", "T", 0, 50, 10), None);
    assert_eq!(orders.ack("g", "T", 0, 0, 20), Some(1));
}

#[test]
fn queues_are_forgotten_a_slice_at_a_time() {
    let mut orders = Orders::default();
    for n in 0..10 {
        let topic = format!("T{n}");
        orders.hand_out("g", &topic, 0, None, &[0], 100, n % 2);
    }
    let now_ms = FORGOTTEN_AFTER_MS + 1;
    orders.expire(now_ms, 4);
    assert_eq!((orders.table.len(), orders.free_at.len()), (8, 8));
    orders.expire(now_ms, 4);
    orders.expire(now_ms, 4);
    assert_eq!((orders.table.len(), orders.free_at.len()), (5, 5));
    orders.expire(now_ms + 1, 100);
    orders.expire(now_ms + 1, 100);
    assert!(orders.table.is_empty() && orders.free_at.is_empty());
}

#[test]
fn an_attempt_may_be_repeated() {
    let mut orders = Orders::default();
    hand_out(&mut orders, Some("a"), &[5], 10);
    assert!(!is_blocked(&orders, Some("a"), 11) && is_blocked(&orders, Some("b"), 11));
    let times = hand_out(&mut orders, Some("a"), &[5], 11);
    assert_eq!(times.fewest, 0, "the same attempt does not count");
    assert!(is_blocked(&orders, None, 11));
}

#[test]
fn kept_and_loaded() {
    let mut orders = Orders::default();
    hand_out(&mut orders, Some("a"), &[5, 6], 10);
    assert!(orders.take_dirty() && !orders.take_dirty());
    let text = serde_json::to_string(&orders.table).unwrap();
    let mut again = Orders::default();
    again.load(serde_json::from_str(&text).unwrap());
    assert_eq!(again.table, orders.table);
    assert!(is_blocked(&again, None, 109) && again.next_free_ms() == Some(110));
    assert!(again.remove_next_of("T") && !again.remove_next_of("T"));
    assert!(!is_blocked(&again, None, 109) && again.take_dirty());
}

#[test]
fn rewinds_are_forgotten_a_slice_at_a_time_to_the_last() {
    let mut orders = Orders::default();
    for n in 0..10 {
        let cleared_ms = if n < 6 { FORGOTTEN_AFTER_MS } else { 0 };
        orders.clear("g", &format!("T{n}"), 0, cleared_ms);
    }
    let now_ms = FORGOTTEN_AFTER_MS + 1;
    orders.expire(now_ms, 4);
    assert_eq!(orders.cleared_ms.len(), 10, "the first ones are not old");
    orders.expire(now_ms, 4);
    orders.expire(now_ms, 4);
    assert_eq!(orders.cleared_ms.len(), 6);
}
