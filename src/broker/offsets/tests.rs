use super::*;

#[test]
fn offsets_are_kept_by_group_topic_and_queue() {
    let mut offsets = Offsets::new(0);
    offsets.commit("g", "T", 0, 5, 0);
    offsets.commit("g", "T", 1, 6, 0);
    offsets.commit("h", "T", 0, 7, 0);
    offsets.commit("g", "T", 0, 3, 0);
    assert_eq!(offsets.query("g", "T", 0), Some(3), "going back is allowed");
    assert_eq!(offsets.query("h", "T", 0), Some(7));
    assert_eq!(offsets.query("h", "T", 1), None);
    assert!(offsets.groups_of_after("T", None).eq(["g", "h"]));
    assert!(offsets.groups_of_after("T", Some("g")).eq(["h"]));
    assert!(offsets.topics_after("g", None).eq(["T"]));
    assert!(!offsets.remove_group("g", 9));
    assert!(offsets.groups_of_after("T", None).eq(["h"]));
    offsets.pulled("only-pulled", "T", 0, 1);
    assert_eq!(offsets.remove_next_of("T").as_deref(), Some("h"));
    assert_eq!(offsets.remove_next_of("T").as_deref(), Some("only-pulled"));
    assert_eq!(offsets.remove_next_of("T"), None);
    assert!(offsets.after(None).next().is_none());
    assert!(offsets.topics_after("h", None).next().is_none());
}

#[test]
fn a_group_is_removed_in_slices() {
    let mut offsets = Offsets::new(0);
    for n in 0..5 {
        let topic = format!("T{n}");
        offsets.commit("g", &topic, 0, 1, 0);
        offsets.pulled("g", &topic, 0, 2);
        offsets.commit("h", &topic, 0, 1, 0);
    }
    offsets.reset("g", "T0", 0, 7);
    let mut slices = 1;
    while offsets.remove_group("g", 4) {
        slices += 1;
    }
    assert_eq!(slices, 3, "5 + 5 + 1 topics");
    assert!(offsets.topics_after("g", None).next().is_none());
    assert_eq!(offsets.query("g", "T0", 0), None);
    assert_eq!(offsets.query_pulled("g", "T1", 0), None);
    assert_eq!(offsets.topics_after("h", None).count(), 5);
}

#[test]
fn a_walk_goes_on_where_it_stopped() {
    let mut offsets = Offsets::new(0);
    for (topic, group) in [("S", "g"), ("T", "e"), ("T", "g"), ("T", "h"), ("U", "g")] {
        offsets.commit(group, topic, 0, 1, 0);
    }
    let behind = |offsets: &Offsets, from| {
        let names = offsets
            .after(from)
            .map(|(topic, group, _)| format!("{topic}{group}"));
        names.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(behind(&offsets, None), "Sg Te Tg Th Ug");
    assert_eq!(behind(&offsets, Some(("T", "f"))), "Tg Th Ug");
    assert_eq!(behind(&offsets, Some(("T", "h"))), "Ug");
    while offsets.remove_next_of("T").is_some() {}
    assert_eq!(behind(&offsets, Some(("T", "e"))), "Ug");
    let groups = offsets.groups_after(None).map(|(group, _)| group);
    assert_eq!(groups.collect::<Vec<_>>(), ["g"]);
}

#[test]
fn a_reset_is_seen_once_by_a_pull() {
    let mut offsets = Offsets::new(0);
    offsets.commit("g", "T", 0, 5, 0);
    offsets.reset("g", "T", 0, 2);
    assert!(offsets.has_reset("g", "T", 0));
    assert_eq!(offsets.query("g", "T", 0), Some(2));
    assert_eq!(offsets.take_reset("g", "T", 1, 5), None);
    assert_eq!(offsets.take_reset("g", "T", 0, 5), Some(2));
    assert_eq!(offsets.take_reset("g", "T", 0, 5), None);
    assert_eq!(offsets.query("g", "T", 0), Some(2));
}

#[test]
fn who_begins_where_it_was_told_to_is_not_sent_there_again() {
    let mut offsets = Offsets::new(0);
    // It skips to where the client is already, which still processes older messages.
    offsets.reset("g", "T", 0, 9);
    assert_eq!(offsets.take_reset("g", "T", 0, 9), Some(9));
    offsets.reset("g", "T", 0, 2);
    offsets.tell_reset("g", "T", 0);
    assert_eq!(offsets.take_reset("g", "T", 0, 2), None);
    assert_eq!(offsets.take_reset("g", "T", 0, 9), None, "and it is over");
    offsets.reset("g", "T", 0, 2);
    offsets.tell_reset("g", "T", 0);
    offsets.reset("g", "T", 0, 3);
    assert_eq!(offsets.take_reset("g", "T", 0, 3), Some(3), "a newer one");
    offsets.tell_reset("g", "T", 0);
    assert_eq!(offsets.take_reset("g", "T", 0, 3), None);
}

#[test]
fn dirty_until_taken_and_versions_in_steps() {
    let mut offsets = Offsets::new(0);
    assert!(!offsets.take_dirty());
    for n in 0..UPDATES_PER_VERSION as i64 {
        assert_eq!(offsets.version().counter, 0);
        offsets.commit("g", "T", 0, n, 9);
    }
    assert_eq!(
        (offsets.version().counter, offsets.version().timestamp_ms),
        (1, 9)
    );
    assert!(offsets.take_dirty() && !offsets.take_dirty());
    let last = UPDATES_PER_VERSION as i64 - 1;
    offsets.commit("g", "T", 0, last, 9);
    assert!(!offsets.take_dirty(), "the same as before");
    offsets.commit("g", "T", 0, last - 1, 9);
    assert!(offsets.take_dirty());
}

#[test]
fn pulled_falls_back_to_committed() {
    let mut offsets = Offsets::new(0);
    offsets.commit("g", "T", 0, 5, 0);
    assert_eq!(offsets.query_pulled("g", "T", 0), Some(5));
    offsets.pulled("g", "T", 0, 9);
    assert_eq!(offsets.query_pulled("g", "T", 0), Some(9));
}

#[test]
fn offsets_are_cloned_in_slices_and_replace_those_before() {
    let mut offsets = Offsets::new(0);
    for queue_id in 0..5 {
        offsets.commit("g", "T", queue_id, 10 + i64::from(queue_id), 0);
    }
    offsets.commit("h", "T", 9, 1, 0);
    let (mut after, mut slices) = (None, 0);
    loop {
        after = offsets.clone_some("g", "h", "T", after, 2);
        slices += 1;
        if after.is_none() {
            break;
        }
    }
    assert_eq!((slices, offsets.of("h", "T")), (3, offsets.of("g", "T")));
    assert_eq!(offsets.clone_some("nobody", "h", "T", None, 2), None);
    assert_eq!(offsets.clone_some("g", "g", "T", None, 9), None);
    assert_eq!(offsets.query("g", "T", 4), Some(14), "a clone of itself");
}
