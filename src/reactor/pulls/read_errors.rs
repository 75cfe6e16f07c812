//! Which errors of reads were logged lately: clients repeat a pull that has failed, some of them without a pause.

use std::cell::RefCell;
use std::collections::BTreeMap;

/// The same error is logged again after this time.
const AGAIN_NS: u64 = 60_000_000_000;

/// More different ones are not logged within that time.
const MAX_LOGGED: usize = 64;

/// When each of them was logged. An error of a damaged place names the place.
#[derive(Default)]
pub(super) struct ReadErrors(RefCell<BTreeMap<String, u64>>);

impl ReadErrors {
    /// Whether this one is to be logged now.
    pub fn is_news(&self, error: &str, now_ns: u64) -> bool {
        let mut logged = self.0.borrow_mut();
        logged.retain(|_, at_ns| now_ns.saturating_sub(*at_ns) < AGAIN_NS);
        let is_news = logged.len() < MAX_LOGGED && !logged.contains_key(error);
        if is_news {
            logged.insert(error.to_owned(), now_ns);
        }
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_is_logged_once_a_minute() {
        let errors = ReadErrors::default();
        for _ in 0..3 {
            assert!(errors.is_news("at 1", 5) && errors.is_news("at 2", 9));
            assert!(!errors.is_news("at 1", AGAIN_NS) && !errors.is_news("at 2", AGAIN_NS));
            assert!(errors.is_news("at 1", AGAIN_NS + 5));
            assert!(!errors.is_news("at 2", AGAIN_NS + 5));
            errors.0.take();
        }
    }

    #[test]
    fn many_places_are_not_more_lines_than_a_few() {
        let errors = ReadErrors::default();
        let logged = |now_ns| {
            let all = (0..1_000).map(|place| errors.is_news(&place.to_string(), now_ns));
            all.filter(|is_news| *is_news).count()
        };
        assert_eq!(logged(0), MAX_LOGGED);
        assert_eq!(logged(AGAIN_NS - 1), 0);
        assert_eq!(logged(AGAIN_NS), MAX_LOGGED);
    }
}
