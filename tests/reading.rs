//! How far a connection reads ahead of its handlers, and who is told of what waits.

use std::time::Duration;

use actix::fut::wrap_future;
use actix::{Actor, AsyncContext, Context, Handler};
use actix_ws_client::testing::{Probe, Script, Server};
use actix_ws_client::{Connection, Reconnect, command, event};
use tokio::sync::oneshot;

#[actix::test]
async fn reading_goes_on_at_once_when_the_handlers_took_what_had_stopped_it() {
    let longer_than_read_ahead = || vec![7; 300 << 10];
    let more = |script: Script, _| script.send_binary(longer_than_read_ahead());
    let server = Server::start((0..8).fold(Script::accept(), more).echo());
    let probe = Probe::new();
    // No ping comes to wake it.
    let builder = Connection::builder(server.url()).read_ahead(64 << 10).ping_interval(None);
    let connection = probe.attach(builder).start().unwrap();
    for _ in 0..8 {
        assert_eq!(probe.next_message().await.payload.len(), 300 << 10);
    }
    connection.send(command::Close::normal()).await.unwrap();
    probe.check().unwrap();
}

/// A handler that takes nothing until it is let go.
struct Stuck(Option<oneshot::Receiver<()>>);

impl Actor for Stuck {
    type Context = Context<Stuck>;

    fn started(&mut self, ctx: &mut Context<Stuck>) {
        ctx.set_mailbox_capacity(1);
        let go = self.0.take().unwrap();
        ctx.wait(wrap_future(async move { go.await.unwrap() }));
    }
}

impl Handler<event::Message> for Stuck {
    type Result = ();

    fn handle(&mut self, _: event::Message, _: &mut Context<Stuck>) {}
}

#[actix::test]
async fn who_subscribes_late_is_not_told_of_what_was_queued_before() {
    let first = (0..100).fold(Script::accept(), |script, _| script.send_text("early"));
    let server = Server::start([first.send_close(1012, "restart"), Script::accept().echo()]);
    let (go, wait) = oneshot::channel();
    let stuck = Stuck(Some(wait)).start();
    let early = Probe::new();
    let builder = Connection::builder(server.url())
        .reconnect(Reconnect::fixed(Duration::from_millis(20)))
        .on_state(early.recipient())
        .on_message(stuck.recipient());
    let watch = builder.watch();
    let connection = builder.start().unwrap();
    // All of the first socket waits behind the stuck handler.
    while watch.figures().messages_in < 100 {
        tokio::task::yield_now().await;
    }
    let late = Probe::new();
    connection.do_send(command::Subscribe::<event::Open>(late.recipient()));
    connection.do_send(command::Subscribe::<event::Message>(late.recipient()));
    connection.do_send(command::Subscribe::<event::Close>(late.recipient()));
    connection.send(command::Subscribe::<event::Stopped>(late.recipient())).await.unwrap().unwrap();
    go.send(()).unwrap();
    late.next_where(|open: &event::Open| open.epoch == 2).await;
    connection.send(command::Close::normal()).await.unwrap();
    late.stopped().await;
    late.check().unwrap();
    assert!(late.all::<event::Message>().is_empty(), "{:?}", late.story());
}
