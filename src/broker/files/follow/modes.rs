//! How groups get messages at the master (402), which this broker's groups do then as well.

use crate::broker::limits::ROWS_PER_TURN;
use crate::broker::pop::{Modes, RequestModes};
use crate::broker::step::{Progress, Work};
use crate::broker::store_view::At;
use crate::broker::{Broker, ConfigFile, Refusal};
use crate::wire::Reply;
use crate::wire::assignment::MessageRequestMode;
use crate::wire::loose_json::BodyError;
use crate::wire::loose_json::members::{Members, Next, Want};

#[derive(Debug)]
pub struct FollowModes {
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Read {
        members: Members,
        modes: RequestModes,
        /// Whether this broker has each of them.
        is_known: bool,
    },
    /// What is not of use any more, in slices as well: there may be one for each topic and group.
    Drop(std::collections::btree_map::IntoIter<String, Modes>),
}

impl FollowModes {
    pub fn new(body: Vec<u8>) -> Self {
        let stage = Stage::Read {
            members: Members::of(body),
            modes: RequestModes::default(),
            is_known: true,
        };
        Self { stage }
    }
}

impl Work for FollowModes {
    fn turn(&mut self, broker: &mut Broker, _: At<'_>) -> Result<Progress, Refusal> {
        match &mut self.stage {
            Stage::Read {
                members,
                modes,
                is_known,
            } => {
                let known = &broker.pops.modes;
                if read(members, |topic, group, mode| {
                    *is_known &= known.find(topic, group) == Some(&mode);
                    modes.put(topic, group, mode);
                })? {
                    let mut modes = std::mem::take(modes);
                    if !*is_known || modes.count() != known.count() {
                        std::mem::swap(&mut modes, &mut broker.pops.modes);
                        broker.persist(ConfigFile::RequestModes);
                    }
                    self.stage = Stage::Drop(modes.into_topics());
                }
            }
            Stage::Drop(topics) => {
                if topics.by_ref().take(ROWS_PER_TURN).count() < ROWS_PER_TURN {
                    return Ok(Progress::Done(Reply::ok()));
                }
            }
        }
        Ok(Progress::More)
    }
}

/// Reads on; whether that was the end.
fn read(
    members: &mut Members,
    mut each: impl FnMut(&str, &str, MessageRequestMode),
) -> Result<bool, BodyError> {
    let want = |path: &[String]| match path {
        [table] if table == "messageRequestModeMap" => Want::Members,
        [_] => Want::Nothing,
        [_, _] => Want::Members,
        _ => Want::Value,
    };
    loop {
        match members.next(want)? {
            Next::TurnEnds => return Ok(false),
            Next::End => return Ok(true),
            Next::Value => {
                let mode: Option<MessageRequestMode> = members.value()?;
                if let ([_, topic, group], Some(mode)) = (members.path(), mode) {
                    each(topic, group, mode);
                }
            }
        }
    }
}
