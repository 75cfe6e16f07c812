//! The rows of a controller, of which RocketMQ has none: its controller asks nobody for credentials.
//!
//! A controller is for all clusters, and who may speak for one broker could make it the master of another: every request needs all clusters.

use super::{Needs, Row};
use crate::auth::resource::Actions;
use crate::wire::Header;
use crate::wire::codes::CONTROLLER_TO_CONTROLLER;
use crate::wire::codes::request::*;
use crate::wire::controller::ElectMaster;

/// `None`: the code has no row, and nobody but a super user may ask it.
pub fn needs(code: i32) -> Option<Needs> {
    let rows = match code {
        CONTROLLER_GET_REPLICA_INFO
        | CONTROLLER_GET_METADATA_INFO
        | CONTROLLER_GET_SYNC_STATE_DATA
        | GET_CONTROLLER_CONFIG => const { &[Row::cluster(Actions::GET)] },
        CONTROLLER_ALTER_SYNC_STATE_SET
        | CONTROLLER_ELECT_MASTER
        | CONTROLLER_REGISTER_BROKER
        | CONTROLLER_GET_NEXT_BROKER_ID
        | CONTROLLER_APPLY_BROKER_ID
        | BROKER_HEARTBEAT
        | CLEAN_BROKER_DATA
        | UPDATE_CONTROLLER_CONFIG
        | CONTROLLER_TO_CONTROLLER => const { &[Row::cluster(Actions::UPDATE)] },
        _ => return None,
    };
    Some(Needs::Rows(rows))
}

/// What an administrator asks for, to change something. A broker asks for an election, too, but names no winner.
pub fn is_administration(header: &Header<'_>) -> bool {
    match header.code {
        CLEAN_BROKER_DATA | UPDATE_CONTROLLER_CONFIG => true,
        CONTROLLER_ELECT_MASTER => {
            ElectMaster::decode(&header.ext).is_ok_and(|wanted| wanted.designate_elect)
        }
        _ => false,
    }
}
