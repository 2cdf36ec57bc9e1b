//! What is lost, doubled or late when processes and nodes of the broker fail.

use std::time::Duration;

use rustix::process::Signal;

use crate::ledger::{Name, Names};
use crate::scene::{LEASE, Scene};
use crate::venue::now_ms;

/// One process that shares with nobody publishes everything, however the broker fails.
#[tokio::test]
#[ignore = "needs nats-server: just cluster"]
async fn alone_nothing_is_lost_or_doubled_when_the_broker_fails() {
    let mut scene = Scene::alone().await;

    let node = scene.broker.kill_leader().await;
    scene.is_well("kill of the broker's leader").await;
    scene.broker.restart(node).await;

    scene.members[0].cut();
    tokio::time::sleep(2 * LEASE).await;
    scene.members[0].heal();
    scene.is_well("a partition").await;

    let verdict = scene.finish().await;
    verdict.is_in_order();
    verdict.misses_none_but(|_| false);
}

/// With a warm standby no fault of one process or one node costs a number.
#[tokio::test]
#[ignore = "needs nats-server: just cluster"]
async fn with_standbys_nothing_is_lost_or_doubled_whatever_fails() {
    let mut scene = Scene::with_standbys().await;

    scene.fault("kill -9 of a", 0);
    scene.members[0].kill();
    scene.is_taken_over().await;
    scene.members[0].start();
    scene.is_well("kill -9").await;

    scene.fault("SIGSTOP of b", 1);
    scene.members[1].signal(Signal::STOP);
    tokio::time::sleep(2 * LEASE).await;
    scene.members[1].signal(Signal::CONT);
    scene.is_well("SIGSTOP").await;

    let node = scene.broker.kill_leader().await;
    scene.is_well("kill of the broker's leader").await;
    scene.broker.restart(node).await;
    scene.is_well("the return of the node").await;

    scene.fault("a partition of c", 2);
    scene.members[2].cut();
    tokio::time::sleep(2 * LEASE).await;
    scene.members[2].heal();
    scene.is_well("the partition").await;

    scene.restart_each().await;

    let verdict = scene.finish().await;
    verdict.is_in_order();
    verdict.misses_none_but(|_| false);
}

/// Without standbys a kill costs what only the victim had, and nothing else does.
#[tokio::test]
#[ignore = "needs nats-server: just cluster"]
async fn without_standbys_a_kill_loses_what_only_the_victim_received() {
    let mut scene = Scene::shared().await;

    scene.fault("kill -9 of a", 0);
    scene.members[0].kill();
    let killed_ms = now_ms();
    scene.is_taken_over().await;
    scene.members[0].start();
    scene.is_well("kill -9").await;

    let node = scene.broker.kill_leader().await;
    scene.is_well("kill of the broker's leader").await;
    scene.broker.restart(node).await;
    scene.is_well("the return of the node").await;

    scene.restart_each().await;

    let verdict = scene.finish().await;
    verdict.is_in_order();
    // What it had received and not published yet, or the venue sent before it saw the end.
    let before = killed_ms - Duration::from_secs(1).as_millis() as u64;
    let around = before..killed_ms + 500;
    verdict.misses_none_but(|it| it.to == Names::of(Name('a')) && around.contains(&it.made_ms));
}
