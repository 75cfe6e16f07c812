//! The tables of all topics (21) and of all groups (201), whole or a page of them, as RocketMQ's slaves ask.

use crate::broker::groups::Groups;
use crate::broker::limits::ROWS_PER_TURN;
use crate::broker::rows::{Json, Now, Rows};
use crate::broker::{Broker, Refusal};
use crate::wire::Reply;
use crate::wire::{DataVersion, loose_json};

/// Which part of a table is asked for. Without `most` it is all.
pub(super) struct Page<'a> {
    pub begin: Option<i32>,
    pub most: Option<i32>,
    /// The table's version that the asker had the last page of.
    pub version: Option<&'a str>,
    /// What to do when the whole table is too large for one answer.
    pub advice: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    Topics,
    Groups,
}

#[derive(Clone, Debug)]
enum Forbidden {
    After(Option<String>),
    Written,
}

#[derive(Clone, Debug)]
pub(super) struct TablePage {
    table: Table,
    /// What groups may not do stands in front of the rows, and is written up to this group.
    forbidden: Forbidden,
    /// Behind this name.
    after: Option<String>,
    left: usize,
    advice: &'static str,
}

impl TablePage {
    /// A page of another version than the table's begins at the table's start.
    pub fn new(table: Table, page: &Page<'_>, broker: &Broker) -> Self {
        let version = table.version(broker);
        let (begin, most) = version.page(page.begin, page.version, page.most);
        let left = match begin < table.len(broker) {
            true => most,
            false => 0,
        };
        Self {
            table,
            forbidden: match table {
                Table::Topics => Forbidden::Written,
                Table::Groups => Forbidden::After(None),
            },
            after: begin
                .checked_sub(1)
                .and_then(|last| table.name_at(broker, last)),
            left,
            advice: page.advice,
        }
    }

    /// The body in front of the rows.
    pub fn head(&self, broker: &Broker) -> String {
        let version = loose_json::to_vec(&self.table.version(broker));
        let version = String::from_utf8_lossy(&version);
        match self.table {
            Table::Topics => {
                let none = loose_json::to_vec(&DataVersion::default());
                let none = String::from_utf8_lossy(&none);
                format!(
                    r#"{{"dataVersion":{version},"mappingDataVersion":{none},"topicConfigTable":{{"#
                )
            }
            Table::Groups => {
                format!(r#"{{"dataVersion":{version},"forbiddenTable":{{"#)
            }
        }
    }
}

impl Table {
    fn version(self, broker: &Broker) -> DataVersion {
        match self {
            Self::Topics => broker.topics.version(),
            Self::Groups => broker.groups.version(),
        }
    }

    fn len(self, broker: &Broker) -> usize {
        match self {
            Self::Topics => broker.topics.len(),
            Self::Groups => broker.groups.len(),
        }
    }

    fn name_at(self, broker: &Broker, place: usize) -> Option<String> {
        let name = match self {
            Self::Topics => broker.topics.name_at(place),
            Self::Groups => broker.groups.name_at(place),
        };
        name.map(str::to_owned)
    }

    /// Writes the row behind this name; returns its name.
    fn row(
        self,
        broker: &Broker,
        after: Option<&str>,
        out: &mut Json,
    ) -> Result<Option<String>, Refusal> {
        match self {
            Self::Topics => match broker.topics.after(after).next() {
                Some(config) => {
                    out.member(&config.topic_name, config)?;
                    Ok(Some(config.topic_name.clone()))
                }
                None => Ok(None),
            },
            Self::Groups => match broker.groups.after(after).next() {
                Some(config) => {
                    out.member(&config.group_name, config)?;
                    Ok(Some(config.group_name.clone()))
                }
                None => Ok(None),
            },
        }
    }
}

impl TablePage {
    /// Writes what the next groups may not do, `left` rows at most.
    fn write_forbidden(
        &mut self,
        groups: &Groups,
        out: &mut Json,
        left: &mut usize,
    ) -> Result<(), Refusal> {
        while *left > 0
            && let Forbidden::After(after) = &self.forbidden
        {
            let next = groups.forbidden_after(after.as_deref()).next();
            self.forbidden = match next {
                Some((group, topics)) => {
                    out.member(group, topics)?;
                    *left = left.saturating_sub(topics.len().max(1));
                    Forbidden::After(Some(group.to_owned()))
                }
                None => {
                    out.text(r#"},"subscriptionGroupTable":{"#);
                    Forbidden::Written
                }
            };
        }
        Ok(())
    }
}

impl Rows for TablePage {
    fn slice(&mut self, at: &Now<'_>, out: &mut Json) -> Result<bool, Refusal> {
        let mut left = ROWS_PER_TURN;
        self.write_forbidden(&at.broker.groups, out, &mut left)?;
        for _ in 0..left {
            if self.left == 0 {
                return Ok(true);
            }
            let row = self.table.row(at.broker, self.after.as_deref(), out);
            let name = row.map_err(|refusal| Refusal {
                remark: format!("{}{}", refusal.remark, self.advice).into(),
                ..refusal
            })?;
            if name.is_none() {
                return Ok(true);
            }
            self.after = name;
            self.left -= 1;
        }
        Ok(false)
    }

    fn finish(&self, at: &Now<'_>, out: &mut Json) -> Reply {
        let total = self.table.len(at.broker);
        match self.table {
            Table::Topics => {
                out.text(r#"},"topicQueueMappingDetailMap":{},"topicQueueMappingInfoMap":{}}"#);
                Reply::ok().with("totalTopicNum", total)
            }
            Table::Groups => {
                out.text("}}");
                Reply::ok().with("totalGroupNum", total)
            }
        }
    }
}
