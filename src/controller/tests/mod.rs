//! One controller whose commands are agreed on at once, and brokers that speak to it in frames.

mod elections;
mod histories;
mod rules;

use super::*;
use crate::wire::codes::{request, response};
use crate::wire::controller::{ReplicasInfoTable, SyncStateSet};
use crate::wire::{Codec, Head, Language, Scratch, Value, frame, header, loose_json};

pub const CLUSTER: &str = "c";
pub const NAME: &str = "broker-a";

/// A controller that leads alone, at a time.
pub struct World {
    pub agreed: Agreed,
    pub controller: Controller,
    pub standing: Standing,
    pub now_ms: u64,
}

impl World {
    pub fn new(settings: Settings) -> Self {
        let mut world = Self {
            agreed: Agreed::default(),
            controller: Controller::new(settings),
            standing: Standing {
                group: "group1".into(),
                peers: "n0:127.0.0.2:29878;".into(),
                leader_id: Some("n0".into()),
                leader_address: Some("127.0.0.2:29878".into()),
                is_leader: true,
                fixed_settings: String::new(),
            },
            now_ms: 1_000_000,
        };
        world.controller.lead(true, world.now_ms);
        world.pass(GRACE_MS);
        world
    }

    /// Passes time as the reactor does: in small steps, so that none is taken for a pause.
    pub fn pass(&mut self, ms: u64) {
        let end = self.now_ms + ms;
        while self.now_ms < end {
            self.now_ms = end.min(self.now_ms + 50);
            let due = self.controller.due(&self.agreed, self.now_ms);
            due.iter().for_each(|command| drop(self.agree(command)));
        }
    }

    pub fn agree(&mut self, command: &Command) -> Applied {
        let applied = self.agreed.apply(command);
        self.controller.applied(command, &applied, self.now_ms);
        applied
    }

    /// The step that a request leads to, from the bytes of its frame.
    pub fn step(&mut self, bytes: &[u8], connection: u64) -> Step {
        let frame = frame::split(bytes).unwrap().unwrap();
        let mut scratch = Scratch::default();
        let header = header::decode(&frame, &mut scratch).unwrap();
        let Self {
            agreed,
            controller,
            standing,
            now_ms,
        } = self;
        controller.handle(agreed, standing, &header, frame.body, connection, *now_ms)
    }

    pub fn ask_bytes(&mut self, bytes: &[u8], connection: u64) -> Reply {
        match self.step(bytes, connection) {
            Step::Reply(reply) | Step::Keep { reply, .. } => reply,
            Step::Propose { command, asked } => {
                let applied = self.agree(&command);
                self.controller.reply(&asked, &applied, self.now_ms)
            }
        }
    }

    pub fn ask(&mut self, code: i32, fields: &[(&str, Value<'_>)], body: &[u8]) -> Reply {
        self.ask_bytes(&request(code, fields, body), 0)
    }

    /// 1012, 1013 and 1003, as a broker starts; returns its id.
    pub fn join(&mut self) -> i64 {
        let names = [
            ("clusterName", Value::Str(CLUSTER)),
            ("brokerName", Value::Str(NAME)),
        ];
        let next = self.ask(request::CONTROLLER_GET_NEXT_BROKER_ID, &names, b"");
        let id: i64 = field(&next, "nextBrokerId").parse().unwrap();
        let address = address(id);
        let code = format!("{address};{}", self.now_ms);
        let apply = [
            ("appliedBrokerId", Value::I64(id)),
            ("registerCheckCode", Value::Str(&code)),
        ];
        let applied = self.ask(
            request::CONTROLLER_APPLY_BROKER_ID,
            &[&names[..], &apply].concat(),
            b"",
        );
        assert_eq!(applied.code, response::SUCCESS, "{applied:?}");
        let registered = self.register(id, &address);
        assert_eq!(registered.code, response::SUCCESS, "{registered:?}");
        id
    }

    pub fn register(&mut self, id: i64, address: &str) -> Reply {
        let fields = [
            ("clusterName", Value::Str(CLUSTER)),
            ("brokerName", Value::Str(NAME)),
            ("brokerId", Value::I64(id)),
            ("brokerAddress", Value::Str(address)),
        ];
        self.ask(request::CONTROLLER_REGISTER_BROKER, &fields, b"")
    }

    /// 904 over connection `10 + id`.
    pub fn beat(&mut self, id: i64, epoch: i32, max_offset: i64) {
        self.beat_with(id, epoch, max_offset, &[], 10 + id as u64);
    }

    pub fn beat_with(
        &mut self,
        id: i64,
        epoch: i32,
        max_offset: i64,
        more: &[(&str, Value<'_>)],
        connection: u64,
    ) {
        let address = address(id);
        let fields = [
            ("clusterName", Value::Str(CLUSTER)),
            ("brokerName", Value::Str(NAME)),
            ("brokerAddr", Value::Str(&address)),
            ("brokerId", Value::I64(id)),
            ("epoch", Value::I64(i64::from(epoch))),
            ("maxOffset", Value::I64(max_offset)),
            ("heartbeatTimeoutMills", Value::I64(10_000)),
        ];
        let reply = self.ask_bytes(
            &request(
                request::BROKER_HEARTBEAT,
                &[&fields[..], more].concat(),
                b"",
            ),
            connection,
        );
        assert_eq!(reply.code, response::SUCCESS);
    }

    /// All of them heartbeat each second for a while.
    pub fn live(&mut self, ids: &[i64], seconds: u64) {
        for _ in 0..seconds {
            for id in ids {
                let epoch = self.group().master_epoch;
                self.beat(*id, epoch, 100);
            }
            self.pass(1_000);
        }
        for id in ids {
            let epoch = self.group().master_epoch;
            self.beat(*id, epoch, 100);
        }
    }

    pub fn elect(&mut self, id: i64, designate: bool) -> Reply {
        let fields = [
            ("clusterName", Value::Str(CLUSTER)),
            ("brokerName", Value::Str(NAME)),
            ("brokerId", Value::I64(id)),
            ("designateElect", Value::Bool(designate)),
        ];
        self.ask(request::CONTROLLER_ELECT_MASTER, &fields, b"")
    }

    pub fn alter(&mut self, master: i64, epoch: i32, set_epoch: i32, set: &[i64]) -> Reply {
        let fields = [
            ("brokerName", Value::Str(NAME)),
            ("masterBrokerId", Value::I64(master)),
            ("masterEpoch", Value::I64(i64::from(epoch))),
        ];
        let body = loose_json::to_vec(&SyncStateSet {
            sync_state_set: set.iter().copied().collect(),
            sync_state_set_epoch: set_epoch,
        });
        self.ask(request::CONTROLLER_ALTER_SYNC_STATE_SET, &fields, &body)
    }

    pub fn group(&self) -> &Group {
        self.agreed.group(NAME).expect("it is registered")
    }

    /// Brokers 1 to `count`, all alive and in sync, 1 the master of epoch 1.
    pub fn with_group(count: i64) -> Self {
        Self::with_group_and(count, Settings::default())
    }

    pub fn with_group_and(count: i64, settings: Settings) -> Self {
        let mut world = Self::new(settings);
        let ids: Vec<i64> = (0..count).map(|_| world.join()).collect();
        assert_eq!(world.elect(1, false).code, response::SUCCESS);
        world.live(&ids, 1);
        if count > 1 {
            assert_eq!(world.alter(1, 1, 1, &ids).code, response::SUCCESS);
        }
        world.controller.take_notices();
        world
    }

    pub fn sync_state_data(&mut self) -> ReplicasInfoTable {
        let body = format!("[\"{NAME}\",\"nobody\"]");
        let reply = self.ask(
            request::CONTROLLER_GET_SYNC_STATE_DATA,
            &[],
            body.as_bytes(),
        );
        loose_json::from_slice(&reply.body).unwrap()
    }

    pub fn clean(&mut self, ids: &str, even_living: bool) -> Reply {
        let fields = [
            ("clusterName", Value::Str(CLUSTER)),
            ("brokerName", Value::Str(NAME)),
            ("brokerControllerIdsToClean", Value::Str(ids)),
            ("isCleanLivingBroker", Value::Bool(even_living)),
        ];
        self.ask(request::CLEAN_BROKER_DATA, &fields, b"")
    }
}

pub fn address(id: i64) -> String {
    format!("10.0.0.{id}:10911")
}

pub fn request(code: i32, fields: &[(&str, Value<'_>)], body: &[u8]) -> Vec<u8> {
    let head = Head {
        codec: Codec::Json,
        code,
        language: Language::Java,
        version: 513,
        opaque: 1,
        flag: 0,
        remark: None,
    };
    let mut bytes = Vec::new();
    frame::write(&mut bytes, &head, fields, body);
    bytes
}

/// A field of a reply; empty if it has none.
pub fn field(reply: &Reply, name: &str) -> String {
    let mut found = reply.ext.iter().filter(|(key, _)| *key == name);
    found
        .next()
        .map(|(_, value)| value.clone())
        .unwrap_or_default()
}
