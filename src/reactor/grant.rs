//! What a frame has waited for. It was not taken, and the service gets this when the frame is offered again.

use std::cell::Cell;

use super::permit::Permit;
use crate::broker::Refusal;

/// One at a time: a frame that waits for room has used its share of the round, and waits for the next one if it has to.
#[derive(Default)]
enum Grant {
    /// The frame is offered for the first time, or what it got is used up.
    #[default]
    None,
    /// The frame has its share of the round.
    Share,
    /// There is room for the frame in the log buffer.
    Room(Permit),
    /// The frame has waited too long for room.
    Refused(Refusal),
}

/// What the frame in front of a connection was granted.
#[derive(Default)]
pub struct FrameGrant(Cell<Grant>);

impl FrameGrant {
    pub fn give_share(&self) {
        self.0.set(Grant::Share);
    }

    /// Whether the frame has its share of the round, which is used by that.
    pub fn take_share(&self) -> bool {
        match self.0.take() {
            Grant::Share => true,
            other => {
                self.0.set(other);
                false
            }
        }
    }

    pub fn give_room(&self, room: Result<Permit, Refusal>) {
        self.0.set(match room {
            Ok(permit) => Grant::Room(permit),
            Err(refusal) => Grant::Refused(refusal),
        });
    }

    /// Whether there is room for the frame, which stays so until [`Self::end_offer`]; `None` if it has not waited.
    pub fn room(&self) -> Option<Result<(), Refusal>> {
        match self.0.take() {
            Grant::Refused(refusal) => Some(Err(refusal)),
            Grant::Room(permit) => {
                self.0.set(Grant::Room(permit));
                Some(Ok(()))
            }
            other => {
                self.0.set(other);
                None
            }
        }
    }

    /// The frame was offered: others have the room now. A share that was not used stays, as the service may not have seen the frame.
    pub fn end_offer(&self) {
        match self.0.take() {
            share @ Grant::Share => self.0.set(share),
            Grant::None | Grant::Room(_) | Grant::Refused(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_used_once_and_outlasts_an_offer() {
        let grant = FrameGrant::default();
        assert!(!grant.take_share());
        grant.give_share();
        grant.end_offer();
        assert!(grant.room().is_none() && grant.take_share());
        assert!(!grant.take_share());
    }

    #[test]
    fn a_refusal_is_of_one_offer() {
        let grant = FrameGrant::default();
        let refusal = || Refusal::new(2, "busy");
        grant.give_room(Err(refusal()));
        assert!(!grant.take_share());
        assert_eq!(grant.room(), Some(Err(refusal())));
        assert_eq!(grant.room(), None);
        grant.give_room(Err(refusal()));
        grant.end_offer();
        assert_eq!(grant.room(), None);
    }
}
