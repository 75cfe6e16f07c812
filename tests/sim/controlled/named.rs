//! Protects a change of `controllerAddr` in running brokers: they hear the other controllers, and are heard by them, from then on, also after a restart.

use ringmq::store::Flush;
use ringmq::wire::codes::request;

use super::group::Group;
use super::member::{BROKERS, CONTROLLER};

const OTHER: &str = "other-controller";

#[test]
fn running_brokers_take_other_controllers() {
    for flush in [Flush::Sync, Flush::Async] {
        let group = Group::with_controllers(4, flush, &[CONTROLLER, OTHER]);
        group.known_controllers.set(1);
        group.sim.run(async {
            group.start_all().await;
            group.controllers.start(&group.sim, OTHER);
            group.send_until_acknowledged(10).await;
            let both = group.controllers.addrs();
            let both = format!("{};{}", both[0], both[1]);
            for host in BROKERS {
                let (code, remark) = name(&group, host, "somewhere:9878").await;
                assert!(code != 0 && remark.contains("IP addresses"), "{remark}");
                let (code, remark) = name(&group, host, &both).await;
                assert_eq!(code, 0, "{remark}");
            }
            group.sim.crash(CONTROLLER);
            group.controllers.lead(Some(OTHER));
            group.sleep_ms(3_000).await;
            // Two deaths: the first master comes back with the former list in its file.
            for _ in 0..2 {
                let old = group.master().unwrap();
                group.sim.crash(old);
                group.send_until_acknowledged(10).await;
                assert!(group.master().is_some_and(|master| master != old));
                group.start(old);
                group.until_whole().await;
            }
            group.judge(group.master().unwrap()).await;
        });
    }
}

/// Code and remark of the answer to a change.
async fn name(group: &Group, host: &str, controllers: &str) -> (i32, String) {
    let mut client = group.client(host).await;
    let text = format!("controllerAddr={controllers}\n");
    let code = request::UPDATE_BROKER_CONFIG;
    let reply = client.call(code, &[], text.as_bytes()).await.unwrap();
    (reply.code, reply.remark.unwrap_or_default())
}
