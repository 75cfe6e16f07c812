//! Every code, and what no client would send.

use super::*;

const EVERY_CODE: [i32; 23] = [
    100, 101, 102, 103, 104, 105, 106, 205, 206, 216, 217, 219, 224, 304, 311, 312, 313, 318, 319,
    322, 327, 901, 904,
];

#[test]
fn every_code_is_answered() {
    for code in EVERY_CODE {
        assert_ne!(
            ask(&mut server(), code, &BROKER_A, &[]).code,
            response::REQUEST_CODE_NOT_SUPPORTED,
            "{code}"
        );
    }
}

proptest! {
    #[test]
    fn no_request_can_panic(
        requests in prop::collection::vec(
            (
                prop::sample::select(EVERY_CODE.to_vec()),
                any::<i32>(),
                prop::collection::vec((prop::sample::select(FIELDS.to_vec()), "[-0-9a-z]{0,12}|\\PC{0,8}|true"), 0..10),
                prop_oneof![any::<Vec<u8>>(), "[\\[{}:,\"a-zA-Z0-9 ]{0,64}".prop_map(String::into_bytes), some_report(), some_deflated()],
                0u64..4,
            ),
            0..12,
        )
    ) {
        let mut server = server();
        for (code, version, ext, body, conn) in requests {
            let ext: Vec<(&str, &str)> = ext.iter().map(|(name, value)| (*name, value.as_str())).collect();
            ask_from(&mut server, (version, conn, 0), code, &ext, &body);
            server.expire(conn);
            server.connection_closed(conn / 2);
        }
    }
}

const FIELDS: [&str; 14] = [
    "topic",
    "brokerName",
    "brokerAddr",
    "clusterName",
    "haServerAddr",
    "brokerId",
    "bodyCrc32",
    "compressed",
    "cluster",
    "namespace",
    "key",
    "value",
    "heartbeatTimeoutMillis",
    "enableActingMaster",
];

fn some_report() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(("[A-Z]{1,2}", any::<i32>(), any::<i32>()), 0..4).prop_map(|topics| {
        report_of(
            3,
            topics
                .iter()
                .map(|(name, queues, perm)| topic(name, *queues, *perm, *queues)),
        )
    })
}

fn some_deflated() -> impl Strategy<Value = Vec<u8>> {
    (any::<Vec<u8>>(), any::<i32>(), "[A-Z]{0,3} [0-9 ]{0,9}").prop_map(|(version, count, line)| {
        deflated(&[
            &part(b"{}"),
            &count.to_be_bytes(),
            &part(line.as_bytes()),
            &version,
        ])
    })
}
