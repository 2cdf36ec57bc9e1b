//! `command::Pause` closes and dials nothing; `command::Resume` ends it.

use std::time::Duration;

use actix::Addr;
use actix_ws_client::proto::session::By;
use actix_ws_client::testing::{Probe, Script, Server};
use actix_ws_client::{CloseCode, Connection, Phase, Reconnect, command, event};

fn start(server: &Server, probe: &Probe) -> Addr<Connection> {
    let hourly = Reconnect::fixed(Duration::from_secs(3600));
    probe.attach(Connection::builder(server.url()).reconnect(hourly)).start().unwrap()
}

async fn enters(probe: &Probe, phase: Phase) {
    probe.next_where(|state: &event::State| state.phase == phase).await;
}

#[actix::test]
async fn an_open_socket_is_closed_and_none_is_opened_until_resumed() {
    let server = Server::start(Script::accept().echo());
    let probe = Probe::new();
    let connection = start(&server, &probe);
    probe.next::<event::Open>().await;
    connection.send(command::Pause).await.unwrap().unwrap();
    let close = probe.next::<event::Close>().await;
    assert_eq!((close.code, close.by, close.clean), (CloseCode::NORMAL, By::Local, true));
    assert_eq!(close.next, event::Next::Stop);
    enters(&probe, Phase::Paused).await;
    // Paused is paused: a reconnect changes nothing, and neither does a second pause.
    connection.send(command::Reconnect).await.unwrap().unwrap();
    connection.send(command::Pause).await.unwrap().unwrap();
    assert_eq!(connection.send(command::Status).await.unwrap().phase, Phase::Paused);
    assert_eq!(server.dials(), 1);
    connection.send(command::Resume).await.unwrap().unwrap();
    assert_eq!(probe.next::<event::Open>().await.epoch, 2);
    connection.send(command::Close::normal()).await.unwrap();
    probe.stopped().await;
    probe.check().unwrap();
}

#[actix::test]
async fn a_wait_for_the_next_dial_is_cut_short() {
    let server = Server::start([Script::refuse(503), Script::accept().echo()]);
    let probe = Probe::new();
    let connection = start(&server, &probe);
    enters(&probe, Phase::Waiting).await;
    connection.send(command::Pause).await.unwrap().unwrap();
    enters(&probe, Phase::Paused).await;
    connection.send(command::Resume).await.unwrap().unwrap();
    assert_eq!(probe.next::<event::Open>().await.epoch, 1);
    connection.send(command::Close::normal()).await.unwrap();
}
